"""Bindings of the compiled library: its structures, its functions, and how it is loaded."""

import ctypes
import functools
from typing import Dict, Optional, Tuple

import torch

from workloads.kernels.native import compiler
from workloads.kernels.native.threads import ThreadPool
from workloads.spec.geometry import Patches
from workloads.spec.kernels import C_SOURCES

TYPES = {torch.float32: "float", torch.float64: "double"}

Axes = Tuple[Patches, Patches]
Strides = Tuple[int, ...]


class _Patches(ctypes.Structure):
    """``patches_t`` of patches.h: the patches along one axis."""

    _fields_ = [(name, ctypes.c_ssize_t) for name in Patches._fields]


class _Layout(ctypes.Structure):
    """``layout_t`` of patches.h: maps and the grid of their patches, strides in elements."""

    _fields_ = [
        ("channels", ctypes.c_ssize_t),
        ("rows", _Patches),
        ("columns", _Patches),
        ("map_strides", ctypes.c_ssize_t * 4),  # image, channel, row, column
        ("grid_strides", ctypes.c_ssize_t * 3),  # image, channel, cell
    ]


class BackwardDesc(ctypes.Structure):
    """``backward_desc_t`` of patches.h: a backward but for its tensors."""

    _fields_ = [
        ("out", _Layout),
        ("in", _Layout),
        ("images", ctypes.c_ssize_t),
        ("groups", ctypes.c_ssize_t),
        ("taps", ctypes.c_ssize_t),
        ("accumulators", ctypes.c_ssize_t),
        ("chunk_rows", ctypes.c_ssize_t),
        ("scale", ctypes.c_double),
        ("streaming", ctypes.c_ssize_t),
        ("nhwc", ctypes.c_ssize_t),
        ("workspace", ctypes.c_ssize_t),
    ]


class SaveDesc(ctypes.Structure):
    """``save_desc_t`` of gradient_filter.c: what a forward saves, but for the tensors."""

    _fields_ = [
        ("maps", _Layout),
        ("images", ctypes.c_ssize_t),
        ("groups", ctypes.c_ssize_t),
        ("outputs", ctypes.c_ssize_t),
        ("taps", ctypes.c_ssize_t),
        ("nhwc", ctypes.c_ssize_t),
    ]


_POINTER, _INDEX, _INT, _DOUBLE = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_double
_THREAD_POOL, _LAYOUT = ctypes.POINTER(ThreadPool), ctypes.POINTER(_Layout)
_BACKWARD_DESC, _SAVE_DESC = ctypes.POINTER(BackwardDesc), ctypes.POINTER(SaveDesc)
_POOL = (_THREAD_POOL, _LAYOUT, _INDEX, _POINTER, _POINTER, _POINTER, _DOUBLE)
_EXPAND = (_THREAD_POOL, _LAYOUT, _INDEX, _POINTER, _POINTER, _INT)
_BACKWARD = (_THREAD_POOL, _BACKWARD_DESC, *[_POINTER] * 7)
_SIGNATURES = {  # of functions that return nothing
    "gfb_pool_nchw": _POOL,
    "gfb_pool_nhwc": _POOL,
    "gfb_expand_nchw": _EXPAND,
    "gfb_expand_nhwc": _EXPAND,
    "gfb_sum_windows": (_THREAD_POOL, _POINTER, _INDEX, _INDEX, _POINTER),
    "gfb_repeat_windows": (_THREAD_POOL, _POINTER, _INDEX, _INDEX, _POINTER, _INT),
    "gfb_save": (_THREAD_POOL, _SAVE_DESC, *[_POINTER] * 4),
    "gfb_depthwise": _BACKWARD,
    "gfb_filtered": _BACKWARD,
}
_SIZE_SIGNATURES = {  # of functions that return a number of elements or channels
    "gfb_depthwise_workspace": (_BACKWARD_DESC, *[_POINTER] * 3),
    "gfb_filtered_workspace": (_BACKWARD_DESC, *[_POINTER] * 3),
    "gfb_panel_channels": (),
    "gfb_weight_tile_channels": (_INT,),
}


# the library ---------------------------------------------------------------------------------


def unavailable(dtype: torch.dtype) -> Optional[str]:
    """Return why the library cannot be had here in this type; None if it can. Tries once."""
    if dtype not in _libraries and dtype not in _reasons:
        try:
            library = compiler.load(C_SOURCES["native"], ("REAL=" + TYPES[dtype],))
            _libraries[dtype] = _with_signatures(library)
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


def _with_signatures(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    for name, arguments in _SIZE_SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, _INDEX
    return library


@functools.lru_cache(maxsize=4096)
def layout_of(channels: int, axes: Axes, map_strides: Strides, grid_strides: Strides) -> _Layout:
    """Return how C is told where maps and their patches lie."""
    rows, columns = axes
    return _Layout(
        channels,
        _Patches(*rows),
        _Patches(*columns),
        (ctypes.c_ssize_t * 4)(*map_strides),
        (ctypes.c_ssize_t * 3)(*grid_strides),
    )
