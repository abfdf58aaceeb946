"""The compiled passes of gradient_filter.c, called on tensors through ctypes.

A pass reads maps and writes a grid of patches, or the other way round. Strides travel with the
call, so that any layout whose columns or whose channels are dense is walked in place. ctypes
lets go of the interpreter's lock while a pass runs; its loops run in torch's own OpenMP threads.
"""

import functools
import os
import threading
from typing import Callable, NamedTuple, Optional, Tuple

import torch

from workloads.kernels.native.library import Axes, Filter, Saving, Strides, layout_of, library_of
from workloads.kernels.native.threads import Team, team, team_of

MOST_DEPTHWISE = 16  # outputs per input, LANES in the source
KEPT_BYTES = 16 * 2**20  # of working memory, from one backward to the next
_NO_CACHE_BYTES = 32 * 2**20  # taken where the processor's last cache is not known


class Maps(NamedTuple):
    """Maps (N, C, H, W) that a pass can walk in place: ``planes`` (NCHW) or pixels (NHWC)."""

    tensor: torch.Tensor
    planes: bool

    def address(self, image: int) -> int:
        """Return where an image's data begin."""
        tensor = self.tensor
        return int(tensor.data_ptr()) + image * tensor.stride(0) * tensor.element_size()


class Grid(NamedTuple):
    """Patches (N, C, P_h, P_w) of maps, laid out as these: strides of image, channel and cell."""

    tensor: torch.Tensor
    strides: Tuple[int, int, int]


def walkable(tensor: torch.Tensor) -> Maps:
    """Return maps as they lie where a pass can walk them, else a contiguous copy."""
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
    """Sum patches of images [first, last) into the first cells of ``grid``.

    Args:
        maps: what is pooled.
        axes: the patches.
        grid: written; its layout (planes or pixels) is that of ``maps``.
        images: first and last.
        scale: if not 0, write ``scale`` times the means instead.
        sums: written with the sums of the channels: (images, C) or (images, P_h, C), as maps are.
    """
    tensor = maps.tensor
    layout = layout_of(tensor.shape[1], axes, tensor.stride(), grid.strides)
    library = library_of(tensor.dtype)
    function = library.pool_planes if maps.planes else library.pool_pixels
    function(
        team(),
        layout,
        images[1] - images[0],
        maps.address(images[0]),
        grid.tensor.data_ptr(),
        None if sums is None else sums.data_ptr(),
        scale,
    )


def expand(grid: Grid, axes: Axes, maps: Maps, images: Tuple[int, int]) -> None:
    """Write the values of ``grid`` on all pixels of their patches, in images [first, last).

    Maps that no cache will hold are written past the caches.
    """
    tensor = maps.tensor
    layout = layout_of(tensor.shape[1], axes, tensor.stride(), grid.strides)
    library = library_of(tensor.dtype)
    function = library.expand_planes if maps.planes else library.expand_pixels
    function(
        team(),
        layout,
        images[1] - images[0],
        grid.tensor.data_ptr(),
        maps.address(images[0]),
        streams(_bytes(tensor)),
    )


def sum_windows(weight: torch.Tensor) -> torch.Tensor:
    """Return w~ (C_o, C_i / groups, 1, 1): the sum of each window."""
    taps = weight.shape[2] * weight.shape[3]
    if taps == 1 or not weight.is_contiguous():
        return weight.sum((2, 3), keepdim=True)
    sums = torch.empty(
        (weight.shape[0], weight.shape[1], 1, 1), dtype=weight.dtype, device=weight.device
    )
    library_of(weight.dtype).sum_runs(
        team(), weight.data_ptr(), sums.numel(), taps, sums.data_ptr()
    )
    return sums


def save(
    maps: Maps, axes: Axes, weight: torch.Tensor, groups: int, need_x: bool, need_w: bool
) -> Tuple[Optional[torch.Tensor], Optional[torch.Tensor]]:
    """Return (x~, w~) as a backward of ``filtered`` reads them, both in one go.

    Args:
        maps: x.
        axes: the patches of x.
        weight: w (C_o, C_i / groups, k_h, k_w), dense in the layout of x.
        groups: of the convolution.
        need_x: whether w~ is needed, for g_x.
        need_w: whether x~ is needed, for g_w.

    Returns:
        x~ in panels, in one dimension (see ``unpanelled``), and w~ in tiles (tiles of C_i / groups
        in all groups, C_o / groups, channels of a tile), zeros after a group's last channel; None
        for what is not needed. Tiles are those of ``tile_channels``.
    """
    tensor, sums, tiles = maps.tensor, None, None
    what, cells, shape = _saving(
        tensor.shape,
        tensor.stride(),
        axes,
        weight.shape,
        groups,
        not maps.planes,
        tile_channels(tensor.dtype, maps.planes),
    )
    if need_w:
        sums = tensor.new_empty(cells)
    if need_x:
        tiles = tensor.new_empty(shape)
    library_of(tensor.dtype).save(
        team(),
        what,
        tensor.data_ptr(),
        None if sums is None else sums.data_ptr(),
        None if tiles is None else weight.data_ptr(),
        None if tiles is None else tiles.data_ptr(),
    )
    return sums, tiles


def tile_channels(dtype: torch.dtype, planes: bool) -> int:
    """Return how many channels of x a tile of w~ has: more where channels are dense."""
    return int(library_of(dtype).tile_channels(not planes))


@functools.lru_cache(maxsize=4096)
def _saving(
    x_shape: Tuple[int, ...],
    x_strides: Strides,
    axes: Axes,
    weight_shape: Tuple[int, ...],
    groups: int,
    pixels: bool,
    side: int,
) -> Tuple[Saving, int, Tuple[int, ...]]:
    """Return what C is told, the numbers of x~ and the shape of w~ in tiles."""
    images, channels = x_shape[:2]
    outputs, inputs, height, width = weight_shape
    maps = layout_of(channels, axes, x_strides, (0, 0, 0))
    return (
        Saving(maps, images, groups, outputs, height * width, pixels),
        images * channels * axes[0].number * axes[1].number,
        (groups * -(-inputs // side), outputs // groups, side),
    )


def unpanelled(sums: torch.Tensor, shape: Tuple[int, int, int, int], groups: int) -> torch.Tensor:
    """Return x~ of ``shape`` (N, C_i, P_h, P_w), channels side by side, from its panels.

    A panel has some channels of a group, as many as ``panel_channels`` of the source or what is
    left of them: (cells of all images, channels).
    """
    images, channels, rows, columns = shape
    side, cells = library_of(sums.dtype).panel_channels(), images * rows * columns
    widths = [min(side, channels // groups - c) for c in range(0, channels // groups, side)]
    sizes = [cells * width for width in widths * groups]
    panels = sums.split(sizes)  # type: ignore[no-untyped-call]
    plain = torch.cat([panel.view(cells, -1) for panel in panels], 1)
    return plain.view(images, rows, columns, channels).permute(0, 3, 1, 2)


def untiled(tiles: torch.Tensor, shape: Tuple[int, int, int, int], groups: int) -> torch.Tensor:
    """Return w~ (C_o, C_i / groups, 1, 1) from its tiles."""
    by_group = tiles.view(groups, -1, *tiles.shape[1:])
    plain = by_group.transpose(1, 2).reshape(shape[0], -1)
    return plain[:, : shape[1]].reshape(shape)


def repeat_taps(values: torch.Tensor, shape: Tuple[int, int, int, int]) -> torch.Tensor:
    """Return g_w of ``shape`` from one value per window, a dense (C_o, C_i / groups)."""
    taps = shape[2] * shape[3]
    if taps == 1:
        return values.view(shape)
    grad_w = torch.empty(shape, dtype=values.dtype, device=values.device)
    streaming = streams(_bytes(grad_w))
    library_of(values.dtype).repeat_runs(
        team(), values.data_ptr(), values.numel(), taps, grad_w.data_ptr(), streaming
    )
    return grad_w


class Way(NamedTuple):
    """How a whole backward goes."""

    function: str  # of the source: "filtered" or "depthwise"
    planes: bool  # of g and g_x, else pixels
    chunk: int = 1  # rows of patches that are done at a time, counted through all images
    slots: int = 0  # threads that do chunks of their own; 0 where all do all rows together


class Call(NamedTuple):
    """A whole backward in C, but for the tensors: what stays from one to the next."""

    function: Callable[..., None]
    team: Team
    what: Filter
    work: int  # bytes of working memory


def prepared(
    way: Way,
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
    """Return what ``backward`` takes: the backward of a layer whose windows are summed.

    Args:
        way: how.
        x_shape: of x (N, C_i, H, W).
        weight_shape: of w (C_o, C_i / groups, k_h, k_w).
        axes: the patches of y and of x.
        grad_strides: of dL/dy, whose columns are dense; if pixels, its channels.
        dtype: of all tensors.
        groups: of the convolution.
        scale: 1 / s^2.
        wanted: g_x, g_w, g_b.
        threads: that may be used.
    """
    library, size = library_of(dtype), torch.finfo(dtype).bits // 8
    x_strides = _dense(x_shape[1:], way.planes)
    grid = _dense((x_shape[1], axes[1][0].number, axes[1][1].number), way.planes)
    what = Filter(
        layout_of(weight_shape[0], axes[0], grad_strides, (0, 0, 0)),
        layout_of(x_shape[1], axes[1], x_strides, (grid[0], grid[1], grid[3])),
        x_shape[0],
        groups,
        weight_shape[2] * weight_shape[3],
        way.slots,
        way.chunk,
        scale,
        streams(x_shape[0] * x_strides[0] * size),
        not way.planes,
    )
    what.work = getattr(library, way.function + "_work")(what, *wanted)
    return Call(getattr(library, way.function), team_of(threads), what, what.work * size)


def backward(
    call: Call,
    grad: torch.Tensor,
    x_sum: Optional[torch.Tensor],
    window: Optional[torch.Tensor],
    grad_x: Optional[torch.Tensor],
    grad_w: Optional[torch.Tensor],
    grad_bias: Optional[torch.Tensor],
) -> None:
    """Do the whole backward of a layer whose windows are summed.

    Args:
        call: made ready for just these tensors.
        grad: dL/dy.
        x_sum: x~ with ``grad_w``, None without: in panels for ``filtered``, else dense.
        window: w~ with ``grad_x``, None without: in tiles for ``filtered``, else dense.
        grad_x: written, dense; None where not wanted, as the next two.
        grad_w: written, dense, its layout that of g_x.
        grad_bias: written.
    """
    work = _working_memory(call.work)  # named: it has to live until the call has returned
    call.function(
        call.team,
        call.what,
        grad.data_ptr(),
        None if x_sum is None else x_sum.data_ptr(),
        None if window is None else window.data_ptr(),
        None if grad_x is None else grad_x.data_ptr(),
        None if grad_w is None else grad_w.data_ptr(),
        None if grad_bias is None else grad_bias.data_ptr(),
        work.data_ptr(),
    )


def _dense(shape: Tuple[int, ...], planes: bool) -> Tuple[int, int, int, int]:
    """Return the strides of maps whose images are dense, of shape (C, H, W)."""
    channels, height, width = shape
    if planes:
        return channels * height * width, height * width, width, 1
    return channels * height * width, 1, channels * width, channels


def _working_memory(size: int) -> torch.Tensor:
    """Return so many bytes or more, the last call's again where they are few.

    Fresh ones lie now here, now there, between gradients that then move about too, and what moves
    leaves the caches: up to a seventh of a small layer's backward. Each thread has its own.
    """
    if size > KEPT_BYTES:
        return torch.empty(size, dtype=torch.uint8)
    kept: Optional[torch.Tensor] = getattr(_kept, "memory", None)
    if kept is None or kept.numel() < size:
        kept = _kept.memory = torch.empty(size, dtype=torch.uint8)
    return kept


def streams(size: int) -> bool:
    """Return whether so many bytes are too many for the last cache to keep what is written."""
    return size > last_cache_bytes()


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@functools.lru_cache(maxsize=None)
def last_cache_bytes() -> int:
    """Return the size of the processor's last cache, or a common one where it is not told."""
    folder = "/sys/devices/system/cpu/cpu0/cache"
    largest = 0
    try:
        for name in os.listdir(folder):
            if name.startswith("index"):
                with open(os.path.join(folder, name, "size")) as file:
                    largest = max(largest, int(file.read().strip().rstrip("K")) * 1024)
    except (OSError, ValueError):
        pass
    return largest or _NO_CACHE_BYTES


_kept = threading.local()
