"""Kernel "cuda": passes in CUDA C over the full-size maps, cuBLAS on the small grids in between.

g is read once and pooled, multiplied by w~ and by x~, and g_x is written once. In memory a grid is
(C, N, P_h, P_w) where the maps are NCHW, and (N, P_h, P_w, C) where they are NHWC: either way it is
a matrix of channels and patches, so that each product is a single call, batched over the groups,
and no layout is converted. A depthwise layer needs no matrix product: its g_w is summed while g is
pooled, and g~ is multiplied by w~ while g_x is written. In half, sums are kept in float32 and
rounded once, when they are stored.
Source: Yang, Li, Marculescu, "Efficient On-device Training via Gradient Filtering", CVPR 2023,
equations (2), (3) and (5); patches and 1 / s^2 as ``gradient_filter`` of the torch kernel.
"""

from typing import Optional, Sequence, Tuple

import torch

from workloads.kernels.cuda import passes as cuda_passes
from workloads.kernels.seam import Maybe, Operator
from workloads.kernels.torch_ops import operators as torch_ops
from workloads.spec.geometry import Geometry


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
    """Return (x~, w~), which g_w and g_x will need; w itself where the window is kept.

    x~ is (N, C_i, P_h, P_w), w~ (C_o, C_i / groups, 1, 1).
    """
    x_sum = None
    if need_w:
        x_sum = _empty_grid(x, geometry)
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
    if not need_w:
        x_sum = None
    if not need_x:
        window = None
    if _is_depthwise(geometry):
        return _depthwise(grad_output, x_sum, window, geometry, need_b)
    return _filtered(grad_output, x_sum, window, geometry, need_b)


OPERATORS = {"gradient_filter": Operator(save, gradients)}


# with matrix products, and without -----------------------------------------------------------


def _filtered(
    grad_output: torch.Tensor, x_sum: Maybe, window: Maybe, geometry: Geometry, need_b: bool
) -> Tuple[Maybe, Maybe, Maybe]:
    """Return (g_x, g_w, g_b): pool g, multiply by w~ and x~, expand to g_x.

    No g_w without x~, and no g_x without w~.
    """
    grad = _empty_grid(grad_output, geometry)
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
    """Return (g_x, g_w, g_b) where each output channel has an input channel of its own.

    The passes multiply, cell by cell. No g_w without x~, and no g_x without w~.
    """
    grad = None if window is None else _empty_grid(grad_output, geometry)
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
    """Return the products per group; a single one is no batch, so that cuBLAS may split its K."""
    if left.shape[0] == 1:
        return torch.mm(left[0], right[0])[None]
    return torch.bmm(left, right)


# tensors -------------------------------------------------------------------------------------


def _is_depthwise(geometry: Geometry) -> bool:
    c_out, per_group = geometry.weight_shape[:2]
    return per_group == 1 and c_out == geometry.groups and not geometry.keeps_window


def _scale(geometry: Geometry) -> float:
    """Return 1 / s^2, which both gradients contain; g~ is multiplied by it, once."""
    return 1.0 / (geometry.stride[0] * geometry.stride[1])


def _empty_grid(maps: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Return an unwritten grid (N, C, P_h, P_w) of maps, channels first or last as theirs are."""
    n, channels = maps.shape[:2]
    rows, columns = geometry.grid
    if cuda_passes.by_channel(maps.stride(), maps.shape):
        return maps.new_empty((n, rows, columns, channels)).permute(0, 3, 1, 2)
    return maps.new_empty((channels, n, rows, columns)).transpose(0, 1)


def _empty_input(grad_output: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Return unwritten g_x in the memory format of dL/dy."""
    nhwc = cuda_passes.by_channel(grad_output.stride(), grad_output.shape)
    return torch.empty(
        geometry.x_shape,
        dtype=grad_output.dtype,
        device=grad_output.device,
        memory_format=torch.channels_last if nhwc else torch.contiguous_format,
    )
