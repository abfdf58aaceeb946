"""What a fuzz of kernel native goes through: configurations drawn by a seed and a number."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import torch
from network_layers import NetworkLayer, distinct_layers, mobilenet_v2, resnet_18

from workloads.spec.geometry import Geometry, conv_geometry

Pair = tuple[int, int]
Shape = tuple[int, int, int, int]

LAYOUTS = ("nchw", "nhwc", "nchw within others", "nhwc within others", "transposed")
EDGES = (1, 2, 3, 5, 6, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65)
MOST_NUMBERS, MOST_NUMBERS_LARGE = 2 * 10**5, 2 * 10**7  # of x and of y each
MOST_PRODUCTS, MOST_PRODUCTS_LARGE = 4 * 10**7, 2 * 10**9
BATCHES, PATCH_SIZES = (1, 8, 16, 32), (2, 3, 4, 7)
MOST_SHORT = 4 * 10**6  # numbers of x or y
# x, w, patch sizes: stride 2, "same" padding, channels-last, two threads.
REPORTED: tuple[tuple[Shape, Shape, tuple[int, ...]], ...] = (
    ((16, 3, 224, 224), (32, 3, 3, 3), (2, 3)),
    ((32, 3, 224, 224), (32, 3, 3, 3), (2, 3)),
    ((16, 4, 224, 224), (32, 4, 3, 3), (2, 3)),
    ((32, 3, 160, 160), (32, 3, 3, 3), (2, 3)),
    ((20, 6, 192, 192), (24, 6, 5, 5), (2,)),
)
_KINDS = ("usual", "kept window", "long patch", "large window", "wide padding")
_WEIGHTS = (73, 12, 8, 3, 4)


class Configuration(NamedTuple):
    """One backward: the convolution, how its tensors lie, and how it is gone through."""

    x_shape: Shape
    weight_shape: Shape
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    patch_size: Pair
    dtype: str = "float32"
    x_layout: str = "nchw"
    grad_layout: str = "nchw"
    needs: tuple[bool, bool, bool] = (True, True, True)
    threads: int = 2
    chunk: float | None = None  # of the rows of patches; None: as the kernel chooses
    accumulators: int = 0
    streaming: bool = False
    keeps: bool = False  # the working memory from one backward to the next
    chunk_bytes: int = 8 * 2**20
    pooled: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type of all tensors."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    def geometry(self) -> Geometry:
        """Return the geometry; ValueError where there is no such convolution."""
        return conv_geometry(*self[:7])


def drawn(seed: int, number: int, *, large: bool) -> Configuration:
    """Return configuration ``number`` of a seed: always the same one."""
    rng = random.Random(f"{seed} {number} {large}")
    while True:
        found = _drawn(rng, large)
        if found is not None:
            return found


def network_configurations(seed: int) -> Iterator[Configuration]:
    """Yield all layers of networks, at every batch, patch size and layout, in an order drawn."""
    rng = random.Random(seed)
    wholes = [
        of_layer(layer, batch, patch_size, layout)._replace(threads=rng.choice((1, 2, 2, 4)))
        for layer in distinct_layers()
        for batch in BATCHES
        for patch_size in PATCH_SIZES
        for layout in LAYOUTS[:2]
    ]
    rng.shuffle(wholes)
    yield from wholes


def image_configurations() -> Iterator[Configuration]:
    """Yield every distinct convolution of two image networks at the batches that they train at."""
    for layers, batches in ((mobilenet_v2(), (16, 32)), (resnet_18(), (8, 32))):
        for layer in dict.fromkeys(layers):
            for batch in batches:
                for patch_size in PATCH_SIZES:
                    for layout in LAYOUTS[:2]:
                        yield of_layer(layer, batch, patch_size, layout)._replace(threads=2)


def short_configurations() -> Iterator[Configuration]:
    """Yield what once failed, and every layer of the networks once, at the largest batch."""
    for shape, weight, patch_sizes in REPORTED:
        for side in patch_sizes:
            padding = (weight[2] // 2, weight[3] // 2)
            lying = ("float32", "nhwc", "nhwc")
            yield Configuration(shape, weight, (2, 2), padding, (1, 1), 1, (side, side), *lying)
    for number, layer in enumerate(distinct_layers()):
        numbers = max(layer.in_channels, layer.out_channels) * layer.height * layer.width
        batch = max(batch for batch in BATCHES if batch == 1 or batch * numbers <= MOST_SHORT)
        patch_size = PATCH_SIZES[number % len(PATCH_SIZES)]
        yield of_layer(layer, batch, patch_size, LAYOUTS[number // len(PATCH_SIZES) % 2])


def of_layer(layer: NetworkLayer, batch: int, patch_size: int, layout: str) -> Configuration:
    """Return the backward of a network's layer in float32, as the kernel goes through it."""
    return Configuration(
        (batch, layer.in_channels, layer.height, layer.width),
        (layer.out_channels, layer.in_channels // layer.groups, layer.kernel, layer.kernel),
        (layer.stride, layer.stride),
        (layer.padding, layer.padding),
        (layer.dilation, layer.dilation),
        layer.groups,
        (patch_size, patch_size),
        x_layout=layout,
        grad_layout=layout,
    )


def _drawn(rng: random.Random, large: bool) -> Configuration | None:
    kernel, patch_size = _per_axis(rng, 1, 7), _per_axis(rng, 1, 8)
    stride, dilation = _per_axis(rng, 1, 3), rng.choice([(1, 1), _per_axis(rng, 1, 4)])
    most = rng.choice([6, 20, 40, 70]) * (4 if large else 1)
    extra = [rng.randint(0, most), rng.randint(0, most)]
    kind = rng.choices(_KINDS, _WEIGHTS)[0]
    if kind == "kept window":
        patch_size = _per_axis(rng, 1, 3)
        dilation = _pair(*(r * rng.randint(2 if r == 1 else 1, 3) for r in patch_size))
        kernel, stride = _pair(rng.choice([1, 3, 5]), rng.choice([1, 3, 5])), (1, 1)
    elif kind == "long patch":
        axis = rng.randrange(2)
        extra[axis], extra[1 - axis] = rng.randint(2000, 5000), rng.randint(0, 6)
        stride, dilation = (1, 1), (1, 1)
        long = [rng.choice([2, 100, 257, 2048, 2049, 2100, 2500]), rng.randint(1, 3)]
        patch_size = _pair(*(long if axis == 0 else long[::-1]))
    elif kind == "large window":
        kernel = _pair(rng.choice([1, 33, 46, 47]), rng.choice([33, 45, 46, 47]))
        stride, dilation = (1, 1), (1, 1)
        patch_size = _pair(rng.choice([4, 30, 40]), rng.choice([4, 30, 40]))
    elif kind == "wide padding":
        stride, patch_size = (1, 1), _per_axis(rng, 1, 2)
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    same = _pair(*(span // 2 for span in spans))
    padding = same
    if kind != "kept window":
        any_padding = _pair(*(rng.randint(0, span // 2 + 5) for span in spans))
        padding = rng.choice([same, same, (0, 0), any_padding])
    if kind == "wide padding":
        padding = (rng.randint(0, 3), rng.randint(250, 700))
    least = [max(1, span + 1 - 2 * p) for span, p in zip(spans, padding, strict=True)]
    groups, ins, outs = _channels(rng, large)
    images = rng.choice([1, 1, 2, 3, 5, 8]) * (rng.choice([1, 2, 4]) if large else 1)
    layout = rng.choice(LAYOUTS)
    found = Configuration(
        (images, groups * ins, least[0] + extra[0], least[1] + extra[1]),
        (groups * outs, ins, *kernel),
        stride,
        padding,
        dilation,
        groups,
        patch_size,
        dtype=rng.choice(["float32", "float64"]),
        x_layout=layout,
        grad_layout=layout if rng.random() < 0.7 else rng.choice([*LAYOUTS, "expanded"]),
        needs=_needs(rng),
        threads=rng.randint(1, 4),
        chunk=rng.choice([None, 0.0, rng.random(), rng.random() ** 4, 1.0]),
        accumulators=rng.choice([0, 1, 2, 3, 4, 4, 5, 17]),
        streaming=rng.random() < 0.4,
        keeps=rng.random() < 0.5,
        chunk_bytes=rng.choice([1, 2000, 100000, 8 * 2**20]),
        pooled=rng.random() < 0.1,
    )
    return found if _is_small_enough(found, large) else None


def _channels(rng: random.Random, large: bool) -> tuple[int, int, int]:
    """Return groups, and the channels of x and of y in each."""
    kind = rng.choice(["dense", "dense", "groups", "depthwise", "depthwise times"])
    if kind == "dense":
        times = rng.choice([1, 1, 2, 5]) if large else 1
        return 1, rng.choice(EDGES) * times, rng.choice(EDGES) * times
    if kind == "groups":
        return rng.randint(2, 5), rng.choice(EDGES[:15]), rng.choice(EDGES[:15])
    if kind == "depthwise":
        return rng.choice([*EDGES, 130]) * (rng.choice([1, 4]) if large else 1), 1, 1
    return rng.choice(EDGES[:13]), 1, rng.randint(2, 17)


def _needs(rng: random.Random) -> tuple[bool, bool, bool]:
    if rng.random() < 0.7:
        return True, True, True
    return rng.random() < 0.5, rng.random() < 0.5, rng.random() < 0.5


def _is_small_enough(found: Configuration, large: bool) -> bool:
    geometry = found.geometry()
    images, channels, height, width = found.x_shape
    outputs, inputs, *kernel = found.weight_shape
    of_x = images * channels * height * width
    of_y = images * outputs * geometry.output_size[0] * geometry.output_size[1]
    of_w = outputs * inputs * kernel[0] * kernel[1]
    cells = images * geometry.grid[0] * geometry.grid[1]
    products = cells * outputs * inputs * (kernel[0] * kernel[1] if geometry.keeps_window else 1)
    numbers = MOST_NUMBERS_LARGE if large else MOST_NUMBERS
    most_products = MOST_PRODUCTS_LARGE if large else MOST_PRODUCTS
    return max(of_x, of_y, of_w) <= numbers and products <= most_products


def _per_axis(rng: random.Random, least: int, most: int) -> Pair:
    """Return the same number on both axes, or now and then two."""
    rows = rng.randint(least, most)
    return (rows, rows) if rng.random() < 0.6 else (rows, rng.randint(least, most))


def _pair(*sides: int) -> Pair:
    rows, columns = sides
    return rows, columns
