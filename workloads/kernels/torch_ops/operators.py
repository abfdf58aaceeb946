"""Kernel "torch": the filtered backward composed of torch operations, for every geometry.

The operators read x (N, C_i, H, W), w (C_o, C_i / groups, k_h, k_w) and g = dL/dy
(N, C_o, H_y, W_y) once and work on the patch grid (P_h, P_w) in between:

    forward:   x~ = the sums of x over its patches, w~ = the sums of w over its windows
    backward:  g~ = the means of g over its patches
               g_x = w~^T g~, on all pixels of the patch;  g_w = g~ x~^T, on every tap

Source: Yang, Li, Marculescu, "Efficient On-device Training via Gradient Filtering", CVPR 2023,
equations (2), (3) and (5). ``gradient_filter`` takes the patches of x under the stride and divides
by s^2; ``gradient_filter_published`` does what the published operator does.
"""

from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F

from workloads.kernels.seam import Maybe, Operator
from workloads.kernels.torch_ops.patches import average_, spread_patches, sum_patches
from workloads.spec.geometry import Geometry, Pair

_DTYPES = (torch.float32, torch.float64)


def available(device: torch.device, dtype: torch.dtype) -> Optional[str]:
    """Return why this kernel cannot run there; None if it can."""
    if dtype not in _DTYPES:
        return "kernel torch computes in float32 and float64, not %s" % dtype
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return None


# gradient_filter -----------------------------------------------------------------------------


def save(
    x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, need_x: bool, need_w: bool
) -> Tuple[Maybe, Maybe]:
    """Return (x~, w~), which g_w and g_x will need; w itself where the window is kept.

    x~ is (N, C_i, P_h, P_w), w~ (C_o, C_i / groups, 1, 1).
    """
    x_sum = sum_patches(x, geometry.input_patches) if need_w else None  # (N, C_i, P_h, P_w)
    if not need_x:
        return x_sum, None
    return x_sum, weight if geometry.keeps_window else weight.sum((2, 3), keepdim=True)


def gradients(
    grad_output: torch.Tensor,
    x_sum: Maybe,
    window: Maybe,
    geometry: Geometry,
    needs_input_grad: Sequence[bool],
) -> Tuple[Maybe, Maybe, Maybe]:
    """Return (g_x, g_w, g_b); None for each that is not needed."""
    need_x, need_w, need_b = needs_input_grad
    if not need_x and not need_w:
        return None, None, grad_output.sum((0, 2, 3)) if need_b else None
    grad = sum_patches(grad_output, geometry.output_patches)  # (N, C_o, P_h, P_w)
    grad_bias = grad.sum((0, 2, 3)) if need_b else None  # exact: every pixel is in one patch
    # Both gradients contain the factor 1 / s^2: g~ is multiplied by it, once.
    scale = 1.0 / (geometry.stride[0] * geometry.stride[1])
    average_(grad, geometry.output_patches, scale)
    step = grid_dilation(geometry) if geometry.keeps_window else None
    grad_x = grad_w = None
    if need_w:
        assert x_sum is not None
        grad_w = weight_gradient(grad, x_sum, geometry.weight_shape, geometry.groups, step)
    if need_x:
        assert window is not None
        grad_x = spread_patches(
            input_gradient(grad, window, geometry.groups, step),
            geometry.input_patches,
            geometry.x_shape[2:],
            _layout(grad_output),
        )
    return grad_x, grad_w, grad_bias


# gradient_filter_published -------------------------------------------------------------------


def save_published(
    x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, need_x: bool, need_w: bool
) -> Tuple[Maybe, Maybe]:
    """Return (x~, w~) of the published operator; w itself where it keeps the window."""
    x_sum = sum_patches(x, geometry.centred_input_patches) if need_w else None
    if not need_x:
        return x_sum, None
    keeps = geometry.published_keeps_window
    return x_sum, weight if keeps else weight.sum((2, 3), keepdim=True)


def gradients_published(
    grad_output: torch.Tensor,
    x_sum: Maybe,
    window: Maybe,
    geometry: Geometry,
    needs_input_grad: Sequence[bool],
) -> Tuple[Maybe, Maybe, Maybe]:
    """Return (g_x, g_w, g_b): patches centred on the map, no 1 / s^2, one g_w for all taps."""
    need_x, need_w, need_b = needs_input_grad
    grad_bias = grad_output.sum((0, 2, 3)) if need_b else None
    if not need_x and not need_w:
        return None, None, grad_bias
    patches = geometry.centred_output_patches
    grad = average_(sum_patches(grad_output, patches), patches)  # (N, C_o, P_h, P_w)
    step = grid_dilation(geometry) if geometry.published_keeps_window else None
    grad_x = grad_w = None
    if need_w:
        assert x_sum is not None
        grad_w = weight_gradient(grad, x_sum, geometry.weight_shape, geometry.groups, None)
    if need_x:
        assert window is not None
        grad_x = spread_patches(
            input_gradient(grad, window, geometry.groups, step),
            geometry.centred_input_patches,
            geometry.x_shape[2:],
            _layout(grad_output),
        )
    return grad_x, grad_w, grad_bias


# gradient_filter_pooled ----------------------------------------------------------------------


def gradients_pooled(
    grad_output: torch.Tensor,
    x_sum: Maybe,
    window: Maybe,
    geometry: Geometry,
    needs_input_grad: Sequence[bool],
) -> Tuple[Maybe, Maybe, Maybe]:
    """Return what published programs timed for g_x and g_w, and g_b.

    g_x stays on the patch grid (N, C_i, P_h, P_w), and g_w is one value per window
    (C_o, C_i / groups, 1, 1), or tap by tap where the window is kept: one cannot train with these.
    """
    need_x, need_w, need_b = needs_input_grad
    grad = sum_patches(grad_output, geometry.output_patches)  # (N, C_o, P_h, P_w)
    grad_bias = grad.sum((0, 2, 3)) if need_b else None
    average_(grad, geometry.output_patches, 1.0 / (geometry.stride[0] * geometry.stride[1]))
    step = grid_dilation(geometry) if geometry.keeps_window else None
    grad_x_cells = grad_w = None
    if need_w:
        assert x_sum is not None
        taps = geometry.weight_shape[2:] if step else (1, 1)
        shape = (*geometry.weight_shape[:2], taps[0], taps[1])
        grad_w = weight_gradient(grad, x_sum, shape, geometry.groups, step)
    if need_x:
        assert window is not None
        grad_x_cells = input_gradient(grad, window, geometry.groups, step)
    return grad_x_cells, grad_w, grad_bias


OPERATORS = {
    "gradient_filter": Operator(save, gradients),
    "gradient_filter_pooled": Operator(save, gradients_pooled),
    "gradient_filter_published": Operator(save_published, gradients_published),
}


# products on the patch grid ------------------------------------------------------------------


def input_gradient(
    grad: torch.Tensor, window: torch.Tensor, groups: int, step: Optional[Pair]
) -> torch.Tensor:
    """Return g_x on the patch grid (N, C_i, P_h, P_w).

    Args:
        grad: g~ (N, C_o, P_h, P_w).
        window: w~ (C_o, C_i / groups, 1, 1), or the kept window (C_o, C_i / groups, k_h, k_w).
        groups: of the convolution.
        step: the dilation of the kept window on the grid; None if windows are summed.
    """
    c_out, per_group, k_h, k_w = window.shape
    if step is None and groups == c_out and per_group == 1:
        return grad * window.view(1, c_out, 1, 1)  # depthwise: (N, C, P_h, P_w)
    transposed = window.view(groups, c_out // groups, per_group, k_h, k_w).transpose(1, 2)
    transposed = transposed.reshape(groups * per_group, c_out // groups, k_h, k_w)
    if step is None:
        return F.conv2d(grad, transposed, groups=groups)  # (N, C_i, P_h, P_w)
    padding = (step[0] * (k_h - 1) // 2, step[1] * (k_w - 1) // 2)
    return F.conv2d(grad, transposed.flip((2, 3)), padding=padding, dilation=step, groups=groups)


def weight_gradient(
    grad: torch.Tensor,
    x_sum: torch.Tensor,
    shape: Tuple[int, int, int, int],
    groups: int,
    step: Optional[Pair],
) -> torch.Tensor:
    """Return g_w of ``shape`` (C_o, C_i / groups, k_h, k_w).

    Args:
        grad: g~ (N, C_o, P_h, P_w).
        x_sum: x~ (N, C_i, P_h, P_w).
        shape: of w.
        groups: of the convolution.
        step: the dilation of the kept window on the grid, for a g_w tap by tap; None if windows are
            summed, for one value on all taps.
    """
    if step is None:
        product = _correlate(grad, x_sum, groups)
        return product[:, :, None, None].expand(shape).contiguous()
    grad_w = grad.new_zeros(shape)
    for u in range(shape[2]):
        rows = _shifted(grad.shape[2], step[0] * (u - shape[2] // 2))
        for v in range(shape[3]):
            columns = _shifted(grad.shape[3], step[1] * (v - shape[3] // 2))
            if rows and columns:  # otherwise this tap reads nothing but padding
                grad_w[:, :, u, v] = _correlate(
                    grad[:, :, rows[0], columns[0]],
                    x_sum[:, :, rows[1], columns[1]],
                    groups,
                )
    return grad_w


def _correlate(grad: torch.Tensor, x_sum: torch.Tensor, groups: int) -> torch.Tensor:
    """Return the sum over samples and patches of grad x x_sum, per group: (C_o, C_i / groups)."""
    c_out, c_in = grad.shape[1], x_sum.shape[1]
    if groups == c_out == c_in:
        return (grad * x_sum).sum((0, 2, 3))[:, None]
    left = grad.transpose(0, 1).reshape(groups, c_out // groups, -1)  # (G, C_o / G, N P)
    right = x_sum.transpose(0, 1).reshape(groups, c_in // groups, -1)  # (G, C_i / G, N P)
    return torch.bmm(left, right.transpose(1, 2)).view(c_out, c_in // groups)


def _shifted(count: int, shift: int) -> Optional[Tuple[slice, slice]]:
    """Return the slices of all patches i and of all i + shift such that both are < ``count``."""
    first, last = max(0, -shift), min(count, count - shift)
    if first >= last:
        return None
    return slice(first, last), slice(first + shift, last + shift)


def grid_dilation(geometry: Geometry) -> Pair:
    """Return the dilation of the kept window on the patch grid, d / r."""
    dilation, patch_size = geometry.dilation, geometry.patch_size
    return dilation[0] // patch_size[0], dilation[1] // patch_size[1]


def _layout(grad_output: torch.Tensor) -> torch.memory_format:
    """Return the memory format of g, in which g_x is passed on to the layer below."""
    channels_last = grad_output.is_contiguous(memory_format=torch.channels_last)
    if channels_last and not grad_output.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format
