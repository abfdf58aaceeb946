"""Kernel "native": the filtered backward in C, which reads g once and writes g_x once.

With the window summed, one call of C does everything: it pools g, multiplies by w~ and x~, and
expands to g_x, chunk by chunk of patch rows, so that a chunk's grids stay in the caches. Threads
each work on chunks of their own, or all together if there are few patch rows. NCHW and
channels-last are read and written as they lie. Depthwise layers need no matrix product and have a
function of their own.

With the window kept, C pools and expands chunks of images, and oneDNN or BLAS multiplies in
between.
Source: Yang, Li, Marculescu, "Efficient On-device Training via Gradient Filtering", CVPR 2023,
equations (2), (3) and (5); patches and 1 / s^2 as ``gradient_filter`` of the torch kernel.
"""

import functools
from typing import NamedTuple, Optional, Sequence, Tuple

import torch

from workloads.kernels.native import grid_products as products
from workloads.kernels.native import passes
from workloads.kernels.native.bindings import TYPES, Axes, unavailable
from workloads.kernels.native.passes import Grid, Maps
from workloads.kernels.seam import Maybe, Operator
from workloads.kernels.torch_ops import operators as torch_ops
from workloads.spec.geometry import Geometry

THREAD_CHUNK_BYTES = 4 * 2**20  # of x~, g~ and g_x's cells in a chunk that one thread does alone
MIN_CELLS_PER_THREAD = 64  # cells of the patch grid below which threads do not work alone
MAX_SUMMED_CELLS = 128  # cells added up one after the other in g_w of a depthwise layer
IMAGE_CHUNK_BYTES = 8 * 2**20  # of both grids in a chunk of images, to fit usual last caches


def available(device: torch.device, dtype: torch.dtype) -> Optional[str]:
    """Return why this kernel cannot run there; None if it can. Compiles at the first call."""
    if torch.device(device).type != "cpu":
        return "kernel native runs on the CPU, not on %s" % device
    if dtype not in TYPES:
        return "kernel native computes in float32 and float64, not %s" % dtype
    return unavailable(dtype)


class _Layer(NamedTuple):
    """What this kernel needs of a geometry, computed once."""

    images: int
    in_channels: int
    out_channels: int
    grid: Tuple[int, int]  # (P_h, P_w)
    cells: int  # P_h P_w
    out_axes: Axes  # the patches of y
    in_axes: Axes  # the patches of x
    covers: bool  # every pixel of x lies in a patch
    scale: float  # 1 / s^2
    grid_weight_shape: Tuple[int, int, int, int]  # of w on the patch grid: w's own, or 1 x 1 taps
    grid_dilation: Tuple[int, int]
    depthwise: bool  # gfb_depthwise can do the backward, at least in NCHW


@functools.lru_cache(maxsize=1024)
def _layer(geometry: Geometry) -> _Layer:
    n, c_in, height, width = geometry.x_shape
    c_out, per_group = geometry.weight_shape[:2]
    keeps_window, in_axes = geometry.keeps_window, geometry.input_patches
    few_outputs = c_out <= passes.MAX_DEPTHWISE_MULTIPLIER * c_in
    return _Layer(
        images=n,
        in_channels=c_in,
        out_channels=c_out,
        grid=geometry.grid,
        cells=geometry.grid[0] * geometry.grid[1],
        out_axes=geometry.output_patches,
        in_axes=in_axes,
        covers=in_axes[0].covers(height) and in_axes[1].covers(width),
        scale=1.0 / (geometry.stride[0] * geometry.stride[1]),
        grid_weight_shape=geometry.weight_shape if keeps_window else (c_out, per_group, 1, 1),
        grid_dilation=torch_ops.grid_dilation(geometry) if keeps_window else (1, 1),
        depthwise=not keeps_window and per_group == 1 and few_outputs,
    )


# the forward ---------------------------------------------------------------------------------


def save(
    x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, need_x: bool, need_w: bool
) -> Tuple[Maybe, Maybe]:
    """Return (x~, w~), which g_w and g_x will need; w itself where the window is kept.

    They are packed for ``gfb_filtered`` where that can do the backward. How w~ is packed depends on
    the layout of g, for which that of x is taken: the two differ rarely.
    """
    layer, maps = _layer(geometry), passes.in_place(x)
    if layer.depthwise or geometry.keeps_window:
        return _save_dense(maps, weight, geometry, layer, need_x, need_w)
    if need_x:
        weight = weight.contiguous(memory_format=_memory_format(maps))
    return passes.save(maps, layer.in_axes, weight, geometry.groups, need_x, need_w)


def save_pooled(
    x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, need_x: bool, need_w: bool
) -> Tuple[Maybe, Maybe]:
    """Return (x~, w~) as ``gradients_pooled`` takes them: not packed."""
    maps = passes.in_place(x)
    return _save_dense(maps, weight, geometry, _layer(geometry), need_x, need_w)


def _save_dense(
    maps: Maps, weight: torch.Tensor, geometry: Geometry, layer: _Layer, need_x: bool, need_w: bool
) -> Tuple[Maybe, Maybe]:
    """Return x~ (N, C_i, P_h, P_w) and w~ (C_o, C_i / groups, 1, 1), or w if it is kept."""
    x_sum = None
    if need_w:
        dense_cells = layer.depthwise and maps.nchw
        grid = _empty_grid(maps.tensor, layer.grid, layer.images, layer.in_channels, dense_cells)
        passes.pool(maps, layer.in_axes, grid, (0, layer.images))
        x_sum = grid.tensor
    if not need_x:
        return x_sum, None
    return x_sum, weight if geometry.keeps_window else passes.sum_windows(weight)


def _x_is_packed(x_sum: Maybe) -> bool:
    return x_sum is not None and x_sum.dim() == 1


def _w_is_packed(w_sum: Maybe) -> bool:
    return w_sum is not None and w_sum.dim() == 3


def _is_packed_for(grad: Maps, x_sum: Maybe, w_sum: Maybe) -> bool:
    """Return whether ``gfb_filtered`` can read x~ and w~: packed, and w~ for the layout of g."""
    if w_sum is None:
        return _x_is_packed(x_sum)
    channels = passes.weight_tile_channels(w_sum.dtype, grad.nchw)
    return _w_is_packed(w_sum) and w_sum.shape[2] == channels


def _unpacked(x_sum: Maybe, w_sum: Maybe, geometry: Geometry, layer: _Layer) -> Tuple[Maybe, Maybe]:
    """Return x~ and w~ as ``_save_dense`` makes them: g turned out not to have x's layout."""
    if x_sum is not None and _x_is_packed(x_sum):
        shape = (layer.images, layer.in_channels, *layer.grid)
        x_sum = passes.unpack_x_sums(x_sum, shape, geometry.groups)
    if w_sum is not None and _w_is_packed(w_sum):
        w_sum = passes.unpack_w_sums(w_sum, layer.grid_weight_shape, geometry.groups)
    return x_sum, w_sum


# the backward --------------------------------------------------------------------------------


def gradients(
    grad_output: torch.Tensor,
    x_sum: Maybe,
    w_sum: Maybe,
    geometry: Geometry,
    needs_input_grad: Sequence[bool],
) -> Tuple[Maybe, Maybe, Maybe]:
    """Return (g_x, g_w, g_b); None for each that is not needed.

    Args:
        grad_output: g (N, C_o, H_y, W_y).
        x_sum: x~, as ``save`` returned it.
        w_sum: w~, as ``save`` returned it.
        geometry: of the convolution.
        needs_input_grad: whether g_x, g_w and g_b are needed.
    """
    need_x, need_w, need_b = needs_input_grad
    if not need_x and not need_w:
        return None, None, grad_output.sum((0, 2, 3)) if need_b else None
    layer, grad = _layer(geometry), passes.in_place(grad_output)
    if not need_w:
        x_sum = None
    if not need_x:
        w_sum = None
    if _is_packed_for(grad, x_sum, w_sum):
        return _in_one_call("gfb_filtered", grad, x_sum, w_sum, geometry, layer, need_b)
    if layer.depthwise and (grad.nchw or layer.in_channels == layer.out_channels):
        x_sum = None if x_sum is None else x_sum.contiguous(memory_format=_memory_format(grad))
        return _in_one_call("gfb_depthwise", grad, x_sum, w_sum, geometry, layer, need_b)
    x_sum, w_sum = _unpacked(x_sum, w_sum, geometry, layer)
    return _by_image_chunks(grad, x_sum, w_sum, geometry, layer, need_b)


def gradients_pooled(
    grad_output: torch.Tensor,
    x_sum: Maybe,
    w_sum: Maybe,
    geometry: Geometry,
    needs_input_grad: Sequence[bool],
) -> Tuple[Maybe, Maybe, Maybe]:
    """Return what published programs timed, as ``gradients_pooled`` of the torch kernel does."""
    need_x, need_w, need_b = needs_input_grad
    layer, grad = _layer(geometry), passes.in_place(grad_output)
    grid = _empty_grid(grad.tensor, layer.grid, layer.images, layer.out_channels)
    sums = _empty_sums(grad, layer) if need_b else None
    passes.pool(grad, layer.out_axes, grid, (0, layer.images), layer.scale, sums)
    grad_x_cells, grad_w = products.backward(
        grid.tensor,
        x_sum if need_w else None,
        w_sum if need_x else None,
        layer.grid_weight_shape,
        geometry.groups,
        layer.grid_dilation,
    )
    return grad_x_cells, grad_w, None if sums is None else sums.flatten(0, -2).sum(0)


OPERATORS = {
    "gradient_filter": Operator(save, gradients),
    "gradient_filter_pooled": Operator(save_pooled, gradients_pooled),
}


def _in_one_call(
    function: str,
    grad: Maps,
    x_sum: Maybe,
    w_sum: Maybe,
    geometry: Geometry,
    layer: _Layer,
    need_b: bool,
) -> Tuple[Maybe, Maybe, Maybe]:
    """Return (g_x, g_w, g_b) by one call of C; None for g_x without w~, and for g_w without x~."""
    like = grad.tensor
    wanted = (w_sum is not None, x_sum is not None, need_b)
    strides, threads = like.stride(), torch.get_num_threads()
    call = prepared_call(function, grad.nchw, geometry, strides, like.dtype, wanted, threads)
    grad_x = None if w_sum is None else _empty_input_gradient(grad, geometry, layer)
    grad_w = None if x_sum is None else _empty(grad, geometry.weight_shape)
    grad_bias = like.new_empty(layer.out_channels) if need_b else None
    passes.backward(call, like, x_sum, w_sum, grad_x, grad_w, grad_bias)
    return grad_x, grad_w, grad_bias


@functools.lru_cache(maxsize=1024)
def prepared_call(
    function: str,
    nchw: bool,
    geometry: Geometry,
    grad_strides: Tuple[int, ...],
    dtype: torch.dtype,
    wanted: Tuple[bool, bool, bool],
    threads: int,
) -> passes.Call:
    """Return the call of C for a backward, prepared once: on small maps that takes long."""
    layer, element_size = _layer(geometry), torch.finfo(dtype).bits // 8
    chunk_rows, accumulators = 1, 0
    if function == "gfb_filtered":
        chunk_rows, accumulators = _schedule(layer, element_size, threads)
    elif not nchw:
        rows, columns = layer.images * layer.grid[0], layer.grid[1]
        chunk_rows = max(1, min(MAX_SUMMED_CELLS // columns, rows // (8 * threads)))
    return passes.prepare(
        passes.Schedule(function, nchw, chunk_rows, accumulators),
        geometry.x_shape,
        geometry.weight_shape,
        (layer.out_axes, layer.in_axes),
        grad_strides,
        dtype,
        geometry.groups,
        layer.scale,
        wanted,
        threads,
    )


def _schedule(layer: _Layer, element_size: int, threads: int) -> Tuple[int, int]:
    """Return the patch rows of a chunk, all of about one size, and the number of accumulators.

    A thread that does chunks alone keeps them in its own caches and waits for no other thread, but
    needs an accumulator of g_w of its own, and these have to be added up. That pays off if each
    thread has many cells, the more so the more channels there are. Otherwise there are 0
    accumulators: all threads work together on a single chunk of all patch rows.
    """
    rows, columns = layer.images * layer.grid[0], layer.grid[1]
    min_cells = max(MIN_CELLS_PER_THREAD, layer.out_channels // 4)
    if rows < threads or rows * columns < threads * min_cells:
        return rows, 0
    row_bytes = columns * (2 * layer.in_channels + layer.out_channels) * element_size
    most_bytes = max(THREAD_CHUNK_BYTES, MIN_CELLS_PER_THREAD // columns * row_bytes)
    chunks = _ceil_div(rows * row_bytes, most_bytes)
    chunks = _ceil_div(chunks, threads) * threads
    return _ceil_div(rows, min(chunks, rows)), threads


def _by_image_chunks(
    grad: Maps, x_sum: Maybe, w_sum: Maybe, geometry: Geometry, layer: _Layer, need_b: bool
) -> Tuple[Maybe, Maybe, Maybe]:
    """Return (g_x, g_w, g_b): pool, do the backward of a small convolution, expand, by chunks.

    x~ (N, C_i, P_h, P_w) and w~ (C_o, C_i / groups, k_h, k_w or 1, 1) are not packed; None for g_w
    without x~, and for g_x without w~.
    """
    chunk = _images_per_chunk(layer, grad.tensor.element_size())
    grid = _empty_grid(grad.tensor, layer.grid, chunk, layer.out_channels)
    sums = _empty_sums(grad, layer) if need_b else None
    grad_x: Optional[Maps] = None
    if w_sum is not None:
        grad_x = Maps(_empty_input_gradient(grad, geometry, layer), grad.nchw)
    grad_w: Maybe = None
    for first in range(0, layer.images, chunk):
        last = min(first + chunk, layer.images)
        chunk_sums = None if sums is None else sums[first:last]
        passes.pool(grad, layer.out_axes, grid, (first, last), layer.scale, chunk_sums)
        grad_x_cells, chunk_grad_w = products.backward(
            grid.tensor[: last - first],
            None if x_sum is None else x_sum[first:last],
            w_sum,
            layer.grid_weight_shape,
            geometry.groups,
            layer.grid_dilation,
        )
        if grad_x is not None and grad_x_cells is not None:
            cells = _as_grid(grad_x_cells, grad.nchw)
            passes.expand(cells, layer.in_axes, grad_x, (first, last))
        if chunk_grad_w is not None:
            grad_w = chunk_grad_w if grad_w is None else grad_w.add_(chunk_grad_w)
    if grad_w is not None and layer.grid_weight_shape != geometry.weight_shape:
        grad_w = passes.repeat_taps(grad_w.contiguous(), geometry.weight_shape)
    return (
        None if grad_x is None else grad_x.tensor,
        grad_w,
        None if sums is None else sums.flatten(0, -2).sum(0),
    )


def _images_per_chunk(layer: _Layer, element_size: int) -> int:
    """Return how many images to do at once: chunks of one size, within IMAGE_CHUNK_BYTES."""
    image_bytes = layer.cells * (layer.in_channels + layer.out_channels) * element_size
    chunks = _ceil_div(layer.images * image_bytes, IMAGE_CHUNK_BYTES)
    return _ceil_div(layer.images, min(chunks, layer.images))


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


# tensors -------------------------------------------------------------------------------------


def _empty_grid(
    like: torch.Tensor,
    size: Tuple[int, int],
    images: int,
    channels: int,
    dense_cells: bool = False,
) -> Grid:
    """Return an unwritten grid (images, channels, P_h, P_w); its channels are dense, or cells."""
    rows, columns = size
    if dense_cells:
        tensor = like.new_empty((images, channels, rows, columns))
        return Grid(tensor, (channels * rows * columns, rows * columns, 1))
    tensor = like.new_empty((images, rows, columns, channels)).permute(0, 3, 1, 2)
    return Grid(tensor, (rows * columns * channels, 1, channels))


def _as_grid(cells: torch.Tensor, nchw: bool) -> Grid:
    """Return cells (N, C, P_h, P_w) as a grid that ``expand`` reads; a copy only if need be.

    For maps in NCHW a grid may have dense cells or dense channels, otherwise dense channels.
    """
    _, channels, rows, columns = cells.shape
    if nchw and cells.is_contiguous():
        return Grid(cells, (channels * rows * columns, rows * columns, 1))
    cells = cells.contiguous(memory_format=torch.channels_last)
    return Grid(cells, (rows * columns * channels, 1, channels))


def _empty_sums(grad: Maps, layer: _Layer) -> torch.Tensor:
    """Return unwritten sums of g, (N, C_o) or (N, P_h, C_o) in channels-last; their sum is g_b."""
    rows = () if grad.nchw else (layer.grid[0],)
    return grad.tensor.new_empty((layer.images, *rows, layer.out_channels))


def _memory_format(maps: Maps) -> torch.memory_format:
    return torch.contiguous_format if maps.nchw else torch.channels_last


def _empty(grad: Maps, shape: Sequence[int]) -> torch.Tensor:
    """Return an unwritten tensor, dense in the layout of g."""
    if grad.nchw:
        return grad.tensor.new_empty(shape)
    return torch.empty(shape, dtype=grad.tensor.dtype, memory_format=torch.channels_last)


def _empty_input_gradient(grad: Maps, geometry: Geometry, layer: _Layer) -> torch.Tensor:
    """Return unwritten g_x in the layout of g, or zeros if some pixels lie in no patch."""
    grad_x = _empty(grad, geometry.x_shape)
    return grad_x if layer.covers else grad_x.zero_()
