"""Calls of kernel native's C written to a file, with their arrays; see native_replay.c."""

from __future__ import annotations

import ctypes
import struct
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from guarded_memory import GuardedMemory

from workloads.kernels.native import bindings
from workloads.kernels.native.bindings import library_of
from workloads.kernels.native.threads import ThreadPool

_FUNCTIONS = (
    "gfb_pool_nchw",
    "gfb_pool_nhwc",
    "gfb_expand_nchw",
    "gfb_expand_nhwc",
    "gfb_sum_windows",
    "gfb_repeat_windows",
    "gfb_save",
    "gfb_depthwise",
    "gfb_filtered",
)
_STRUCTURE, _INTEGER, _NUMBER, _NOTHING, _ARRAY = range(5)
_SIGNATURES: dict[str, Any] = bindings.__dict__["_SIGNATURES"]


class RecordedCalls:
    """Stands for ``library_of``; what it hands out writes every call of its own to a file."""

    def __init__(self, file: tempfile._TemporaryFileWrapper[bytes], memory: GuardedMemory) -> None:
        """Take where calls are written, and where all their arrays lie."""
        self._file = file
        self._memory = memory

    def __call__(self, dtype: torch.dtype) -> Any:
        """Return the library of a type, or what stands for it."""
        return _Library(library_of(dtype), self._recorded)

    def _recorded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(thread_pool: ThreadPool, *arguments: Any) -> None:
            types = _SIGNATURES[name][1:]
            before = [self._bytes(*each) for each in zip(types, arguments, strict=True)]
            function(thread_pool, *arguments)
            self._write(_FUNCTIONS.index(name), thread_pool.threads, len(arguments))
            for type_, argument, bytes_ in zip(types, arguments, before, strict=True):
                self._write_argument(type_, argument, bytes_)

        return call

    def _bytes(self, type_: Any, argument: Any) -> bytes:
        if type_ is not ctypes.c_void_p or not argument:
            return b""
        return ctypes.string_at(argument, self._memory.extent(argument))

    def _write_argument(self, type_: Any, argument: Any, before: bytes) -> None:
        if type_ is ctypes.c_double:
            self._file.write(struct.pack("<qd", _NUMBER, argument))
        elif type_ in (ctypes.c_ssize_t, ctypes.c_int):
            self._write(_INTEGER, argument)
        elif type_ is not ctypes.c_void_p:
            self._write(_STRUCTURE, ctypes.sizeof(argument))
            self._file.write(bytes(argument))
        elif not argument:
            self._write(_NOTHING)
        else:
            self._write(_ARRAY, len(before))
            self._file.write(before)
            self._file.write(self._bytes(type_, argument))

    def _write(self, *values: int) -> None:
        self._file.write(struct.pack(f"<{len(values)}q", *values))


class _Library:
    def __init__(self, library: Any, recorded: Callable[..., Any]) -> None:
        self._library, self._recorded = library, recorded

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, name)
        return self._recorded(name, function) if name in _FUNCTIONS else function
