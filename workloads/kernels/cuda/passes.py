"""The passes of gradient_filter.cu on tensors: their parameters, and how threads share the work.

A pass goes through planes (one channel of one image) item by item: the patches that it pools, or,
to expand, the bands of rows times the columns. Tensors may have any strides; they decide only
whether neighbouring threads take neighbouring items (NCHW) or neighbouring channels (NHWC).
"""

import ctypes
import functools
import pkgutil
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import torch

from workloads.kernels.cuda import driver as cuda_driver
from workloads.kernels.cuda import nvrtc
from workloads.kernels.cuda.driver import THREADS
from workloads.spec.geometry import Patches
from workloads.spec.kernels import CUDA_SOURCE

TYPES = {torch.float32: "REAL_F32", torch.float64: "REAL_F64", torch.float16: "REAL_F16"}
SUM_TYPES = {torch.float16: torch.float32}  # other types are summed in themselves
UNROLLED = (1, 2, 3, 4, 8)  # side lengths of square patches that have kernels of their own
WARP = 32  # threads that run, and access memory, together
BLOCKS_PER_PROCESSOR = 16  # twice what a multiprocessor runs at once, for an even finish
_MAX_ITEMS = 2**31 - 2**20  # indices within a plane are ints, and may exceed it by one step

Axes = Tuple[Patches, Patches]
Strides = Tuple[int, ...]
NO_STRIDES = (0, 0, 0, 0)


class _Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_longlong) for name in ("image", "channel", "row", "column")]


class _Patches(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in Patches._fields]


class Params(ctypes.Structure):
    """``params_t`` of gradient_filter.cu, field by field."""

    _fields_ = [
        *((name, _Strides) for name in ("map", "grid", "other")),
        *((name, _Patches) for name in ("rows", "columns")),
        *((name, ctypes.c_int) for name in ("planes", "channels", "height", "width")),
        *((name, ctypes.c_int) for name in ("items", "items_per_part", "fast_bits", "by_channel")),
        ("first_band", ctypes.c_int),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("maps", "cells", "sums", "products")),
        *((name, ctypes.c_void_p) for name in ("others", "factors")),
    ]


class LaunchShape(NamedTuple):
    """How the work of a pass is shared by the blocks and threads of a device."""

    blocks: int  # in x; each has THREADS / (threads per plane) planes
    parts: int  # blocks in y; each has a part of its planes' items
    items_per_part: int
    fast_bits: int
    by_channel: bool


class Launch(NamedTuple):
    """A launch of a pass but for the addresses, prepared once per shapes and strides."""

    kernel: str
    params: bytes
    shape: LaunchShape


def launch_shape(planes: int, items: int, by_channel: bool, processors: int) -> LaunchShape:
    """Return how to share ``planes`` of ``items`` each among so many multiprocessors.

    Raises:
        ValueError: there are more than the kernels' indices can count.
    """
    if max(planes, items) > _MAX_ITEMS:
        raise ValueError("x is too large for kernel cuda: %d planes of %d" % (planes, items))
    if by_channel:
        planes_of_warp = min(WARP, _power_of_two(planes))
        threads_per_plane = min(_power_of_two(items), THREADS // planes_of_warp)
        fast = THREADS // threads_per_plane
    else:
        threads_per_plane = fast = min(_power_of_two(items), THREADS)
    blocks = _ceil_div(planes, THREADS // threads_per_plane)
    steps = _ceil_div(items, threads_per_plane)
    most_parts = min(steps, _ceil_div(BLOCKS_PER_PROCESSOR * processors, blocks))
    items_per_part = _ceil_div(steps, most_parts) * threads_per_plane
    parts = _ceil_div(items, items_per_part)
    return LaunchShape(blocks, parts, items_per_part, fast.bit_length() - 1, by_channel)


def pool(
    maps: torch.Tensor,
    axes: Axes,
    cells: Optional[torch.Tensor],
    scale: float = 0.0,
    sums: bool = False,
    others: Optional[torch.Tensor] = None,
) -> Tuple[Optional[torch.Tensor], Optional[torch.Tensor]]:
    """Sum the patches of maps (N, C, H, W) into ``cells`` (N, C, P_h, P_w).

    Args:
        maps: what is pooled, in any layout.
        axes: the patches, of rows and of columns.
        cells: written, unless None.
        scale: if not 0, ``scale`` times the means is written instead of the sums.
        sums: whether to sum the pixels of each channel too, except for those in no patch.
        others: a grid (N, C, P_h, P_w) to form the dot product with the cells of each channel.

    Returns:
        The sums and the dot products, both (C,); None for what was not asked for.
    """
    module, processors = _module(maps)
    launch = _pool_launch(
        _four(maps.shape),
        axes,
        maps.stride(),
        NO_STRIDES if cells is None else cells.stride(),
        NO_STRIDES if others is None else others.stride(),
        scale,
        processors,
    )
    parts = launch.shape.parts
    partial_sums = _empty_partials(maps, parts) if sums else None
    partial_products = None if others is None else _empty_partials(maps, parts)
    params = Params.from_buffer_copy(launch.params)
    params.maps, params.cells, params.others = _address(maps), _address(cells), _address(others)
    params.sums, params.products = _address(partial_sums), _address(partial_products)
    module.launch(launch.kernel, params, (launch.shape.blocks, parts))
    return _total(partial_sums, maps), _total(partial_products, maps)


def expand(
    cells: torch.Tensor, axes: Axes, maps: torch.Tensor, factors: Optional[torch.Tensor] = None
) -> None:
    """Write each cell to all pixels of its patch, and zeros to the pixels in no patch.

    Args:
        cells: the values (N, C, P_h, P_w), in any layout.
        axes: the patches, of rows and of columns.
        maps: written whole, (N, C, H, W), in any layout.
        factors: what the values of each channel are multiplied by, (C,), dense; or None.
    """
    module, processors = _module(maps)
    launch = _expand_launch(_four(maps.shape), axes, maps.stride(), cells.stride(), processors)
    params = Params.from_buffer_copy(launch.params)
    params.maps, params.cells, params.factors = _address(maps), _address(cells), _address(factors)
    module.launch(launch.kernel, params, (launch.shape.blocks, launch.shape.parts))


def sum_windows(weight: torch.Tensor) -> torch.Tensor:
    """Return w~ (C_o, C_i / groups, 1, 1): the sum of each window, which is one patch."""
    c_out, per_group, height, width = weight.shape
    sums = weight.new_empty((c_out, per_group, 1, 1))
    if weight.is_contiguous():  # then all windows make one patch row, shared evenly by threads
        axes = _windows_in_a_row(c_out * per_group, height * width)
        pool(weight.view(1, 1, 1, -1), axes, sums.view(1, 1, 1, -1))
    else:
        pool(weight, (Patches(0, height, 1, height), Patches(0, width, 1, width)), sums)
    return sums


def repeat_taps(values: torch.Tensor, shape: Tuple[int, int, int, int]) -> torch.Tensor:
    """Return g_w of ``shape`` from one value per window, (C_o, C_i / groups)."""
    taps = shape[2] * shape[3]
    values = values.contiguous()
    if taps == 1:
        return values.view(shape)
    grad_w = values.new_empty(shape)
    axes = _windows_in_a_row(values.numel(), taps)
    expand(values.view(1, 1, 1, -1), axes, grad_w.view(1, 1, 1, -1))
    return grad_w


def unavailable(device: torch.device, dtype: torch.dtype) -> Optional[str]:
    """Return why the passes cannot be had on a device; None if they can. Compiles once."""
    key = (_index(device), dtype)
    if key not in _modules and key not in _reasons:
        try:
            _modules[key] = _load(*key)
        except (nvrtc.NvrtcError, cuda_driver.DriverError, RuntimeError) as error:  # or torch's
            _reasons[key] = str(error)
    return _reasons.get(key)


_modules: Dict[Tuple[int, torch.dtype], Tuple[cuda_driver.Module, int]] = {}
_reasons: Dict[Tuple[int, torch.dtype], str] = {}


def _module(maps: torch.Tensor) -> Tuple[cuda_driver.Module, int]:
    """Return the loaded passes for a tensor, and its device's number of multiprocessors."""
    reason = unavailable(maps.device, maps.dtype)
    if reason:
        raise cuda_driver.DriverError(reason)
    return _modules[_index(maps.device), maps.dtype]


def _load(index: int, dtype: torch.dtype) -> Tuple[cuda_driver.Module, int]:
    source = pkgutil.get_data("workloads", CUDA_SOURCE)
    if source is None:
        raise nvrtc.NvrtcError("workloads/%s is not in the payload" % CUDA_SOURCE)
    if not torch.cuda.is_available():
        raise cuda_driver.DriverError("torch sees no CUDA device")
    driver = cuda_driver.driver()
    device = torch.cuda.get_device_properties(index)
    capability = (device.major, device.minor)
    name = CUDA_SOURCE.rpartition("/")[2]
    image = nvrtc.compile_kept(nvrtc.find(), source, name, capability, (TYPES[dtype],))
    return cuda_driver.Module(driver, index, image), device.multi_processor_count


def _index(device: torch.device) -> int:
    if device.index is not None:
        return int(device.index)
    return torch.cuda.current_device() if torch.cuda.is_available() else 0


# launches ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _pool_launch(
    shape: Tuple[int, int, int, int],
    axes: Axes,
    map_strides: Strides,
    grid_strides: Strides,
    other_strides: Strides,
    scale: float,
    processors: int,
) -> Launch:
    items = axes[0].number * axes[1].number
    work = launch_shape(shape[0] * shape[1], items, by_channel(map_strides, shape), processors)
    params = _params(shape, axes, map_strides, grid_strides, work, items)
    params.other, params.scale = _Strides(*other_strides), scale
    return Launch("gfb_pool_%d" % _unrolled(axes), bytes(params), work)


@functools.lru_cache(maxsize=4096)
def _expand_launch(
    shape: Tuple[int, int, int, int],
    axes: Axes,
    map_strides: Strides,
    grid_strides: Strides,
    processors: int,
) -> Launch:
    height, width = shape[2:]
    above, below = axes[0].start > 0, axes[0].ranges()[-1][1] < height
    items = (above + axes[0].number + below) * width
    work = launch_shape(shape[0] * shape[1], items, by_channel(map_strides, shape), processors)
    params = _params(shape, axes, map_strides, grid_strides, work, items)
    params.first_band = -int(above)
    return Launch("gfb_expand_%d" % _unrolled(axes), bytes(params), work)


def _params(
    shape: Tuple[int, int, int, int],
    axes: Axes,
    map_strides: Strides,
    grid_strides: Strides,
    work: LaunchShape,
    items: int,
) -> Params:
    return Params(
        map=_Strides(*map_strides),
        grid=_Strides(*grid_strides),
        rows=_Patches(*axes[0]),
        columns=_Patches(*axes[1]),
        planes=shape[0] * shape[1],
        channels=shape[1],
        height=shape[2],
        width=shape[3],
        items=items,
        items_per_part=work.items_per_part,
        fast_bits=work.fast_bits,
        by_channel=work.by_channel,
    )


def by_channel(strides: Strides, shape: Sequence[int]) -> bool:
    """Return whether neighbouring channels are closer in memory than neighbouring columns: NHWC."""
    column = strides[3] if shape[3] > 1 else strides[2]
    return shape[1] > 1 and strides[1] < column


def _unrolled(axes: Axes) -> int:
    """Return the patch side that a kernel is unrolled for; 0 for the kernel that takes any."""
    length = axes[0].length
    return length if length == axes[1].length and length in UNROLLED else 0


def _windows_in_a_row(number: int, taps: int) -> Axes:
    """Return dense windows as the patches of a map of one row, number x taps pixels wide."""
    return Patches(0, 1, 1, 1), Patches(0, taps, number, number * taps)


# tensors -------------------------------------------------------------------------------------


def _empty_partials(maps: torch.Tensor, parts: int) -> torch.Tensor:
    """Return unwritten partial sums (parts, N, C) in the type in which they are summed."""
    dtype = SUM_TYPES.get(maps.dtype, maps.dtype)
    return torch.empty((parts, *maps.shape[:2]), dtype=dtype, device=maps.device)


def _total(partial: Optional[torch.Tensor], maps: torch.Tensor) -> Optional[torch.Tensor]:
    """Return the sums (C,) over parts and images, in the type of the maps."""
    return None if partial is None else partial.sum((0, 1)).to(maps.dtype)


def _address(tensor: Optional[torch.Tensor]) -> Optional[int]:
    return None if tensor is None else tensor.data_ptr()


def _four(shape: Sequence[int]) -> Tuple[int, int, int, int]:
    n, c, h, w = shape
    return n, c, h, w


def _power_of_two(minimum: int) -> int:
    """Return the smallest power of two that is not below ``minimum``."""
    return 1 << (minimum - 1).bit_length()


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
