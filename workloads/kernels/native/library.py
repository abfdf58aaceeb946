"""The compiled library of the passes: its sources, its structures and its functions' signatures."""

import ctypes
import functools
from typing import Dict, Optional, Tuple

import torch

from workloads.kernels.native import compiler
from workloads.kernels.native.threads import Team
from workloads.spec.geometry import Patches

SOURCES = (
    "kernels/native/gradient_filter.c",
    "kernels/native/depthwise.h",
    "kernels/native/panels.h",
    "kernels/native/narrow.h",
    "kernels/native/patches.h",
    "kernels/native/pixels.h",
    "kernels/native/microkernel.h",
    "kernels/native/rows.h",
    "kernels/native/runs.h",
    "kernels/native/team.h",
    "kernels/native/windows.h",
)
TYPES = {torch.float32: "float", torch.float64: "double"}

Axes = Tuple[Patches, Patches]
Strides = Tuple[int, ...]


class _Runs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ssize_t) for name in Patches._fields]


class _Layout(ctypes.Structure):
    _fields_ = [
        ("channels", ctypes.c_ssize_t),
        ("rows", _Runs),
        ("columns", _Runs),
        ("map_strides", ctypes.c_ssize_t * 4),  # image, channel, row, column
        ("grid_strides", ctypes.c_ssize_t * 3),  # image, channel, cell
    ]


class Filter(ctypes.Structure):
    """What a backward is of: ``filter_t`` of patches.h."""

    _fields_ = [
        ("out", _Layout),
        ("in", _Layout),
        *[(name, ctypes.c_ssize_t) for name in ("images", "groups", "taps", "slots", "chunk")],
        ("scale", ctypes.c_double),
        ("streaming", ctypes.c_ssize_t),
        ("pixels", ctypes.c_ssize_t),
        ("work", ctypes.c_ssize_t),
    ]


class Saving(ctypes.Structure):
    """What a forward saves, of what: ``saving_t`` of gradient_filter.c."""

    _fields_ = [
        ("maps", _Layout),
        *[(name, ctypes.c_ssize_t) for name in ("images", "groups", "outputs", "taps", "pixels")],
    ]


_POINTER, _INDEX, _INT = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
_REAL, _TEAM, _MAPS = ctypes.c_double, ctypes.POINTER(Team), ctypes.POINTER(_Layout)
_FILTER, _SAVING = ctypes.POINTER(Filter), ctypes.POINTER(Saving)
_POOL = (_TEAM, _MAPS, _INDEX, _POINTER, _POINTER, _POINTER, _REAL)
_EXPAND = (_TEAM, _MAPS, _INDEX, _POINTER, _POINTER, _INT)
_BACKWARD = (_TEAM, _FILTER, *[_POINTER] * 7)
_WORK = (_FILTER, *[_POINTER] * 3)
_SIGNATURES = {
    "pool_planes": _POOL,
    "pool_pixels": _POOL,
    "expand_planes": _EXPAND,
    "expand_pixels": _EXPAND,
    "sum_runs": (_TEAM, _POINTER, _INDEX, _INDEX, _POINTER),
    "save": (_TEAM, _SAVING, *[_POINTER] * 4),
    "repeat_runs": (_TEAM, _POINTER, _INDEX, _INDEX, _POINTER, _INT),
    "depthwise": _BACKWARD,
    "depthwise_work": _WORK,
    "filtered": _BACKWARD,
    "filtered_work": _WORK,
    "panel_channels": (),
    "tile_channels": (_INT,),
}


def unavailable(dtype: torch.dtype) -> Optional[str]:
    """Return why the passes cannot be had here in this type; None if they can. Tries once."""
    if dtype not in _libraries and dtype not in _reasons:
        try:
            _libraries[dtype] = _declared(compiler.load(SOURCES, ("REAL=" + TYPES[dtype],)))
        except (compiler.CompilerError, OSError) as error:
            _reasons[dtype] = str(error)
    return _reasons.get(dtype)


_libraries: Dict[torch.dtype, ctypes.CDLL] = {}
_reasons: Dict[torch.dtype, str] = {}


def library_of(dtype: torch.dtype) -> ctypes.CDLL:
    """Return the compiled library for this type; raise where it cannot be had."""
    if dtype not in _libraries:
        reason = unavailable(dtype)
        if reason:
            raise compiler.CompilerError(reason)
    return _libraries[dtype]


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    for name in ("depthwise_work", "filtered_work", "panel_channels", "tile_channels"):
        getattr(library, name).restype = ctypes.c_ssize_t
    return library


@functools.lru_cache(maxsize=4096)
def layout_of(channels: int, axes: Axes, map_strides: Strides, grid_strides: Strides) -> _Layout:
    """Return how C is told where maps and their patches lie."""
    rows, columns = axes
    return _Layout(
        channels,
        _Runs(*rows),
        _Runs(*columns),
        (ctypes.c_ssize_t * 4)(*map_strides),
        (ctypes.c_ssize_t * 3)(*grid_strides),
    )
