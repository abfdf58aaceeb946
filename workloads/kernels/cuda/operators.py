"""Kernel "cuda": passes in CUDA C over the full-size maps, cuBLAS on the small grids in between.

g is read once and pooled, two products with w~ and x~ follow, and g_x is written once. A grid has
its channels first, (C, N, P_h, P_w), where the maps are NCHW, and last where they are NHWC: either
way it is a matrix of channels and patches, so both products are single ones, batched over the
groups, and no layout is converted. A depthwise layer needs no product: its g_w is summed while g
is pooled, and w~ multiplied in while g_x is written. In half, what a pass adds up is kept in
float32 and rounded once, where it is stored.
Source: Yang, Li, Marculescu, "Efficient On-device Training via Gradient Filtering", CVPR 2023,
equations (2), (3) and (5); patches and 1 / s^2 as ``gradient_filter`` of the torch kernel.
"""

from typing import Optional, Sequence, Tuple

import torch

from workloads.kernels.cuda import passes as cuda_passes
from workloads.kernels.seam import Maybe, Operator
from workloads.kernels.torch_ops import operators as torch_ops
from workloads.spec.geometry import Geometry

NAME = "cuda"
VERSION = "1"
SOURCES = (
    "kernels/cuda/operators.py",
    "kernels/cuda/passes.py",
    "kernels/cuda/driver.py",
    "kernels/cuda/nvrtc.py",
    cuda_passes.SOURCE,
    "kernels/torch_ops/operators.py",
)


def available(device: torch.device, dtype: torch.dtype) -> Optional[str]:
    """Return why this kernel cannot run there; None if it can. Compiles at the first call."""
    device = torch.device(device)
    if device.type != "cuda":
        return "kernel cuda runs on CUDA devices, not on %s" % device
    if dtype not in cuda_passes.TYPES:
        return "kernel cuda computes in float32, float16 and float64, not %s" % dtype
    reason = cuda_passes.unavailable(device, dtype)
    return reason and "kernel cuda: %s" % reason


def save(
    x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, need_x: bool, need_w: bool
) -> Tuple[Maybe, Maybe]:
    """Return (x~, w~): what g_w and g_x will need; w itself where the window is kept."""
    x_sum = None
    if need_w:
        x_sum = _grid(x, geometry)
        cuda_passes.pool(x, geometry.input_patches, x_sum)
    if not need_x:
        return x_sum, None
    return x_sum, weight if geometry.keeps_window else cuda_passes.sum_windows(weight)


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
    x_sum, window = x_sum if need_w else None, window if need_x else None
    way = _depthwise if _is_depthwise(geometry) else _filtered
    return way(grad_output, x_sum, window, geometry, need_b)


OPERATORS = {"gradient_filter": Operator(save, gradients)}


# the two ways through ------------------------------------------------------------------------


def _filtered(
    grad_output: torch.Tensor, x_sum: Maybe, window: Maybe, geometry: Geometry, need_b: bool
) -> Tuple[Maybe, Maybe, Maybe]:
    """Pool, do the backward of a small convolution, expand."""
    grad = _grid(grad_output, geometry)
    grad_bias, _ = cuda_passes.pool(
        grad_output, geometry.output_patches, grad, _scale(geometry), sums=need_b
    )
    grad_x = grad_w = None
    if x_sum is not None:
        grad_w = _weight_gradient(grad, x_sum, geometry)
    if window is not None:
        grad_x = _empty_input(grad_output, geometry)
        cuda_passes.expand(_input_gradient(grad, window, geometry), geometry.input_patches, grad_x)
    return grad_x, grad_w, grad_bias


def _depthwise(
    grad_output: torch.Tensor, x_sum: Maybe, window: Maybe, geometry: Geometry, need_b: bool
) -> Tuple[Maybe, Maybe, Maybe]:
    """Do the products within the passes: each output channel has one input channel of its own."""
    grad = None if window is None else _grid(grad_output, geometry)
    grad_bias, product = cuda_passes.pool(
        grad_output, geometry.output_patches, grad, _scale(geometry), need_b, x_sum
    )
    grad_x = grad_w = None
    if product is not None:
        grad_w = cuda_passes.repeat_taps(product, geometry.weight_shape)
    if grad is not None:
        grad_x = _empty_input(grad_output, geometry)
        cuda_passes.expand(grad, geometry.input_patches, grad_x, window)
    return grad_x, grad_w, grad_bias


# products on the patch grid ------------------------------------------------------------------


def _input_gradient(grad: torch.Tensor, window: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Return g_x on the patch grid (N, C_i, P_h, P_w), laid out as ``grad`` if groups allow."""
    if geometry.keeps_window:
        step = torch_ops.grid_dilation(geometry)
        return torch_ops.input_gradient(grad, window, geometry.groups, step)
    groups, (n, _, rows, columns) = geometry.groups, grad.shape
    left = _matrices(grad, groups)  # (G, C_o / G, N P)
    right = window.view(groups, -1, geometry.weight_shape[1])  # (G, C_o / G, C_i / G)
    if left.stride(2) == 1:
        product = _multiply(right.transpose(1, 2), left)  # (G, C_i / G, N P)
        return product.view(-1, n, rows, columns).transpose(0, 1)
    product = _multiply(left.transpose(1, 2), right)  # (G, N P, C_i / G)
    return product.transpose(0, 1).reshape(n, rows, columns, -1).permute(0, 3, 1, 2)


def _weight_gradient(grad: torch.Tensor, x_sum: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Return g_w (C_o, C_i / groups, k_h, k_w): one value for all taps, or tap by tap."""
    shape, groups = geometry.weight_shape, geometry.groups
    if geometry.keeps_window:
        step = torch_ops.grid_dilation(geometry)
        return torch_ops.weight_gradient(grad, x_sum, shape, groups, step)
    product = _multiply(_matrices(grad, groups), _matrices(x_sum, groups).transpose(1, 2))
    return cuda_passes.repeat_taps(product, shape)  # from (G, C_o / G, C_i / G)


def _matrices(grid: torch.Tensor, groups: int) -> torch.Tensor:
    """Return a grid (N, C, P_h, P_w) as (G, C / G, N P); a view in both of its layouts."""
    return grid.transpose(0, 1).reshape(groups, grid.shape[1] // groups, -1)


def _multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the products per group; of one alone cuBLAS may split the long inner dimension."""
    if left.shape[0] == 1:
        return torch.mm(left[0], right[0])[None]
    return torch.bmm(left, right)


# tensors -------------------------------------------------------------------------------------


def _is_depthwise(geometry: Geometry) -> bool:
    c_out, per_group = geometry.weight_shape[:2]
    return per_group == 1 and c_out == geometry.groups and not geometry.keeps_window


def _scale(geometry: Geometry) -> float:
    """Return 1 / s^2, which belongs to both gradients and is applied once, to g~."""
    return 1.0 / (geometry.stride[0] * geometry.stride[1])


def _grid(maps: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Return an unwritten grid (N, C, P_h, P_w) for maps: a matrix in the maps' own order."""
    n, channels = maps.shape[:2]
    rows, columns = geometry.grid
    if cuda_passes.by_channel(maps.stride(), maps.shape):
        return maps.new_empty((n, rows, columns, channels)).permute(0, 3, 1, 2)
    return maps.new_empty((channels, n, rows, columns)).transpose(0, 1)


def _empty_input(grad_output: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Return unwritten g_x in the memory format of dL/dy."""
    pixels = cuda_passes.by_channel(grad_output.stride(), grad_output.shape)
    return torch.empty(
        geometry.x_shape,
        dtype=grad_output.dtype,
        device=grad_output.device,
        memory_format=torch.channels_last if pixels else torch.contiguous_format,
    )
