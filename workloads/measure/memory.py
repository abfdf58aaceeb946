"""Memory of one training step, in figures that are kept apart and never added.

saved_bytes        what autograd keeps for the backward, parameters left out
peak_rss_bytes     the process's high-water mark over a baseline taken before any data exists
cuda_peak_bytes    the CUDA allocator's peak, None without CUDA
system_dip_bytes   how far the system's available memory fell: on boards whose GPU shares the
                   memory it holds what the process's own figures cannot see
"""

import contextlib
import ctypes
import gc
import threading
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

from workloads.machine.proc import available_bytes, reset_high_water_mark, rss_bytes
from workloads.spec.messages import Block, to_json

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
    alone makes runs of the same code differ by a third. Returns the settings, for the journal.
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


class AvailableDip:
    """Watch the system's available memory in a thread and keep the lowest value seen."""

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
        """Return how far it fell, at least 0; None where the system does not report it."""
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


def measure_memory(block: Block) -> Dict[str, Any]:
    """Measure the memory of one step: it does not depend on how often the step is repeated."""
    import torch

    from workloads.measure.layer import prepare, tiny

    cuda = block.case.device.startswith("cuda")
    # Load libraries and start thread pools first: their memory does not belong to the step.
    with contextlib.suppress(NotImplementedError):  # by a user's kernel, of so small a map
        prepare(tiny(block.case), block.seed).step()
    gc.collect()
    baseline = rss_bytes()
    with AvailableDip() as dip:
        work = prepare(block.case, block.seed)
        work.step()
        work.synchronize()
        gc.collect()
        was_reset = reset_high_water_mark()
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        work.step()
        work.synchronize()
        peak = rss_bytes("VmHWM")
    peak_rss_bytes = None
    if peak is not None and baseline is not None:
        peak_rss_bytes = max(0, peak - baseline)
    figures = Memory(
        saved_bytes=saved_bytes(work.forward, work.parameters),
        peak_rss_bytes=peak_rss_bytes,
        peak_rss_method="VmHWM after clear_refs" if was_reset else "VmHWM since the start",
        cuda_peak_bytes=int(torch.cuda.max_memory_allocated()) if cuda else None,
        system_dip_bytes=dip.bytes,
    )
    return {"memory": to_json(figures), "allocator": {"defaults": True}}
