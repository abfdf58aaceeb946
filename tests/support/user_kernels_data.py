"""Kernels as users write them: one that is right in Python, one in C, and ways to be wrong."""

from __future__ import annotations

GOOD = '''
"""Average pooling, two products, nearest-neighbour upsampling."""

import torch
import torch.nn.functional as F

VERSION = "7"


def available(device, dtype):
    return None if dtype.is_floating_point else "floating point only"


def _check(geometry):
    divides = all(size % r == 0 for size, r in zip(geometry.output_size, geometry.patch_size))
    same = tuple(geometry.x_shape[2:]) == tuple(geometry.output_size)
    if not divides or not same or geometry.stride != (1, 1) or geometry.dilation != (1, 1):
        raise NotImplementedError("patches must divide the map, at stride 1")
    if geometry.groups != 1:
        raise NotImplementedError("no groups")


def save(x, weight, geometry, need_x, need_w):
    _check(geometry)
    x_sum = F.avg_pool2d(x, geometry.patch_size, divisor_override=1) if need_w else None
    return x_sum, weight.sum((2, 3)) if need_x else None


def gradients(grad_output, x_sum, window, geometry, needs_input_grad):
    need_x, need_w, need_b = needs_input_grad
    grad = F.avg_pool2d(grad_output, geometry.patch_size)
    grad_x = torch.einsum("noij,oc->ncij", grad, window)
    grad_x = F.interpolate(grad_x, size=geometry.x_shape[2:], mode="nearest")
    grad_w = torch.einsum("noij,ncij->oc", grad, x_sum)
    grad_w = grad_w[:, :, None, None].expand(geometry.weight_shape).contiguous()
    grad_bias = grad_output.sum((0, 2, 3)) if need_b else None
    return grad_x, grad_w, grad_bias
'''

RETURN = "    return grad_x, grad_w, grad_bias\n"
WRONG = {
    "scaled by 1.01": "    grad_x = grad_x * 1.01\n",
    "scaled g_w": "    grad_w = grad_w * 0.99\n",
    "scaled g_b": "    grad_bias = grad_bias * 1.01 if need_b else None\n",
    "transposed": "    grad_x = grad_x.transpose(2, 3).contiguous()\n",
    "channels turned round": "    grad_w = grad_w.flip(1)\n",
    "uninitialised border": (
        "    whole, grad_x = grad_x, torch.empty(geometry.x_shape, dtype=grad_x.dtype)\n"
        "    grad_x[:, :, :-1] = whole[:, :, :-1]\n"
    ),
    "uninitialised by new_empty": (
        "    whole, grad_x = grad_x, grad_x.new_empty(grad_x.shape)\n"
        "    grad_x[:, :, :, 1:] = whole[:, :, :, 1:]\n"
    ),
    "NaN": "    grad_w[0, 0, 0, 0] = float('nan')\n",
    "infinite": "    grad_x[-1, -1, -1, -1] = float('inf')\n",
    "an expanded view": "    grad_w = grad_w[:, :, :1, :1].expand(geometry.weight_shape)\n",
    "cut short": "    grad_x = grad_x[:, :, :-1]\n",
    "no tensor": "    grad_w = None\n",
    "changes its input": "    grad_output.mul_(2)\n",
    "an error": "    raise RuntimeError('lost')\n",
}


def wrong(how: str) -> str:
    """Return the good kernel made wrong."""
    return GOOD.replace(RETURN, WRONG[how] + RETURN)


C_KERNEL = """
#include "gfbench.h"

static int64_t low(int64_t at) { return at < 0 ? 0 : at; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

int gfbench_save(const gfbench_t *g, const REAL *x, const REAL *w, REAL *x_sum, REAL *w_sum)
{
    if (g->keeps_window)
        return 1;
    if (x_sum)
        for (int64_t p = 0; p < g->n * g->c_in; p++)
            for (int64_t i = 0; i < g->grid_h; i++)
                for (int64_t j = 0; j < g->grid_w; j++) {
                    double sum = 0;
                    int64_t h0 = g->in_start_h + i * g->in_length_h;
                    int64_t w0 = g->in_start_w + j * g->in_length_w;
                    for (int64_t h = low(h0); h < least(h0 + g->in_length_h, g->in_stop_h); h++)
                        for (int64_t v = low(w0); v < least(w0 + g->in_length_w, g->in_stop_w); v++)
                            sum += x[(p * g->height + h) * g->width + v];
                    x_sum[(p * g->grid_h + i) * g->grid_w + j] = (REAL)sum;
                }
    if (w_sum)
        for (int64_t o = 0; o < g->c_out * g->per_group; o++) {
            double sum = 0;
            for (int64_t t = 0; t < g->k_h * g->k_w; t++)
                sum += w[o * g->k_h * g->k_w + t];
            w_sum[o] = (REAL)sum;
        }
    return 0;
}

int gfbench_gradients(const gfbench_t *g, const REAL *grad, const REAL *x_sum, const REAL *w_sum,
                      REAL *grad_x, REAL *grad_w, REAL *grad_b)
{
    if (g->keeps_window || !grad_x || !grad_w)
        return 1;
    int64_t taps = g->k_h * g->k_w, out_each = g->c_out / g->groups;
    for (int64_t k = 0; k < g->n * g->c_in * g->height * g->width; k++)
        grad_x[k] = 0;
    for (int64_t k = 0; k < g->c_out * g->per_group * taps; k++)
        grad_w[k] = 0;
    for (int64_t o = 0; grad_b && o < g->c_out; o++)
        grad_b[o] = 0;
    for (int64_t n = 0; n < g->n; n++)
        for (int64_t o = 0; o < g->c_out; o++)
            for (int64_t i = 0; i < g->grid_h; i++)
                for (int64_t j = 0; j < g->grid_w; j++) {
                    double sum = 0;
                    int64_t h1 = least((i + 1) * g->r_h, g->out_h);
                    int64_t w1 = least((j + 1) * g->r_w, g->out_w);
                    for (int64_t h = i * g->r_h; h < h1; h++)
                        for (int64_t v = j * g->r_w; v < w1; v++)
                            sum += grad[((n * g->c_out + o) * g->out_h + h) * g->out_w + v];
                    if (grad_b)
                        grad_b[o] += (REAL)sum;
                    sum /= (h1 - i * g->r_h) * (w1 - j * g->r_w) * g->stride_h * g->stride_w;
                    for (int64_t c = 0; c < g->per_group; c++) {
                        int64_t p = n * g->c_in + o / out_each * g->per_group + c;
                        REAL each = (REAL)(sum * x_sum[(p * g->grid_h + i) * g->grid_w + j]);
                        for (int64_t t = 0; t < taps; t++)
                            grad_w[(o * g->per_group + c) * taps + t] += each;
                        int64_t h0 = g->in_start_h + i * g->in_length_h;
                        int64_t w0 = g->in_start_w + j * g->in_length_w;
                        int64_t h9 = least(h0 + g->in_length_h, g->in_stop_h);
                        int64_t w9 = least(w0 + g->in_length_w, g->in_stop_w);
                        for (int64_t h = low(h0); h < h9; h++)
                            for (int64_t v = low(w0); v < w9; v++)
                                grad_x[(p * g->height + h) * g->width + v] +=
                                    (REAL)(sum * w_sum[o * g->per_group + c]);
                    }
                }
    return 0;
}
"""
