"""The compiled functions of gradient_filter.c, called on tensors through ctypes.

A pass reads maps (N, C, H, W) and writes a grid of their patches (N, C, P_h, P_w), or the other way
round; a backward does everything in one call. Strides are passed along, so that tensors whose
columns are dense (NCHW) or whose channels are (NHWC) are read and written where they lie. ctypes
releases the interpreter's lock during a call; the loops run in torch's own OpenMP threads.
"""

import functools
import os
import threading
from typing import Callable, NamedTuple, Optional, Tuple

import torch

from workloads.kernels.native.bindings import (
    Axes,
    BackwardDesc,
    SaveDesc,
    Strides,
    layout_of,
    library_of,
)
from workloads.kernels.native.threads import ThreadPool, thread_pool, thread_pool_of

MAX_DEPTHWISE_MULTIPLIER = 16  # output channels per input channel; CHANNEL_BLOCK in the source
KEPT_WORKSPACE_BYTES = 16 * 2**20  # a workspace up to this size is kept for the next backward
_UNKNOWN_CACHE_BYTES = 32 * 2**20  # assumed where the size of the last cache is not known


class Maps(NamedTuple):
    """Maps (N, C, H, W) that C reads or writes in place: columns dense (``nchw``), or channels."""

    tensor: torch.Tensor
    nchw: bool

    def address(self, image: int) -> int:
        """Return the address of an image's first element."""
        tensor = self.tensor
        return int(tensor.data_ptr()) + image * tensor.stride(0) * tensor.element_size()


class Grid(NamedTuple):
    """Patches (N, C, P_h, P_w) of maps, and their strides: of image, channel and cell."""

    tensor: torch.Tensor
    strides: Tuple[int, int, int]


def in_place(tensor: torch.Tensor) -> Maps:
    """Return maps (N, C, H, W) as they lie if columns or channels are dense, else a copy."""
    if tensor.is_contiguous():
        return Maps(tensor, True)
    if tensor.is_contiguous(memory_format=torch.channels_last):
        return Maps(tensor, False)
    channels, columns = tensor.shape[1], tensor.shape[3]
    if tensor.stride(3) == 1 or columns == 1:
        return Maps(tensor, True)
    if tensor.stride(1) == 1 or channels == 1:
        return Maps(tensor, False)
    return Maps(tensor.contiguous(), True)


def pool(
    maps: Maps,
    axes: Axes,
    grid: Grid,
    images: Tuple[int, int],
    scale: float = 0.0,
    sums: Optional[torch.Tensor] = None,
) -> None:
    """Sum the patches of images [first, last) of ``maps`` into the first images of ``grid``.

    Args:
        maps: (N, C, H, W).
        axes: the patches, of rows and of columns.
        grid: written; (>= last - first, C, P_h, P_w), with dense channels if the maps have them.
        images: first and last.
        scale: if not 0, ``scale`` times the means is written instead of the sums.
        sums: written with the sums of the maps' pixels: (images, C), or (images, P_h, C) if
            channels are dense.
    """
    tensor = maps.tensor
    layout = layout_of(tensor.shape[1], axes, tensor.stride(), grid.strides)
    library = library_of(tensor.dtype)
    function = library.gfb_pool_nchw if maps.nchw else library.gfb_pool_nhwc
    function(
        thread_pool(),
        layout,
        images[1] - images[0],
        maps.address(images[0]),
        grid.tensor.data_ptr(),
        None if sums is None else sums.data_ptr(),
        scale,
    )


def expand(grid: Grid, axes: Axes, maps: Maps, images: Tuple[int, int]) -> None:
    """Write each cell of ``grid`` to all pixels of its patch, in images [first, last) of ``maps``.

    Pixels in no patch are left as they are. Maps that the last cache cannot hold are written past
    the caches.

    Args:
        grid: (>= last - first, C, P_h, P_w), with dense channels if the maps have them.
        axes: the patches, of rows and of columns.
        maps: written; (N, C, H, W).
        images: first and last.
    """
    tensor = maps.tensor
    layout = layout_of(tensor.shape[1], axes, tensor.stride(), grid.strides)
    library = library_of(tensor.dtype)
    function = library.gfb_expand_nchw if maps.nchw else library.gfb_expand_nhwc
    function(
        thread_pool(),
        layout,
        images[1] - images[0],
        grid.tensor.data_ptr(),
        maps.address(images[0]),
        exceeds_last_cache(_bytes(tensor)),
    )


def sum_windows(weight: torch.Tensor) -> torch.Tensor:
    """Return w~ (C_o, C_i / groups, 1, 1), the sum of each window of w (C_o, C_i / groups, ...)."""
    taps = weight.shape[2] * weight.shape[3]
    if taps == 1 or not weight.is_contiguous():
        return weight.sum((2, 3), keepdim=True)
    sums = torch.empty(
        (weight.shape[0], weight.shape[1], 1, 1), dtype=weight.dtype, device=weight.device
    )
    library = library_of(weight.dtype)
    library.gfb_sum_windows(thread_pool(), weight.data_ptr(), sums.numel(), taps, sums.data_ptr())
    return sums


def repeat_taps(values: torch.Tensor, shape: Tuple[int, int, int, int]) -> torch.Tensor:
    """Return g_w of ``shape`` from one value per window, a dense (C_o, C_i / groups)."""
    taps = shape[2] * shape[3]
    if taps == 1:
        return values.view(shape)
    grad_w = torch.empty(shape, dtype=values.dtype, device=values.device)
    streaming = exceeds_last_cache(_bytes(grad_w))
    library_of(values.dtype).gfb_repeat_windows(
        thread_pool(), values.data_ptr(), values.numel(), taps, grad_w.data_ptr(), streaming
    )
    return grad_w


# the forward: x~ and w~, packed --------------------------------------------------------------


def save(
    maps: Maps, axes: Axes, weight: torch.Tensor, groups: int, need_x: bool, need_w: bool
) -> Tuple[Optional[torch.Tensor], Optional[torch.Tensor]]:
    """Return (x~, w~), packed for ``gfb_filtered``.

    Args:
        maps: x (N, C_i, H, W).
        axes: the patches of x.
        weight: w (C_o, C_i / groups, k_h, k_w), dense in the layout of x.
        groups: of the convolution.
        need_x: whether w~ is needed, for g_x.
        need_w: whether x~ is needed, for g_w.

    Returns:
        x~ in panels, in one dimension (see ``unpack_x_sums``), and w~ in tiles (groups x tiles,
        C_o / groups, channels of a tile), zeros after a group's last channel; None for what is not
        needed. ``weight_tile_channels`` is the number of channels of a tile.
    """
    tensor, x_sum, w_sum = maps.tensor, None, None
    desc, x_sum_elements, w_sum_shape = _save_desc(
        tensor.shape,
        tensor.stride(),
        axes,
        weight.shape,
        groups,
        not maps.nchw,
        weight_tile_channels(tensor.dtype, maps.nchw),
    )
    if need_w:
        x_sum = tensor.new_empty(x_sum_elements)
    if need_x:
        w_sum = tensor.new_empty(w_sum_shape)
    library_of(tensor.dtype).gfb_save(
        thread_pool(),
        desc,
        tensor.data_ptr(),
        None if x_sum is None else x_sum.data_ptr(),
        None if w_sum is None else weight.data_ptr(),
        None if w_sum is None else w_sum.data_ptr(),
    )
    return x_sum, w_sum


def weight_tile_channels(dtype: torch.dtype, nchw: bool) -> int:
    """Return how many input channels a tile of w~ has, which depends on the maps' layout."""
    return int(library_of(dtype).gfb_weight_tile_channels(not nchw))


@functools.lru_cache(maxsize=4096)
def _save_desc(
    x_shape: Tuple[int, ...],
    x_strides: Strides,
    axes: Axes,
    weight_shape: Tuple[int, ...],
    groups: int,
    nhwc: bool,
    tile_channels: int,
) -> Tuple[SaveDesc, int, Tuple[int, ...]]:
    """Return the description for C, the number of elements of x~ and the shape of packed w~."""
    images, channels = x_shape[:2]
    outputs, inputs, height, width = weight_shape
    maps = layout_of(channels, axes, x_strides, (0, 0, 0))
    return (
        SaveDesc(maps, images, groups, outputs, height * width, nhwc),
        images * channels * axes[0].number * axes[1].number,
        (groups * -(-inputs // tile_channels), outputs // groups, tile_channels),
    )


def unpack_x_sums(
    packed: torch.Tensor, shape: Tuple[int, int, int, int], groups: int
) -> torch.Tensor:
    """Return x~ of ``shape`` (N, C_i, P_h, P_w), channels dense, from its packed panels.

    A panel is (N P_h P_w, channels): ``gfb_panel_channels`` channels of a group, or what is left.
    """
    images, channels, rows, columns = shape
    per_group, cells = channels // groups, images * rows * columns
    panel_channels = library_of(packed.dtype).gfb_panel_channels()
    sizes = []
    for _ in range(groups):
        for first in range(0, per_group, panel_channels):
            sizes.append(cells * min(panel_channels, per_group - first))
    panels = packed.split(sizes)  # type: ignore[no-untyped-call]
    dense = torch.cat([panel.view(cells, -1) for panel in panels], 1)
    return dense.view(images, rows, columns, channels).permute(0, 3, 1, 2)


def unpack_w_sums(
    packed: torch.Tensor, shape: Tuple[int, int, int, int], groups: int
) -> torch.Tensor:
    """Return w~ of ``shape`` (C_o, C_i / groups, 1, 1) from its packed tiles."""
    by_group = packed.view(groups, -1, *packed.shape[1:])  # (groups, tiles, C_o / groups, channels)
    dense = by_group.transpose(1, 2).reshape(shape[0], -1)  # (C_o, tiles x channels)
    return dense[:, : shape[1]].reshape(shape)


# the backward in one call --------------------------------------------------------------------


class Schedule(NamedTuple):
    """Which function does a backward, and how its patch rows are shared among the threads.

    ``accumulators`` threads work alone on chunks of ``chunk_rows``, each with a g_w of its own, or
    all threads work together if it is 0. Patch rows are counted through all images.
    """

    function: str  # of the source: "gfb_filtered" or "gfb_depthwise"
    nchw: bool  # columns of g and g_x are dense; otherwise channels are
    chunk_rows: int = 1
    accumulators: int = 0


class Call(NamedTuple):
    """A backward in C but for its tensors: what stays the same from one to the next."""

    function: Callable[..., None]
    thread_pool: ThreadPool
    desc: BackwardDesc
    workspace_bytes: int


def prepare(
    schedule: Schedule,
    x_shape: Tuple[int, ...],
    weight_shape: Tuple[int, ...],
    axes: Tuple[Axes, Axes],
    grad_strides: Strides,
    dtype: torch.dtype,
    groups: int,
    scale: float,
    wanted: Tuple[bool, bool, bool],
    threads: int,
) -> Call:
    """Return the call for ``backward`` of a layer whose windows are summed.

    Args:
        schedule: which function, and how its work is shared.
        x_shape: of x (N, C_i, H, W).
        weight_shape: of w (C_o, C_i / groups, k_h, k_w).
        axes: the patches of y and of x.
        grad_strides: of g (N, C_o, H_y, W_y), whose columns or channels are dense.
        dtype: of all tensors.
        groups: of the convolution.
        scale: 1 / s^2.
        wanted: whether g_x, g_w and g_b are.
        threads: how many to use.
    """
    library, element_size = library_of(dtype), torch.finfo(dtype).bits // 8
    grid_shape = (x_shape[1], axes[1][0].number, axes[1][1].number)
    x_strides = _dense_strides(x_shape[1:], schedule.nchw)
    image, channel, _, cell = _dense_strides(grid_shape, schedule.nchw)
    desc = BackwardDesc(
        layout_of(weight_shape[0], axes[0], grad_strides, (0, 0, 0)),
        layout_of(x_shape[1], axes[1], x_strides, (image, channel, cell)),
        x_shape[0],
        groups,
        weight_shape[2] * weight_shape[3],
        schedule.accumulators,
        schedule.chunk_rows,
        scale,
        exceeds_last_cache(x_shape[0] * x_strides[0] * element_size),
        not schedule.nchw,
    )
    desc.workspace = getattr(library, schedule.function + "_workspace")(desc, *wanted)
    function = getattr(library, schedule.function)
    return Call(function, thread_pool_of(threads), desc, desc.workspace * element_size)


def backward(
    call: Call,
    grad: torch.Tensor,
    x_sum: Optional[torch.Tensor],
    w_sum: Optional[torch.Tensor],
    grad_x: Optional[torch.Tensor],
    grad_w: Optional[torch.Tensor],
    grad_bias: Optional[torch.Tensor],
) -> None:
    """Do the whole backward of a layer whose windows are summed.

    Args:
        call: prepared for tensors of these shapes and layouts.
        grad: g (N, C_o, H_y, W_y).
        x_sum: x~, needed for ``grad_w``: packed for ``gfb_filtered``, else (N, C_i, P_h, P_w),
            dense in the layout of g.
        w_sum: w~, needed for ``grad_x``: packed for ``gfb_filtered``, else dense.
        grad_x: written; (N, C_i, H, W), dense in the layout of g. None if not wanted, as the next.
        grad_w: written; (C_o, C_i / groups, k_h, k_w), dense in the layout of g.
        grad_bias: written; (C_o).
    """
    workspace = _workspace(call.workspace_bytes)  # a name keeps it alive until the call returns
    call.function(
        call.thread_pool,
        call.desc,
        grad.data_ptr(),
        None if x_sum is None else x_sum.data_ptr(),
        None if w_sum is None else w_sum.data_ptr(),
        None if grad_x is None else grad_x.data_ptr(),
        None if grad_w is None else grad_w.data_ptr(),
        None if grad_bias is None else grad_bias.data_ptr(),
        workspace.data_ptr(),
    )


def _dense_strides(shape: Tuple[int, ...], nchw: bool) -> Tuple[int, int, int, int]:
    """Return the strides (image, channel, row, column) of dense maps with images (C, H, W)."""
    channels, height, width = shape
    if nchw:
        return channels * height * width, height * width, width, 1
    return channels * height * width, 1, channels * width, channels


def _workspace(size: int) -> torch.Tensor:
    """Return at least ``size`` bytes; a small workspace is kept, one for each Python thread.

    A fresh one would lie at another address every time and shift the gradients that are allocated
    around it, and what shifts is no longer in the caches: up to a seventh of a small layer's time.
    """
    if size > KEPT_WORKSPACE_BYTES:
        return torch.empty(size, dtype=torch.uint8)
    kept: Optional[torch.Tensor] = getattr(_kept, "workspace", None)
    if kept is None or kept.numel() < size:
        kept = _kept.workspace = torch.empty(size, dtype=torch.uint8)
    return kept


def exceeds_last_cache(size: int) -> bool:
    """Return whether the last cache cannot hold so many bytes: they are written past it then."""
    return size > last_cache_bytes()


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@functools.lru_cache(maxsize=None)
def last_cache_bytes() -> int:
    """Return the size of the processor's last cache, or a usual one if the system does not say."""
    folder = "/sys/devices/system/cpu/cpu0/cache"
    largest = 0
    try:
        for name in os.listdir(folder):
            if name.startswith("index"):
                with open(os.path.join(folder, name, "size")) as file:
                    largest = max(largest, int(file.read().strip().rstrip("K")) * 1024)
    except (OSError, ValueError):
        pass
    return largest or _UNKNOWN_CACHE_BYTES


_kept = threading.local()
