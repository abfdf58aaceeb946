# ruff: noqa: UP006, UP035, B905  (Python 3.6 has no list[int] and no zip(strict=))
"""Seeded random convolutions for the numerics tests (Python 3.6 syntax)."""

import random
from typing import Iterator, Tuple

from oracle import Config, Pair


def random_configurations(number: int, seed: int) -> Iterator[Config]:
    """Yield convolutions over the whole range of arguments that gfbench supports."""
    rng = random.Random(seed)
    for _ in range(number):
        kernel = _per_axis(rng, 1, 7)
        stride, dilation = _per_axis(rng, 1, 3), _per_axis(rng, 1, 4)
        patch_size = _per_axis(rng, 1, 8)
        spans = [d * (k - 1) for d, k in zip(dilation, kernel)]
        padding = rng.choice(
            [
                (spans[0] // 2, spans[1] // 2),  # "same" where the kernel is odd
                (0, 0),
                (rng.randint(0, spans[0] // 2 + 5), rng.randint(0, spans[1] // 2 + 5)),
            ]
        )
        least = [max(1, span + 1 - 2 * p) for span, p in zip(spans, padding)]
        size = (least[0] + rng.randint(0, 12), least[1] + rng.randint(0, 12))
        yield _config(rng, size, kernel, stride, padding, dilation, patch_size)


def kept_window_configurations(number: int, seed: int) -> Iterator[Config]:
    """Yield convolutions whose dilated window is kept, r = 1 among them."""
    rng = random.Random(seed)
    for _ in range(number):
        patch_size = _per_axis(rng, 1, 3)
        dilation = tuple(r * rng.randint(2 if r == 1 else 1, 3) for r in patch_size)
        kernel = tuple(rng.choice([1, 3, 5]) for _ in range(2))
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel))
        size = (rng.randint(3, 15), rng.randint(3, 15))
        yield _config(rng, size, kernel, (1, 1), padding, dilation, patch_size)


def published_configurations(number: int, seed: int) -> Iterator[Config]:
    """Yield convolutions that the published operator can do, dilated ones among them."""
    rng = random.Random(seed)
    for _ in range(number):
        kernel = tuple(rng.choice([1, 3, 5]) for _ in range(2))
        dilation, stride = _per_axis(rng, 1, 4), _per_axis(rng, 1, 3)
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel))
        size = (rng.randint(1, 15), rng.randint(1, 15))
        config = _config(rng, size, kernel, stride, padding, dilation, _per_axis(rng, 1, 5))
        channels = rng.randint(1, 5)
        if rng.random() < 0.4:
            yield config._replace(
                groups=channels,
                x_shape=(config.x_shape[0], channels, *config.x_shape[2:]),
                weight_shape=(channels, 1, *config.weight_shape[2:]),
            )
        else:
            yield config._replace(
                groups=1,
                weight_shape=(channels, config.x_shape[1], *config.weight_shape[2:]),
            )


def _config(
    rng: random.Random,
    size: Tuple[int, ...],
    kernel: Tuple[int, ...],
    stride: Tuple[int, ...],
    padding: Tuple[int, ...],
    dilation: Tuple[int, ...],
    patch_size: Tuple[int, ...],
) -> Config:
    groups = rng.choice([1, 1, 2, 3])
    ins, outs = rng.choice([(1, 1), (1, 2), (2, 3), (3, 1)])  # per group; 1 in is depthwise
    return Config(
        x_shape=(rng.randint(1, 3), groups * ins, *size),
        weight_shape=(groups * outs, ins, *kernel),
        stride=_two(stride),
        padding=_two(padding),
        dilation=_two(dilation),
        groups=groups,
        patch_size=_two(patch_size),
    )


def _per_axis(rng: random.Random, least: int, most: int) -> Pair:
    """Return the same number on both axes, or now and then two."""
    rows = rng.randint(least, most)
    return (rows, rows) if rng.random() < 0.6 else (rows, rng.randint(least, most))


def _two(pair: Tuple[int, ...]) -> Pair:
    rows, columns = pair
    return rows, columns
