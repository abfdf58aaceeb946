"""The passes of gradient_filter.cu on tensors: what each is told, and how its threads are laid out.

A pass walks planes (one channel of one image) item by item: the patches that it pools, or, to
expand, the bands of rows times the columns. Tensors may have any strides; they decide only whether
neighbouring threads take neighbouring items (NCHW) or neighbouring channels (NHWC).
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

SOURCE = "kernels/cuda/gradient_filter.cu"
TYPES = {torch.float32: "REAL_F32", torch.float64: "REAL_F64", torch.float16: "REAL_F16"}
SUM_TYPES = {torch.float16: torch.float32}  # others sum in their own
UNROLLED = (1, 2, 3, 4, 8)  # lengths of square patches with kernels of their own
WARP = 32  # threads that run, and reach for memory, together
BLOCKS_PER_PROCESSOR = 16  # twice what a multiprocessor holds at once, to even out the end
_MOST_ITEMS = 2**31 - 2**20  # indices within a plane are ints, and may run over by one step

Axes = Tuple[Patches, Patches]
Strides = Tuple[int, ...]
NO_STRIDES = (0, 0, 0, 0)


class _Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_longlong) for name in ("image", "channel", "row", "column")]


class _Runs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in Patches._fields]


class Task(ctypes.Structure):
    """task_t of gradient_filter.cu, field by field."""

    _fields_ = [
        *((name, _Strides) for name in ("map", "grid", "other")),
        *((name, _Runs) for name in ("rows", "columns")),
        *((name, ctypes.c_int) for name in ("planes", "channels", "height", "width")),
        *((name, ctypes.c_int) for name in ("items", "stretch", "fast_bits", "by_channel")),
        ("first_band", ctypes.c_int),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("maps", "cells", "sums", "products")),
        *((name, ctypes.c_void_p) for name in ("others", "factors")),
    ]


class Shape(NamedTuple):
    """How a pass is spread over a device."""

    blocks: int  # each takes THREADS / (threads per plane) planes
    parts: int  # each block's planes are walked by so many blocks,
    stretch: int  # each for so many items
    fast_bits: int
    by_channel: bool


class Plan(NamedTuple):
    """A pass but for its addresses, worked out once: the kernel, its task and its shape."""

    kernel: str
    task: bytes
    shape: Shape


def launch_shape(planes: int, items: int, by_channel: bool, processors: int) -> Shape:
    """Return how to spread ``planes`` of ``items`` each over so many multiprocessors.

    Raises:
        ValueError: there are more than the kernels' indices can tell.
    """
    if max(planes, items) > _MOST_ITEMS:
        raise ValueError("x is too large for kernel cuda: %d planes of %d" % (planes, items))
    if by_channel:
        sharing = min(_power_of_two(items), THREADS // min(WARP, _power_of_two(planes)))
        fast = THREADS // sharing
    else:
        sharing = fast = min(_power_of_two(items), THREADS)
    blocks = _ceil_div(planes, THREADS // sharing)
    steps = _ceil_div(items, sharing)
    parts = min(steps, _ceil_div(BLOCKS_PER_PROCESSOR * processors, blocks))
    stretch = _ceil_div(steps, parts) * sharing
    return Shape(blocks, _ceil_div(items, stretch), stretch, fast.bit_length() - 1, by_channel)


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
        maps: what is pooled.
        axes: the patches.
        cells: written, unless None.
        scale: if not 0, write ``scale`` times the means instead.
        sums: whether to sum the pixels of each channel too, those outside of patches left out.
        others: another grid, to be multiplied with the means and summed over each channel.

    Returns:
        The sums and those of the products, both (C,), None where not asked for.
    """
    module, processors = _module(maps)
    plan = _pool_plan(
        _four(maps.shape),
        axes,
        maps.stride(),
        NO_STRIDES if cells is None else cells.stride(),
        NO_STRIDES if others is None else others.stride(),
        scale,
        processors,
    )
    task = Task.from_buffer_copy(plan.task)
    wanted = (sums, others is not None)
    partial = [_partial(maps, plan.shape.parts) if each else None for each in wanted]
    task.maps, task.cells, task.others = (_address(tensor) for tensor in (maps, cells, others))
    task.sums, task.products = (_address(tensor) for tensor in partial)
    module.launch(plan.kernel, task, (plan.shape.blocks, plan.shape.parts))
    found, products = (_total(tensor, maps) for tensor in partial)
    return found, products


def expand(
    cells: torch.Tensor, axes: Axes, maps: torch.Tensor, factors: Optional[torch.Tensor] = None
) -> None:
    """Write each cell (N, C, P_h, P_w) on all pixels of its patch, zeros on those in none.

    Args:
        cells: the values.
        axes: the patches.
        maps: written whole, (N, C, H, W).
        factors: what the values of each channel are multiplied with, dense; None for nothing.
    """
    module, processors = _module(maps)
    plan = _expand_plan(_four(maps.shape), axes, maps.stride(), cells.stride(), processors)
    task = Task.from_buffer_copy(plan.task)
    task.maps, task.cells, task.factors = (_address(tensor) for tensor in (maps, cells, factors))
    module.launch(plan.kernel, task, (plan.shape.blocks, plan.shape.parts))


def sum_windows(weight: torch.Tensor) -> torch.Tensor:
    """Return w~ (C_o, C_i / groups, 1, 1): the sum of each window, which is one patch."""
    c_out, per_group, height, width = weight.shape
    sums = weight.new_empty((c_out, per_group, 1, 1))
    if weight.is_contiguous():  # a single row of patches then, which has no short rows of threads
        number, taps = c_out * per_group, height * width
        pool(weight.view(1, 1, 1, -1), _windows_in_a_row(number, taps), sums.view(1, 1, 1, -1))
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
    """Return why the passes cannot be had on a device; None if they can. Compiles at first."""
    key = (_index(device), dtype)
    if key not in _modules and key not in _reasons:
        try:
            _modules[key] = _load(*key)
        except (nvrtc.NvrtcError, cuda_driver.DriverError, RuntimeError) as error:  # torch's last
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
    source = pkgutil.get_data("workloads", SOURCE)
    if source is None:
        raise nvrtc.NvrtcError("workloads/%s is not in the payload" % SOURCE)
    if not torch.cuda.is_available():
        raise cuda_driver.DriverError("torch sees no CUDA device")
    driver = cuda_driver.driver()
    device = torch.cuda.get_device_properties(index)
    capability = (device.major, device.minor)
    name = SOURCE.rpartition("/")[2]
    image = nvrtc.compile_kept(nvrtc.find(), source, name, capability, (TYPES[dtype],))
    return cuda_driver.Module(driver, index, image), device.multi_processor_count


def _index(device: torch.device) -> int:
    if device.index is not None:
        return int(device.index)
    return torch.cuda.current_device() if torch.cuda.is_available() else 0


# plans ---------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _pool_plan(
    shape: Tuple[int, int, int, int],
    axes: Axes,
    map_strides: Strides,
    grid_strides: Strides,
    other_strides: Strides,
    scale: float,
    processors: int,
) -> Plan:
    items = axes[0].number * axes[1].number
    spread = launch_shape(shape[0] * shape[1], items, by_channel(map_strides, shape), processors)
    task = _task(shape, axes, map_strides, grid_strides, spread, items)
    task.other, task.scale = _Strides(*other_strides), scale
    return Plan("pool_%d" % _unrolled(axes), bytes(task), spread)


@functools.lru_cache(maxsize=4096)
def _expand_plan(
    shape: Tuple[int, int, int, int],
    axes: Axes,
    map_strides: Strides,
    grid_strides: Strides,
    processors: int,
) -> Plan:
    height, width = shape[2:]
    above, below = axes[0].start > 0, axes[0].ranges()[-1][1] < height
    items = (above + axes[0].number + below) * width
    spread = launch_shape(shape[0] * shape[1], items, by_channel(map_strides, shape), processors)
    task = _task(shape, axes, map_strides, grid_strides, spread, items)
    task.first_band = -int(above)
    return Plan("expand_%d" % _unrolled(axes), bytes(task), spread)


def _task(
    shape: Tuple[int, int, int, int],
    axes: Axes,
    map_strides: Strides,
    grid_strides: Strides,
    spread: Shape,
    items: int,
) -> Task:
    return Task(
        map=_Strides(*map_strides),
        grid=_Strides(*grid_strides),
        rows=_Runs(*axes[0]),
        columns=_Runs(*axes[1]),
        planes=shape[0] * shape[1],
        channels=shape[1],
        height=shape[2],
        width=shape[3],
        items=items,
        stretch=spread.stretch,
        fast_bits=spread.fast_bits,
        by_channel=spread.by_channel,
    )


def by_channel(strides: Strides, shape: Sequence[int]) -> bool:
    """Return whether neighbouring channels are nearer than neighbouring columns: NHWC."""
    column = strides[3] if shape[3] > 1 else strides[2]
    return shape[1] > 1 and strides[1] < column


def _unrolled(axes: Axes) -> int:
    """Return the length that a kernel was compiled for; 0 for that which takes any."""
    length = axes[0].length
    return length if length == axes[1].length and length in UNROLLED else 0


def _windows_in_a_row(number: int, taps: int) -> Axes:
    return Patches(0, 1, 1, 1), Patches(0, taps, number, number * taps)


# tensors -------------------------------------------------------------------------------------


def _partial(maps: torch.Tensor, parts: int) -> torch.Tensor:
    """Return unwritten sums (parts, N, C) in the type that they are summed in."""
    dtype = SUM_TYPES.get(maps.dtype, maps.dtype)
    return torch.empty((parts, *maps.shape[:2]), dtype=dtype, device=maps.device)


def _total(partial: Optional[torch.Tensor], maps: torch.Tensor) -> Optional[torch.Tensor]:
    return None if partial is None else partial.sum((0, 1)).to(maps.dtype)


def _address(tensor: Optional[torch.Tensor]) -> Optional[int]:
    return None if tensor is None else tensor.data_ptr()


def _four(shape: Sequence[int]) -> Tuple[int, int, int, int]:
    n, c, h, w = shape
    return n, c, h, w


def _power_of_two(least: int) -> int:
    """Return the smallest power of two that is not below ``least``."""
    return 1 << (least - 1).bit_length()


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
