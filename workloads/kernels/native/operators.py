"""Kernel "native": the filtered backward in C, read once, written once, products in caches.

Windows summed: one call does everything, rows of patches by rows of patches. g is pooled, two
products with w~ and x~ follow, and g_x is written; threads work alone, each on rows of its own, or
together where there are few. NCHW and channels-last are read and written as they lie. Depthwise
layers need no products and have a pass of their own. Kept windows go by parts, chunk of images by
chunk: C pools and expands, oneDNN or BLAS multiplies in between.
Source: Yang, Li, Marculescu, "Efficient On-device Training via Gradient Filtering", CVPR 2023,
equations (2), (3) and (5); patches and 1 / s^2 as ``gradient_filter`` of the torch kernel.
"""

import functools
from typing import NamedTuple, Optional, Sequence, Tuple

import torch

from workloads.kernels.native import grid_products as products
from workloads.kernels.native import library, passes
from workloads.kernels.native.library import TYPES, Axes, unavailable
from workloads.kernels.native.passes import Grid, Maps
from workloads.kernels.seam import Maybe, Operator
from workloads.kernels.torch_ops import operators as torch_ops
from workloads.spec.geometry import Geometry

NAME = "native"
VERSION = "6"
SOURCES = (
    "kernels/native/operators.py",
    "kernels/native/passes.py",
    "kernels/native/library.py",
    "kernels/native/threads.py",
    "kernels/native/grid_products.py",
    "kernels/native/compiler.py",
    *library.SOURCES,
    "kernels/torch_ops/operators.py",
)

OWN_BYTES = 4 * 2**20  # of what a thread goes through at a time when it works alone
LEAST_CELLS = 64  # that each thread has in all where threads work alone
MOST_ADDED = 128  # patches one after the other in a sum of a depthwise layer's g_w
CHUNK_BYTES = 8 * 2**20  # of both grids together: fits the last cache of what trains networks


def available(device: torch.device, dtype: torch.dtype) -> Optional[str]:
    """Return why this kernel cannot run there; None if it can. Compiles at the first call."""
    if torch.device(device).type != "cpu":
        return "kernel native runs on the CPU, not on %s" % device
    if dtype not in TYPES:
        return "kernel native computes in float32 and float64, not %s" % dtype
    return unavailable(dtype)


class _Plan(NamedTuple):
    """What a geometry means here, worked out once."""

    images: int
    in_channels: int
    out_channels: int
    grid: Tuple[int, int]
    cells: int  # patches per image
    out_axes: Axes
    in_axes: Axes
    covers: bool  # every pixel of x lies in a patch
    scale: float  # 1 / s^2
    window: Tuple[int, int, int, int]  # shape on the grid: 1 x 1 taps, or all where it is kept
    step: Tuple[int, int]  # its dilation there
    depthwise: bool


@functools.lru_cache(maxsize=1024)
def _plan(geometry: Geometry) -> _Plan:
    n, c_in, height, width = geometry.x_shape
    c_out, per_group = geometry.weight_shape[:2]
    in_axes = geometry.input_patches
    return _Plan(
        images=n,
        in_channels=c_in,
        out_channels=c_out,
        grid=geometry.grid,
        cells=geometry.grid[0] * geometry.grid[1],
        out_axes=geometry.output_patches,
        in_axes=in_axes,
        covers=in_axes[0].covers(height) and in_axes[1].covers(width),
        scale=1.0 / (geometry.stride[0] * geometry.stride[1]),
        window=geometry.weight_shape if geometry.keeps_window else (c_out, per_group, 1, 1),
        step=torch_ops.grid_dilation(geometry) if geometry.keeps_window else (1, 1),
        depthwise=not geometry.keeps_window
        and per_group == 1
        and c_out <= passes.MOST_DEPTHWISE * c_in,
    )


def save(
    x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, need_x: bool, need_w: bool
) -> Tuple[Maybe, Maybe]:
    """Return (x~, w~): what g_w and g_x will need; w itself where the window is kept.

    They are as ``_whole`` reads them where it will: maps of g lie as those of x, but for rare ones.
    """
    plan, maps = _plan(geometry), passes.walkable(x)
    if plan.depthwise or geometry.keeps_window:
        return _save_plain(maps, weight, geometry, plan, need_x, need_w)
    if need_x:
        weight = weight.contiguous(memory_format=_memory_format(maps))
    return passes.save(maps, plan.in_axes, weight, geometry.groups, need_x, need_w)


def _save_plain(
    maps: Maps, weight: torch.Tensor, geometry: Geometry, plan: _Plan, need_x: bool, need_w: bool
) -> Tuple[Maybe, Maybe]:
    x_sum = None
    if need_w:
        by_channel = plan.depthwise and maps.planes
        grid = _grid(maps.tensor, plan.grid, plan.images, plan.in_channels, by_channel)
        passes.pool(maps, plan.in_axes, grid, (0, plan.images))
        x_sum = grid.tensor
    if not need_x:
        return x_sum, None
    return x_sum, weight if geometry.keeps_window else passes.sum_windows(weight)


def save_pooled(
    x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, need_x: bool, need_w: bool
) -> Tuple[Maybe, Maybe]:
    """Return (x~, w~) as ``gradients_pooled`` takes them."""
    maps = passes.walkable(x)
    return _save_plain(maps, weight, geometry, _plan(geometry), need_x, need_w)


def _in_panels(x_sum: Maybe) -> bool:
    return x_sum is not None and x_sum.dim() == 1


def _in_tiles(window: Maybe) -> bool:
    return window is not None and window.dim() == 3


def _is_saved_for(grad: Maps, x_sum: Maybe, window: Maybe) -> bool:
    """Return whether ``save`` foresaw g's layout, on which tiles depend."""
    if window is None:
        return _in_panels(x_sum)
    return _in_tiles(window) and window.shape[2] == passes.tile_channels(window.dtype, grad.planes)


def _plain(x_sum: Maybe, window: Maybe, geometry: Geometry, plan: _Plan) -> Tuple[Maybe, Maybe]:
    """Return x~ and w~ as products in Python take them: g's layout surprised."""
    if x_sum is not None and _in_panels(x_sum):
        shape = (plan.images, plan.in_channels, *plan.grid)
        x_sum = passes.unpanelled(x_sum, shape, geometry.groups)
    if window is not None and _in_tiles(window):
        window = passes.untiled(window, plan.window, geometry.groups)
    return x_sum, window


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
    plan, grad = _plan(geometry), passes.walkable(grad_output)
    x_sum, window = x_sum if need_w else None, window if need_x else None
    if _is_saved_for(grad, x_sum, window):
        return _whole("filtered", grad, x_sum, window, geometry, plan, need_b)
    if plan.depthwise and (grad.planes or plan.in_channels == plan.out_channels):
        x_sum = None if x_sum is None else x_sum.contiguous(memory_format=_memory_format(grad))
        return _whole("depthwise", grad, x_sum, window, geometry, plan, need_b)
    x_sum, window = _plain(x_sum, window, geometry, plan)
    return _by_parts(grad, x_sum, window, geometry, plan, need_b)


def gradients_pooled(
    grad_output: torch.Tensor,
    x_sum: Maybe,
    window: Maybe,
    geometry: Geometry,
    needs_input_grad: Sequence[bool],
) -> Tuple[Maybe, Maybe, Maybe]:
    """Return what published programs timed, as ``gradients_pooled`` of the torch kernel does."""
    need_x, need_w, need_b = needs_input_grad
    plan, grad = _plan(geometry), passes.walkable(grad_output)
    grid = _grid(grad.tensor, plan.grid, plan.images, plan.out_channels)
    sums = _sums(grad, plan) if need_b else None
    passes.pool(grad, plan.out_axes, grid, (0, plan.images), plan.scale, sums)
    values, product = products.backward(
        grid.tensor,
        x_sum if need_w else None,
        window if need_x else None,
        plan.window,
        geometry.groups,
        plan.step,
    )
    return values, product, None if sums is None else sums.flatten(0, -2).sum(0)


OPERATORS = {
    "gradient_filter": Operator(save, gradients),
    "gradient_filter_pooled": Operator(save_pooled, gradients_pooled),
}


# the ways through ----------------------------------------------------------------------------


def _whole(
    function: str,
    grad: Maps,
    x_sum: Maybe,
    window: Maybe,
    geometry: Geometry,
    plan: _Plan,
    need_b: bool,
) -> Tuple[Maybe, Maybe, Maybe]:
    """Do everything in C."""
    like = grad.tensor
    wanted = (window is not None, x_sum is not None, need_b)
    strides, threads = like.stride(), torch.get_num_threads()
    call = ready_call(function, grad.planes, geometry, strides, like.dtype, wanted, threads)
    grad_x = None if window is None else _empty_input(grad, geometry, plan)
    grad_w = None if x_sum is None else _empty(grad, geometry.weight_shape)
    grad_bias = like.new_empty(plan.out_channels) if need_b else None
    passes.backward(call, like, x_sum, window, grad_x, grad_w, grad_bias)
    return grad_x, grad_w, grad_bias


@functools.lru_cache(maxsize=1024)
def ready_call(
    function: str,
    planes: bool,
    geometry: Geometry,
    grad_strides: Tuple[int, ...],
    dtype: torch.dtype,
    wanted: Tuple[bool, bool, bool],
    threads: int,
) -> passes.Call:
    """Return the call that does everything, made ready once for small maps' sake."""
    plan, size = _plan(geometry), torch.finfo(dtype).bits // 8
    way = passes.Way(function, planes)
    if function == "filtered":
        way = passes.Way(function, planes, *_chunk_rows(plan, size, threads))
    elif not planes:
        rows, across = plan.images * plan.grid[0], plan.grid[1]
        chunk = min(MOST_ADDED // across, rows // (8 * threads))
        way = passes.Way(function, planes, max(1, chunk))
    return passes.prepared(
        way,
        geometry.x_shape,
        geometry.weight_shape,
        (plan.out_axes, plan.in_axes),
        grad_strides,
        dtype,
        geometry.groups,
        plan.scale,
        wanted,
        threads,
    )


def _by_parts(
    grad: Maps, x_sum: Maybe, window: Maybe, geometry: Geometry, plan: _Plan, need_b: bool
) -> Tuple[Maybe, Maybe, Maybe]:
    """Go through the images in chunks: pool, do the backward of a small convolution, expand."""
    chunk = _chunk(plan, grad.tensor.element_size())
    grid = _grid(grad.tensor, plan.grid, chunk, plan.out_channels)
    sums = _sums(grad, plan) if need_b else None
    grad_x: Optional[Maps] = None
    if window is not None:
        grad_x = Maps(_empty_input(grad, geometry, plan), grad.planes)
    grad_w: Maybe = None
    for first in range(0, plan.images, chunk):
        last = min(first + chunk, plan.images)
        part = None if sums is None else sums[first:last]
        passes.pool(grad, plan.out_axes, grid, (first, last), plan.scale, part)
        x_part = None if x_sum is None else x_sum[first:last]
        values, product = products.backward(
            grid.tensor[: last - first], x_part, window, plan.window, geometry.groups, plan.step
        )
        if grad_x is not None and values is not None:
            passes.expand(_as_grid(values, grad.planes), plan.in_axes, grad_x, (first, last))
        if product is not None:
            grad_w = product if grad_w is None else grad_w.add_(product)
    if grad_w is not None and plan.window != geometry.weight_shape:
        grad_w = passes.repeat_taps(grad_w.contiguous(), geometry.weight_shape)
    return (
        None if grad_x is None else grad_x.tensor,
        grad_w,
        None if sums is None else sums.flatten(0, -2).sum(0),
    )


# tensors -------------------------------------------------------------------------------------


def _grid(
    like: torch.Tensor,
    size: Tuple[int, int],
    images: int,
    channels: int,
    by_channel: bool = False,
) -> Grid:
    """Return an unwritten grid (images, channels, P_h, P_w), channels or cells side by side."""
    rows, columns = size
    if by_channel:
        grid = like.new_empty((images, channels, rows, columns))
        return Grid(grid, (channels * rows * columns, rows * columns, 1))
    grid = like.new_empty((images, rows, columns, channels)).permute(0, 3, 1, 2)
    return Grid(grid, (rows * columns * channels, 1, channels))


def _as_grid(values: torch.Tensor, planes: bool) -> Grid:
    """Return values (N, C, P_h, P_w) as a grid, copied only where no pass can walk them.

    Passes over planes walk grids in either order, those over pixels need channels side by side.
    """
    _, channels, rows, columns = values.shape
    if planes and values.is_contiguous():
        return Grid(values, (channels * rows * columns, rows * columns, 1))
    values = values.contiguous(memory_format=torch.channels_last)
    return Grid(values, (rows * columns * channels, 1, channels))


def _sums(grad: Maps, plan: _Plan) -> torch.Tensor:
    """Return unwritten sums of g, whose total over all but the last dimension is g_b."""
    rows = () if grad.planes else (plan.grid[0],)
    return grad.tensor.new_empty((plan.images, *rows, plan.out_channels))


def _memory_format(maps: Maps) -> torch.memory_format:
    return torch.contiguous_format if maps.planes else torch.channels_last


def _empty(grad: Maps, shape: Sequence[int]) -> torch.Tensor:
    """Return an unwritten tensor in the layout of g."""
    if grad.planes:
        return grad.tensor.new_empty(shape)
    return torch.empty(shape, dtype=grad.tensor.dtype, memory_format=torch.channels_last)


def _empty_input(grad: Maps, geometry: Geometry, plan: _Plan) -> torch.Tensor:
    """Return unwritten g_x in the layout of g, zeros where patches leave pixels out."""
    grad_x = _empty(grad, geometry.x_shape)
    return grad_x if plan.covers else grad_x.zero_()


def _chunk_rows(plan: _Plan, element_size: int, threads: int) -> Tuple[int, int]:
    """Return how many rows of patches to do at once, all parts alike, and by how many threads.

    A thread that does chunks alone keeps them in its own caches, and waits for nobody; but each
    then needs a g_w of its own, which pays off where each has some rows of its products to do.
    Else all threads (0) do all rows together.
    """
    rows, across = plan.images * plan.grid[0], plan.grid[1]
    least = max(LEAST_CELLS, plan.out_channels // 4)  # g_w grows with channels, products with both
    if rows < threads or rows * across < threads * least:
        return rows, 0
    each = across * (2 * plan.in_channels + plan.out_channels) * element_size
    parts = -(-rows * each // max(OWN_BYTES, LEAST_CELLS // across * each))
    parts = -(-parts // threads) * threads
    return -(-rows // min(parts, rows)), threads


def _chunk(plan: _Plan, element_size: int) -> int:
    """Return how many images to do at once: all parts alike, none over CHUNK_BYTES if it can."""
    bytes_each = plan.cells * (plan.in_channels + plan.out_channels) * element_size
    parts = -(-plan.images * bytes_each // CHUNK_BYTES)
    return -(-plan.images // min(parts, plan.images))
