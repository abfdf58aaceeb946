"""Sums over patches and their adjoint, spreading: the two primitives of the torch kernel.

On a CPU both go through the positions within a patch, one axis after the other (``Patches.lanes``):
strided additions and copies, vectorised and parallel, are 5 to 10 times faster there than
avg_pool2d. On other devices, where a launch takes longer than a pass over the data, they are one
pooling and one copy. Maps are padded or cropped only if patches make it necessary.
"""

from typing import Tuple

import torch
import torch.nn.functional as F

from workloads.spec.geometry import Patches

Axes = Tuple[Patches, Patches]


def sum_patches(maps: torch.Tensor, axes: Axes) -> torch.Tensor:
    """Return the sums of maps (N, C, H, W) over the patches: (N, C, count_h, count_w)."""
    if maps.device.type != "cpu":
        return pool_patches(maps, axes)
    return _sum_axis(_sum_axis(maps, 2, axes[0]), 3, axes[1])


def average_(sums: torch.Tensor, axes: Axes, scale: float = 1.0) -> torch.Tensor:
    """Turn sums over patches into ``scale`` times the means over their pixels, in place.

    Args:
        sums: (N, C, P_h, P_w).
        axes: the patches, of rows and of columns; some at the edges may be cut off.
        scale: of the means.
    """
    sums.mul_(scale / (axes[0].length * axes[1].length))
    for dim, patches in zip((2, 3), axes):
        for i, (first, last) in enumerate(patches.ranges()):
            if 0 < last - first < patches.length:  # a patch that is cut off
                sums.select(dim, i).mul_(float(patches.length) / (last - first))
    return sums


def spread_patches(
    values: torch.Tensor,
    axes: Axes,
    size: Tuple[int, int],
    memory_format: torch.memory_format = torch.contiguous_format,
) -> torch.Tensor:
    """Return maps (N, C, H, W) with each patch's value on all its pixels, and 0 elsewhere.

    Args:
        values: (N, C, P_h, P_w).
        axes: the patches, of rows and of columns.
        size: (H, W).
        memory_format: of the maps.
    """
    if values.device.type != "cpu":
        return expand_patches(values, axes, size, memory_format)
    columns = _spread_axis(values, 3, axes[1], size[1], memory_format)  # (N, C, count_h, W)
    return _spread_axis(columns, 2, axes[0], size[0], memory_format)  # (N, C, H, W)


def pool_patches(maps: torch.Tensor, axes: Axes) -> torch.Tensor:
    """Return the same sums as sum_patches, by one avg_pool2d."""
    for dim, patches in zip((2, 3), axes):
        first = max(0, patches.start)
        maps = maps.narrow(dim, first, patches.stop - first)
    margins = [*_margins(axes[1]), *_margins(axes[0])]
    if any(margins):
        maps = F.pad(maps, margins)
    window = (axes[0].length, axes[1].length)
    return F.avg_pool2d(maps, window, ceil_mode=True, divisor_override=1)


def expand_patches(
    values: torch.Tensor,
    axes: Axes,
    size: Tuple[int, int],
    memory_format: torch.memory_format = torch.contiguous_format,
) -> torch.Tensor:
    """Return the same maps as spread_patches, by one expanded copy."""
    n, c, rows, columns = values.shape
    height, width = axes[0].length, axes[1].length
    maps = values[:, :, :, None, :, None].expand(n, c, rows, height, columns, width)
    maps = maps.reshape(n, c, rows * height, columns * width)
    margins = []
    for dim, patches, full in zip((3, 2), reversed(axes), reversed(size)):
        first = max(0, patches.start)
        maps = maps.narrow(dim, first - patches.start, patches.stop - first)
        margins += [first, full - patches.stop]
    if any(margins):
        maps = F.pad(maps, margins)
    return maps.contiguous(memory_format=memory_format)


def _sum_axis(maps: torch.Tensor, dim: int, patches: Patches) -> torch.Tensor:
    """Return the sums over the patches along one dimension, whose size becomes their number."""
    lanes = [(indices, _slice(maps, dim, positions)) for indices, positions in patches.lanes()]
    if len(lanes) > 1 and all(lane.shape[dim] == patches.number for _, lane in lanes[:2]):
        sums = lanes[0][1] + lanes[1][1]  # saves the pass that writes zeros
        lanes = lanes[2:]
    else:
        shape = list(maps.shape)
        shape[dim] = patches.number
        sums = maps.new_zeros(shape)
    for indices, lane in lanes:
        _slice(sums, dim, indices).add_(lane)
    return sums


def _spread_axis(
    values: torch.Tensor, dim: int, patches: Patches, size: int, memory_format: torch.memory_format
) -> torch.Tensor:
    """Return maps with each patch's value on all its positions along one dimension, 0 elsewhere."""
    shape = list(values.shape)
    shape[dim] = size
    maps = torch.empty(shape, dtype=values.dtype, device=values.device, memory_format=memory_format)
    if not patches.covers(size):
        maps.zero_()
    for indices, positions in patches.lanes():
        _slice(maps, dim, positions).copy_(_slice(values, dim, indices))
    return maps


def _slice(tensor: torch.Tensor, dim: int, positions: slice) -> torch.Tensor:
    """Return the view tensor[..., positions, ...] with the slice at ``dim``."""
    return tensor[(slice(None),) * dim + (positions,)]


def _margins(patches: Patches) -> Tuple[int, int]:
    """Return the zeros before and after [max(0, start), stop) so that all patches are whole."""
    before = max(0, -patches.start)
    padded = before + patches.stop - max(0, patches.start)
    if -(-padded // patches.length) == patches.number:
        return before, 0  # ceil_mode pools a last patch that is cut off as it is
    return before, patches.number * patches.length - padded
