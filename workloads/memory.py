"""Memory of one training step, in figures that are kept apart and never added.

saved_bytes        what autograd keeps for the backward, parameters left out
peak_rss_bytes     the process's high-water mark over a baseline taken before any data exists
cuda_peak_bytes    the CUDA allocator's peak, None without CUDA
system_dip_bytes   how far the system's available memory fell: on boards whose GPU shares the
                   memory it holds what the process's own figures cannot see
"""

import ctypes
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
DIP_INTERVAL_S = 0.002


class Memory(NamedTuple):
    """The figures of one memory block; None means not measured."""

    saved_bytes: Optional[int]
    peak_rss_bytes: Optional[int]
    peak_rss_method: Optional[str]
    cuda_peak_bytes: Optional[int]
    system_dip_bytes: Optional[int]


def keep_freed_memory() -> Dict[str, Any]:
    """Make malloc keep what is freed, so that timing is not the timing of page faults.

    Fresh large blocks cost a fault per page, in every method alike; with glibc's defaults that
    alone makes runs of the same code differ by a third. Returns what was set, for the journal.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return {"allocator": "unknown libc, defaults kept"}
    never_trim = mallopt(M_TRIM_THRESHOLD, -1) == 1
    never_mmap = mallopt(M_MMAP_MAX, 0) == 1
    return {
        "trim_threshold": "never" if never_trim else None,
        "mmap_max": 0 if never_mmap else None,
    }


def saved_bytes(forward: Callable[[], Any], parameters: Sequence[Any]) -> Optional[int]:
    """Return the bytes that ``forward`` saves for the backward, each storage counted once.

    Storages of ``parameters`` are left out. None where torch has no saved-tensor hooks (< 1.10).
    """
    import torch

    hooks = getattr(getattr(torch.autograd, "graph", None), "saved_tensors_hooks", None)
    if hooks is None:
        return None
    own = {storage.data_ptr() for storage in map(_storage, parameters)}
    seen: Dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = _storage(tensor)
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = _nbytes(storage)
        return tensor

    with hooks(pack, lambda tensor: tensor):
        result = forward()
    del result
    return sum(seen.values())


def rss_bytes(field: str = "VmRSS") -> Optional[int]:
    """Return a field of /proc/self/status in bytes (VmRSS: resident now, VmHWM: at most so far)."""
    return kilobytes("/proc/self/status", field)


def available_bytes() -> Optional[int]:
    """Return the system's available memory in bytes."""
    return kilobytes("/proc/meminfo", "MemAvailable")


def reset_high_water_mark() -> bool:
    """Set VmHWM back to what is resident now; False where the kernel refuses."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return True
    except OSError:
        return False


class AvailableDip:
    """Watches the system's available memory in a thread and keeps the lowest value seen."""

    def __init__(self) -> None:
        """Take the level before the watched work."""
        self._before = available_bytes()
        self._lowest = self._before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "AvailableDip":
        """Start watching."""
        if self._before is not None:
            self._thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def bytes(self) -> Optional[int]:
        """Return how far it fell, at least 0; None where the kernel does not tell."""
        if self._before is None or self._lowest is None:
            return None
        return max(0, self._before - self._lowest)

    def _watch(self) -> None:
        while not self._stop.is_set():
            level = available_bytes()
            if level is not None and self._lowest is not None:
                self._lowest = min(self._lowest, level)
            time.sleep(DIP_INTERVAL_S)


def _nbytes(storage: Any) -> int:
    """Return a storage's bytes; torch 1.10 counts its elements instead."""
    if hasattr(storage, "nbytes"):
        return int(storage.nbytes())
    return len(storage) * int(storage.element_size())


def _storage(tensor: Any) -> Any:
    return tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()


def kilobytes(path: str, field: str) -> Optional[int]:
    """Return the bytes of a ``Field:  123 kB`` line; None if there is none."""
    try:
        with open(path) as file:
            lines: List[str] = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    return None
