# ruff: noqa: UP006, UP035, B905  (Python 3.6 has no list[int] and no zip(strict=))
"""The slow truth: filtered gradients by loops over patches and taps, written from the formulas.

Nothing of the payload is imported and no pooling, convolution or reshaping of torch is used, so
that a mistake there cannot be a mistake here. Python 3.6 syntax: it also runs beside the payload
on old boards. All tensors are float64; every pair is (rows, columns).
"""

import itertools
from typing import Any, Dict, List, NamedTuple, Tuple

import torch

Pair = Tuple[int, int]
Ranges = List[Tuple[int, int]]


class Config(NamedTuple):
    """One convolution to differentiate, per axis where it matters."""

    x_shape: Tuple[int, ...]
    weight_shape: Tuple[int, ...]
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    patch_size: Pair


def conv_arguments(config: Config) -> Dict[str, Any]:
    """Return the keyword arguments of torch's conv2d."""
    return {name: getattr(config, name) for name in ("stride", "padding", "dilation", "groups")}


def filtered_gradients(
    x: torch.Tensor, w: torch.Tensor, g: torch.Tensor, config: Config
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (g_x, g_w, g_b) of ``gradient_filter``."""
    out_ranges: List[Ranges] = []
    in_ranges: List[Ranges] = []
    for axis in (0, 1):
        s, r = config.stride[axis], config.patch_size[axis]
        k, d = w.shape[2 + axis], config.dilation[axis]
        size, out = x.shape[2 + axis], g.shape[2 + axis]
        o = (d * (k - 1)) // 2 - config.padding[axis]
        starts = range(0, out, r)
        out_ranges.append([(i, min(i + r, out)) for i in starts])
        in_ranges.append([_crop(o + i * s, o + min(i + r, out) * s, size) for i in starts])
    kept = all(
        d > 1 and s == 1 and d % r == 0 and k % 2 == 1 and 2 * p == d * (k - 1)
        for d, s, r, k, p in zip(
            config.dilation, config.stride, config.patch_size, w.shape[2:], config.padding
        )
    )
    scale = 1.0 / (config.stride[0] * config.stride[1])
    steps = tuple(d // r for d, r in zip(config.dilation, config.patch_size)) if kept else None
    return _gradients(x, w, g, config.groups, out_ranges, in_ranges, scale, steps, steps)


def published_gradients(
    x: torch.Tensor, w: torch.Tensor, g: torch.Tensor, config: Config
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (g_x, g_w, g_b) of ``gradient_filter_published``."""
    out_ranges: List[Ranges] = []
    in_ranges: List[Ranges] = []
    for axis in (0, 1):
        s, r = config.stride[axis], config.patch_size[axis]
        size, out = x.shape[2 + axis], g.shape[2 + axis]
        number = -(-out // r)
        for ranges, length, full in ((out_ranges, r, out), (in_ranges, r * s, size)):
            shift = -(-(number * length - full) // 2)  # symmetric padding, rounded up
            ranges.append(
                [_crop(i * length - shift, (i + 1) * length - shift, full) for i in range(number)]
            )
    kept = all(d > 1 and d >= r for d, r in zip(config.dilation, config.patch_size))
    steps = tuple(d // r for d, r in zip(config.dilation, config.patch_size)) if kept else None
    return _gradients(x, w, g, config.groups, out_ranges, in_ranges, 1.0, steps, None)


def _gradients(
    x: torch.Tensor,
    w: torch.Tensor,
    g: torch.Tensor,
    groups: int,
    out_ranges: List[Ranges],
    in_ranges: List[Ranges],
    scale: float,
    x_steps: Any,
    w_steps: Any,
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients for patches that lie at the given rows and columns.

    ``x_steps`` and ``w_steps`` are the dilation of a kept window on the patch grid for g_x and
    g_w; None for the summed window.
    """
    grid = (len(out_ranges[0]), len(out_ranges[1]))
    g_mean = torch.zeros(g.shape[0], g.shape[1], *grid, dtype=g.dtype)
    x_sum = torch.zeros(x.shape[0], x.shape[1], *grid, dtype=x.dtype)
    for i, j in _cells(grid):
        g_mean[:, :, i, j] = _box(g, out_ranges, i, j).mean((2, 3)) * scale
        x_sum[:, :, i, j] = _box(x, in_ranges, i, j).sum((2, 3))
    g_x, g_w = torch.zeros_like(x), torch.zeros_like(w)
    taps = list(itertools.product(range(w.shape[2]), range(w.shape[3])))
    for (i, j), (u, v) in itertools.product(_cells(grid), taps):
        # Output patch (i, j) reads, through tap (u, v), the input patch (a, b).
        a, b = _reach(i, j, u, v, w, x_steps)
        if 0 <= a < grid[0] and 0 <= b < grid[1]:
            update = _grouped_transpose(w[:, :, u, v], g_mean[:, :, i, j], groups)
            _box(g_x, in_ranges, a, b).add_(update[:, :, None, None])
        a, b = _reach(i, j, u, v, w, w_steps)
        if 0 <= a < grid[0] and 0 <= b < grid[1]:
            g_w[:, :, u, v] += _grouped_outer(g_mean[:, :, i, j], x_sum[:, :, a, b], groups)
    return g_x, g_w, g.sum((0, 2, 3))


def _reach(i: int, j: int, u: int, v: int, w: torch.Tensor, steps: Any) -> Pair:
    if steps is None:
        return i, j
    return i + steps[0] * (u - w.shape[2] // 2), j + steps[1] * (v - w.shape[3] // 2)


def _grouped_transpose(tap: torch.Tensor, g: torch.Tensor, groups: int) -> torch.Tensor:
    """Return w^T g per group: tap (C_o, C_i / groups), g (N, C_o) -> (N, C_i)."""
    outs = tap.shape[0] // groups
    parts = [
        g[:, q * outs : (q + 1) * outs] @ tap[q * outs : (q + 1) * outs] for q in range(groups)
    ]
    return torch.cat(parts, dim=1)


def _grouped_outer(g: torch.Tensor, x: torch.Tensor, groups: int) -> torch.Tensor:
    """Return the sum over samples of g x^T per group: (C_o, C_i / groups)."""
    outs, ins = g.shape[1] // groups, x.shape[1] // groups
    parts = [
        g[:, q * outs : (q + 1) * outs].t() @ x[:, q * ins : (q + 1) * ins] for q in range(groups)
    ]
    return torch.cat(parts, dim=0)


def _cells(grid: Pair) -> List[Pair]:
    return list(itertools.product(range(grid[0]), range(grid[1])))


def _box(maps: torch.Tensor, ranges: List[Ranges], i: int, j: int) -> torch.Tensor:
    (top, bottom), (left, right) = ranges[0][i], ranges[1][j]
    return maps[:, :, top:bottom, left:right]


def _crop(first: int, last: int, size: int) -> Tuple[int, int]:
    return min(max(first, 0), size), min(max(last, 0), size)
