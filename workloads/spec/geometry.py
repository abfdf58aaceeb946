"""Where the patches of a filtered convolution lie: shapes and ranges only, no torch.

Per axis, with map size H, kernel k, stride s, padding p, dilation d and patch size r:
output patch i covers [i r, min((i + 1) r, H_y)) of y, and input patch i covers
[o + i r s, o + min((i + 1) r, H_y) s) of x, cropped to x, with o = floor(d (k - 1) / 2) - p.
"""

import functools
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from workloads.spec.messages import Layer

Pair = Tuple[int, int]


class Patches(NamedTuple):
    """Equal runs along one axis: run i is [start + i length, start + (i + 1) length).

    Positions outside [0, stop) belong to no run; ``start`` may be negative.
    """

    start: int
    length: int
    number: int
    stop: int

    def ranges(self) -> List[Pair]:
        """Return the cropped [first, last) of every run; first = last where nothing is left."""
        ranges = []
        for i in range(self.number):
            first = min(max(self.start + i * self.length, 0), self.stop)
            last = min(max(self.start + (i + 1) * self.length, 0), self.stop)
            ranges.append((first, last))
        return ranges

    def lanes(self) -> List[Tuple[slice, slice]]:
        """Return for each position within a run the runs that have it, and where it lies in each.

        Both are slices: of the runs and of the axis, the latter with stride ``length``. So summing
        or filling runs takes ``length`` strided additions or copies and never an index or a padded
        map.
        """
        lanes = []
        for base in range(self.start, self.start + self.length):
            first = max(0, -(base // self.length))
            last = min(self.number, _ceil_div(self.stop - base, self.length))
            if last > first:
                positions = slice(
                    base + first * self.length, base + (last - 1) * self.length + 1, self.length
                )
                lanes.append((slice(first, last), positions))
        return lanes

    def covers(self, size: int) -> bool:
        """Return whether every position of an axis of this size lies in a run."""
        end = min(self.start + self.number * self.length, self.stop)
        return self.start <= 0 and end >= size


class Geometry(NamedTuple):
    """All that a kernel needs to know about a filtered convolution; pairs are (rows, columns).

    ``padding`` is ((top, bottom), (left, right)): they differ for an even kernel under "same".
    """

    x_shape: Tuple[int, int, int, int]  # (N, C_i, H, W)
    weight_shape: Tuple[int, int, int, int]  # (C_o, C_i / groups, k_h, k_w)
    stride: Pair
    padding: Tuple[Pair, Pair]
    dilation: Pair
    groups: int
    patch_size: Pair
    output_size: Pair  # (H_y, W_y)
    grid: Pair  # (ceil(H_y / r), ceil(W_y / r))
    offset: Pair  # o
    keeps_window: bool  # the dilated window is kept and applied on the patch grid

    @property
    def x_elements(self) -> int:
        """How many elements x has."""
        n, c_in, height, width = self.x_shape
        return n * c_in * height * width

    @property
    def y_elements(self) -> int:
        """How many elements y (N, C_o, H_y, W_y) has."""
        return self.x_shape[0] * self.weight_shape[0] * self.output_size[0] * self.output_size[1]

    @property
    def weight_elements(self) -> int:
        """How many elements the weight has."""
        c_out, per_group, k_h, k_w = self.weight_shape
        return c_out * per_group * k_h * k_w

    @property
    def output_patches(self) -> Tuple[Patches, Patches]:
        """The patches of y and of its gradient, rows then columns."""
        rows, columns = (
            Patches(0, self.patch_size[i], self.grid[i], self.output_size[i]) for i in (0, 1)
        )
        return rows, columns

    @property
    def input_patches(self) -> Tuple[Patches, Patches]:
        """The patches of x and of its gradient, rows then columns."""
        rows, columns = (self._input_patches(i) for i in (0, 1))
        return rows, columns

    @property
    def centred_output_patches(self) -> Tuple[Patches, Patches]:
        """The patches of y as the published operator lays them: centred on the map."""
        rows, columns = (
            _centred(self.output_size[i], self.patch_size[i], self.grid[i]) for i in (0, 1)
        )
        return rows, columns

    @property
    def centred_input_patches(self) -> Tuple[Patches, Patches]:
        """The patches of x as the published operator lays them: centred on the map."""
        rows, columns = (
            _centred(self.x_shape[2 + i], self.patch_size[i] * self.stride[i], self.grid[i])
            for i in (0, 1)
        )
        return rows, columns

    @property
    def published_keeps_window(self) -> bool:
        """Whether the published operator keeps the dilated window: d > 1 and d >= r."""
        return all(d > 1 and d >= r for d, r in zip(self.dilation, self.patch_size))

    def _input_patches(self, axis: int) -> Patches:
        start, stride, size = self.offset[axis], self.stride[axis], self.x_shape[2 + axis]
        stop = min(size, max(0, start + self.output_size[axis] * stride))
        return Patches(start, self.patch_size[axis] * stride, self.grid[axis], stop)


def conv_geometry(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    patch_size: Any = 2,
) -> Geometry:
    """Check the arguments of a convolution and work out its patches.

    Args:
        x_shape: (N, C_i, H, W).
        weight_shape: (C_o, C_i / groups, k_h, k_w).
        stride: a positive int or a pair of them; so are ``dilation`` and ``patch_size``.
        padding: an int >= 0, a pair of them, "same" (stride 1 only) or "valid".
        dilation: see ``stride``.
        groups: a positive int that divides the channels.
        patch_size: r in the paper.

    Raises:
        ValueError: an argument is wrong; the message begins with its name.
    """
    if len(x_shape) != 4:
        raise ValueError("x must have 4 dimensions (N, C, H, W), not %d" % len(x_shape))
    if len(weight_shape) != 4:
        raise ValueError("weight must have 4 dimensions (C_o, C_i / groups, k_h, k_w)")
    if not isinstance(padding, str):
        padding = _pair("padding", padding, 0)
    return _geometry(
        tuple(x_shape),
        tuple(weight_shape),
        _pair("stride", stride, 1),
        padding,
        _pair("dilation", dilation, 1),
        _whole("groups", groups, 1),
        _pair("patch_size", patch_size, 1),
    )


def layer_geometry(layer: Layer, patch_size: Any, batch: int = 1) -> Geometry:
    """Return the geometry of a catalogue layer; ``patch_size`` None (exact) counts as 1.

    Raises:
        ValueError: the layer or the patch size is wrong.
    """
    return conv_geometry(
        (batch, layer.in_channels, layer.height, layer.width),
        (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size),
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        1 if patch_size is None else patch_size,
    )


def published_refusal(geometry: Geometry) -> Optional[str]:
    """Return why the published operator cannot do this convolution; None if it can."""
    kernel, groups = geometry.weight_shape[2:], geometry.groups
    if any(k % 2 == 0 for k in kernel):
        return "weight: the published operator needs odd kernel sizes, not %dx%d" % tuple(kernel)
    same = [d * (k - 1) for d, k in zip(geometry.dilation, kernel)]
    if any(sum(sides) != total for sides, total in zip(geometry.padding, same)):
        needed = tuple(total // 2 for total in same)
        return 'padding: the published operator needs "same" padding, here (%d, %d)' % needed
    channels = (geometry.x_shape[1], geometry.weight_shape[0])
    if groups != 1 and channels != (groups, groups):
        return (
            "groups: the published operator needs groups 1 or depthwise with as many output"
            " channels, not %d groups for %d -> %d channels" % (groups, *channels)
        )
    return None


@functools.lru_cache(maxsize=1024)
def _geometry(
    x_shape: Any,
    weight_shape: Any,
    stride: Pair,
    padding: Any,
    dilation: Pair,
    groups: int,
    patch_size: Pair,
) -> Geometry:
    _check_channels(x_shape[1], weight_shape, groups)
    kernel = weight_shape[2:]
    sides = _sides(padding, kernel, dilation, stride)
    output_size = _output_size(x_shape[2:], kernel, stride, sides, dilation)
    return Geometry(
        x_shape=x_shape,
        weight_shape=weight_shape,
        stride=stride,
        padding=sides,
        dilation=dilation,
        groups=groups,
        patch_size=patch_size,
        output_size=output_size,
        grid=(_ceil_div(output_size[0], patch_size[0]), _ceil_div(output_size[1], patch_size[1])),
        offset=(
            dilation[0] * (kernel[0] - 1) // 2 - sides[0][0],
            dilation[1] * (kernel[1] - 1) // 2 - sides[1][0],
        ),
        keeps_window=_keeps_window(dilation, stride, patch_size, kernel, sides),
    )


def _keeps_window(
    dilation: Pair, stride: Pair, patch_size: Pair, kernel: Any, sides: Tuple[Pair, Pair]
) -> bool:
    """Return whether the taps of a dilated window lie whole patches apart, on both axes."""
    for axis in (0, 1):
        d, k = dilation[axis], kernel[axis]
        meets_patches = d > 1 and stride[axis] == 1 and d % patch_size[axis] == 0
        same_padding = k % 2 == 1 and sides[axis] == (d * (k - 1) // 2, d * (k - 1) // 2)
        if not meets_patches or not same_padding:
            return False
    return True


def _check_channels(in_channels: int, weight_shape: Any, groups: int) -> None:
    out_channels, per_group = weight_shape[:2]
    if min(weight_shape) < 1:
        raise ValueError("weight must not be empty, its shape is %s" % (tuple(weight_shape),))
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            "groups must divide the channels: %d does not divide %d -> %d"
            % (groups, in_channels, out_channels)
        )
    if per_group * groups != in_channels:
        raise ValueError(
            "weight must have C_i / groups = %d channels for x with %d and groups %d, not %d"
            % (in_channels // groups, in_channels, groups, per_group)
        )


def _sides(padding: Any, kernel: Any, dilation: Pair, stride: Pair) -> Tuple[Pair, Pair]:
    """Return the padding as ((top, bottom), (left, right))."""
    if padding == "same" and stride != (1, 1):
        raise ValueError('padding "same" needs stride 1, not %s' % (stride,))
    if padding == "same":
        # As torch: an odd total leaves the extra row at the bottom, the extra column at the right.
        totals = [d * (k - 1) for d, k in zip(dilation, kernel)]
        return (
            (totals[0] // 2, totals[0] - totals[0] // 2),
            (totals[1] // 2, totals[1] - totals[1] // 2),
        )
    if padding == "valid":
        return (0, 0), (0, 0)
    if isinstance(padding, str):
        raise ValueError('padding must be "same", "valid", an int or a pair, not %r' % padding)
    return (padding[0],) * 2, (padding[1],) * 2


def _output_size(
    map_size: Any, kernel: Any, stride: Pair, sides: Tuple[Pair, Pair], dilation: Pair
) -> Pair:
    rows, columns = (
        (size + sum(p) - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(map_size, kernel, stride, sides, dilation)
    )
    if min(map_size) < 1 or rows < 1 or columns < 1:
        raise ValueError(
            "x is too small: a map of %dx%d gives an empty output of %dx%d"
            % (*map_size, rows, columns)
        )
    return rows, columns


def _centred(size: int, length: int, count: int) -> Patches:
    return Patches(-_ceil_div(count * length - size, 2), length, count, size)


def _pair(name: str, value: Any, least: int) -> Pair:
    """Return an int or a 2-sequence of them as a pair."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError("%s must be an int or a pair, not %r" % (name, value))
        return _whole(name, value[0], least), _whole(name, value[1], least)
    return (_whole(name, value, least),) * 2


def _whole(name: str, value: Any, least: int) -> int:
    """Return the value if it is an int >= least; True and 2.0 are refused."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError("%s must be an int >= %d, not %r" % (name, least, value))
    return value


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
