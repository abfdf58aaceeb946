"""Memory of one training step, in figures that are kept apart and never added.

saved_bytes        what autograd keeps for the backward, parameters left out
peak_rss_bytes     the process's high-water mark over a baseline taken before any data exists
cuda_peak_bytes    the CUDA allocator's peak, None without CUDA
system_dip_bytes   how far the system's available memory fell: on boards whose GPU shares the
                   memory it holds what the process's own figures cannot see

inference_peak_rss_bytes and inference_cuda_peak_bytes are the peaks of a forward alone, of which
nothing is saved: the floor of a step's.
"""

import contextlib
import ctypes
import gc
import threading
import time
from typing import Any, Callable, Dict, NamedTuple, Optional

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
    inference_peak_rss_bytes: Optional[int]
    inference_cuda_peak_bytes: Optional[int]


class Peak(NamedTuple):
    """The peaks of one call; None means not measured."""

    rss_bytes: Optional[int] = None
    rss_method: Optional[str] = None
    cuda_bytes: Optional[int] = None


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


def measure_memory(block: Block) -> Dict[str, Any]:
    """Measure the memory of one step: it does not depend on how often the step is repeated."""
    from workloads.measure.prepare import prepare, tiny
    from workloads.measure.saved import saved_bytes

    cuda = block.case.device.startswith("cuda")
    # Load libraries and start thread pools first: their memory does not belong to the step.
    with contextlib.suppress(NotImplementedError):  # by a user's kernel, of so small a map
        prepare(tiny(block.case), block.seed).step()
    gc.collect()
    baseline = rss_bytes()
    inference = Peak()
    with AvailableDip() as dip:
        work = prepare(block.case, block.seed)
        if work.inference is not None:
            inference = peak_of(work.inference, work.synchronize, baseline, cuda)
        step = peak_of(work.step, work.synchronize, baseline, cuda)
    figures = Memory(
        saved_bytes=saved_bytes(work.saving or work.forward, work.parameters),
        peak_rss_bytes=step.rss_bytes,
        peak_rss_method=step.rss_method,
        cuda_peak_bytes=step.cuda_bytes,
        system_dip_bytes=dip.bytes,
        inference_peak_rss_bytes=inference.rss_bytes,
        inference_cuda_peak_bytes=inference.cuda_bytes,
    )
    return {"memory": to_json(figures), "allocator": {"defaults": True}}


def peak_of(
    call: Callable[[], Any], synchronize: Callable[[], None], baseline: Optional[int], cuda: bool
) -> Peak:
    """Return the peaks of a call's second run; the first builds what is cached.

    Where the process's high-water mark cannot be set back, it is that of all that ran before, so
    the call that takes least goes first.

    Args:
        call: what is measured.
        synchronize: waits for the device.
        baseline: the process's resident bytes before any data existed; None where not known.
        cuda: whether the call allocates on a GPU.
    """
    import torch

    call()
    synchronize()
    gc.collect()
    was_reset = reset_high_water_mark()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    call()
    synchronize()
    high = rss_bytes("VmHWM")
    return Peak(
        rss_bytes=None if high is None or baseline is None else max(0, high - baseline),
        rss_method="VmHWM after clear_refs" if was_reset else "VmHWM since the start",
        cuda_bytes=int(torch.cuda.max_memory_allocated()) if cuda else None,
    )
