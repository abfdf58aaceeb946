"""Tensors in memory of their own between pages that nobody may touch, and unwritten ones of NaN.

A tensor lies flush against the page after it or the page before it. What is left at its other
end holds a pattern, which is looked at when the tensor dies and whenever ``complaints`` is called.
Memory of a dead tensor is never given out again for a while: it faults.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import math
import mmap
import random
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch

GUARD = 2**20  # bytes on each side
DEAD = 256  # regions that stay unreadable for a while
PATTERN = 0xA5
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_NONE = 0
_MAKERS = ("empty", "empty_like", "empty_strided")
_METHODS = ("new_empty", "new_empty_strided")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


_dead: collections.deque[tuple[int, int]] = collections.deque()  # of all memories


class GuardedMemory:
    """Where tensors lie while ``handing_out`` holds."""

    def __init__(self, rng: random.Random) -> None:
        """Draw which end of its pages each tensor lies at from ``rng``."""
        self._rng = rng
        self._alive: dict[int, tuple[int, int, int]] = {}  # data: pages, their size, data's size
        self._found: list[str] = []

    def placed(self, tensor: torch.Tensor, *, copied: bool) -> torch.Tensor:
        """Return a tensor that lies alike in memory of its own, with the values or NaN."""
        span = _span(tensor)
        if span == 0:
            return tensor
        flat = torch.frombuffer(self._block(span * tensor.element_size()), dtype=tensor.dtype)
        made = flat.as_strided(tensor.shape, tensor.stride())
        if copied:
            flat.copy_(tensor.as_strided((span,), (1,), tensor.storage_offset()))
        return made

    def owns(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor's storage lies here."""
        return tensor.untyped_storage().data_ptr() in self._alive

    def extent(self, address: int) -> int:
        """Return the bytes from an address to the end of the tensor that it is in."""
        for data, (_, _, size) in self._alive.items():
            if data <= address < data + size:
                return data + size - address
        raise ValueError(f"{address:#x} is in no tensor that lies here")

    def complaints(self) -> list[str]:
        """Return what was written beside tensors, alive or dead, since the last call."""
        for data in list(self._alive):
            self._look(data)
        found, self._found = self._found, []
        return found

    @contextlib.contextmanager
    def handing_out(self) -> Iterator[None]:
        """Let torch hand out memory from here, and move here whatever C is to be told of."""

        def address(tensor: torch.Tensor) -> int:
            if tensor.numel() > 0 and not self.owns(tensor):
                own = self.placed(tensor, copied=True)
                tensor.set_(own.untyped_storage(), 0, tensor.shape, tensor.stride())
            return int(torch._C.TensorBase.data_ptr(tensor))

        with unwritten_is_nan(lambda made: self.placed(made, copied=False)):
            setattr(torch.Tensor, "data_ptr", address)  # noqa: B010
            try:
                yield
            finally:
                del torch.Tensor.data_ptr  # it is inherited

    def _block(self, size: int) -> ctypes.Array[ctypes.c_char]:
        pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        start = _libc.mmap(None, pages + 2 * GUARD, _NONE, flags, -1, 0)
        if start == ctypes.c_void_p(-1).value:
            raise MemoryError(f"no {pages} bytes of address space")
        first = start + GUARD
        if _libc.mprotect(first, pages, _READ_WRITE):
            raise MemoryError(f"no {pages} bytes of memory")
        data = first + self._rng.choice([0, pages - size])
        ctypes.memset(first, PATTERN, data - first)
        ctypes.memset(data, 0xFF, size)
        ctypes.memset(data + size, PATTERN, first + pages - data - size)
        self._alive[data] = (first, pages, size)
        block = (ctypes.c_char * size).from_address(data)
        weakref.finalize(block, self._bury, data).atexit = False
        return block

    def _look(self, data: int) -> None:
        first, pages, size = self._alive[data]
        for place, start, end in (
            ("before", first, data),
            ("after", data + size, first + pages),
        ):
            if ctypes.string_at(start, end - start).strip(bytes([PATTERN])):
                self._found.append(f"written {place} a tensor of {size} bytes")

    def _bury(self, data: int) -> None:
        self._look(data)
        first, pages, _ = self._alive.pop(data)
        _libc.mprotect(first, pages, _NONE)
        _libc.madvise(first, pages, mmap.MADV_DONTNEED)
        _dead.append((first, pages))
        while len(_dead) > DEAD:
            first, pages = _dead.popleft()
            _libc.munmap(first - GUARD, pages + 2 * GUARD)


class PlainMemory:
    """The same of memory as malloc gives it, which sanitizers watch; unwritten memory is of NaN."""

    def placed(self, tensor: torch.Tensor, *, copied: bool) -> torch.Tensor:
        """Return a tensor that lies alike in memory of its own, with the values or NaN."""
        flat = torch.full((_span(tensor),), math.nan, dtype=tensor.dtype)
        if copied:
            flat.copy_(tensor.as_strided(flat.shape, (1,), tensor.storage_offset()))
        return flat.as_strided(tensor.shape, tensor.stride())

    def complaints(self) -> list[str]:
        """Return nothing: a sanitizer would have spoken."""
        return []

    @contextlib.contextmanager
    def handing_out(self) -> Iterator[None]:
        """Let torch hand out memory that is full of NaN."""
        with unwritten_is_nan(_all_bits_set):
            yield


Memory = GuardedMemory | PlainMemory


@contextlib.contextmanager
def unwritten_is_nan(place: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Hand what torch makes unwritten through ``place``."""

    def through(make: Any) -> Any:
        return lambda *arguments, **options: place(make(*arguments, **options))

    kept = {name: getattr(torch, name) for name in _MAKERS}
    for name, make in kept.items():
        setattr(torch, name, through(make))
    for name in _METHODS:
        setattr(torch.Tensor, name, through(getattr(torch.Tensor, name)))
    try:
        yield
    finally:
        for name, make in kept.items():
            setattr(torch, name, make)
        for name in _METHODS:
            delattr(torch.Tensor, name)  # it is inherited


def _all_bits_set(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.fill_(math.nan if tensor.is_floating_point() else 0xFF)


def _span(tensor: torch.Tensor) -> int:
    """Return the elements from the first to the last one of a tensor in its storage."""
    if tensor.numel() == 0:
        return 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return 1 + sum((size - 1) * step for size, step in steps)
