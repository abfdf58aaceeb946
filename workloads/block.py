"""One block: a fresh process warms up and measures one case, of one kind.

timing     windows of forward, backward and step, raw times kept
memory     bytes saved for the backward and the peaks of a step
fidelity   the method's gradients against the exact ones, in the same process
check      a user's kernel against float64, before it is timed
roofline   the machine's own bandwidths and rate, once a round: the floor's input
sentinel   a short window of step of a small case that is the same in every run

torch is imported inside the functions: a forked block finds it imported, a probe never pays.
"""

import contextlib
import gc
import os
import time
import traceback
from typing import Any, Callable, Dict, List, Optional, Sequence

from workloads import memory, timing
from workloads.catalog import SENTINEL_WINDOW_S
from workloads.messages import PHASES, Block, to_json

# The block's own clocks, taken before any kernel is loaded, to hold others against.
_CLOCK, _CPU_CLOCK = time.monotonic, time.process_time
CLOCK_TOLERANCE_S, CLOCK_TOLERANCE = 0.05, 0.05
CHANGES_SHARE = 0.25  # of a window: how long each burst of changes in it is
OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory")


def load() -> None:
    """Import what a block needs, and let the garbage collector leave it alone from now on.

    Otherwise every collection walks all of torch's objects, and in a forked child copies them.
    """
    import torch

    from workloads import fidelity, verification, work  # noqa: F401

    with contextlib.suppress(ImportError):  # torch >= 2: what its first backward would import
        import torch.fx.experimental.symbolic_shapes  # noqa: F401
    gc.collect()
    freeze = getattr(gc, "freeze", None)  # Python >= 3.7
    if freeze is not None:
        freeze()


def run_block(
    block: Block, min_window_s: float, threads: int, pauses: bool = False, energy: bool = False
) -> Dict[str, Any]:
    """Measure one block and return its part of the journal record; never raises.

    ``pauses`` asks for random pauses between iterations, for the sake of sensors that show
    instants; ``energy`` for windows in which the iterations alone are long enough, and for windows
    of changes alone.
    """
    measures: Dict[str, Callable[[], Dict[str, Any]]] = {
        "timing": lambda: _timing(block, min_window_s, pauses, energy),
        "memory": lambda: _memory(block),
        "fidelity": lambda: _fidelity(block),
        "check": lambda: _check(block),
        "roofline": _roofline,
        "sentinel": lambda: _timing(
            block, min(min_window_s, SENTINEL_WINDOW_S), False, False, phases=("step",)
        ),
    }
    try:
        load()
        cpus = _use_threads(threads)
        record = measures[block.kind]()
        record.update(status="ok", reason=None, threads=threads, cpus=cpus, pid=os.getpid())
    except Exception as error:
        record = {
            "status": "out_of_memory" if _is_out_of_memory(error) else "failed",
            "reason": "%s: %s" % (type(error).__name__, error),
            "traceback": traceback.format_exc()[-8000:],
            "pid": os.getpid(),
        }
        if type(error).__name__ == "KernelRefused":  # its module imports torch, which may be absent
            record.update(refused=True, reason=str(error))
    record.update(ended_s=_CLOCK(), cpu_s=_CPU_CLOCK())
    return record


def _timing(
    block: Block,
    min_window_s: float,
    pauses: bool,
    energy: bool,
    phases: Sequence[str] = PHASES,
) -> Dict[str, Any]:
    """Time each phase, then find out whether the work was done while the clock ran."""
    from workloads.work import prepare

    allocator = memory.keep_freed_memory()
    work = prepare(block.case, block.seed)
    timed: Dict[str, Any] = {}
    spans: Dict[str, List[float]] = {}
    verified: Dict[str, Any] = {}
    # What shows instants is read inside iterations alone, and needs no power of changes.
    changes_s = CHANGES_SHARE * min_window_s if energy and not pauses else 0.0
    for phase in phases:
        iteration = work.iteration(phase)
        begin = _CLOCK()
        window = timing.measure(
            iteration,
            work.synchronize,
            min_window_s,
            pauses=pauses,
            busy=energy,
            changes_s=changes_s,
        )
        spans[phase] = [begin, _CLOCK()]
        _require_own_clock(block, phase, window, spans[phase])
        verified[phase] = _verified(block, work, phase, window)
        timed[phase] = to_json(window.timing)
    return {"timing": timed, "spans": spans, "verified": verified, "allocator": allocator}


def _verified(block: Block, work: Any, phase: str, window: timing.Window) -> Dict[str, Any]:
    """Hold timed results against the reference, and look at what a kernel of a user's does beside.

    Raises:
        KernelRefused: the work was not done, or not while the clock ran.
    """
    from workloads.examination import examine, refuse_late_writes, rest
    from workloads.kernels import is_users
    from workloads.verification import refuse_same, verify

    case = block.case
    iteration = work.iteration(phase)
    late_s = rest() if is_users(case.kernel) else None
    refuse_late_writes(case.kernel, phase, iteration, window)
    if window.kept is not None:
        refuse_same(case, phase, work.inputs, window.last, window.kept)
    errors = [verify(case, phase, work.inputs, window.last)]
    if window.kept is not None:
        errors.append(verify(case, phase, window.kept.inputs, window.kept.results))
    if late_s is not None:
        examine(case.kernel, phase, iteration, work.synchronize, window)
    return {"iterations": len(errors), "error": max(errors), "late_cpu_s": late_s}


def _require_own_clock(
    block: Block, phase: str, window: timing.Window, span_s: Sequence[float]
) -> None:
    """Refuse times that were taken by another clock than the block's.

    Raises:
        KernelRefused: by the clock that timed it the phase was longer or shorter than it was.
    """
    from workloads.kernels.check import KernelRefused

    own_s, claimed_s = span_s[1] - span_s[0], window.timing.window_s[1] - window.began_s
    if abs(own_s - claimed_s) > CLOCK_TOLERANCE_S + CLOCK_TOLERANCE * own_s:
        raise KernelRefused(
            "kernel %s: by the clock that timed it the %s took %.3g s, but it took %.3g s: "
            "something has replaced the clock" % (block.case.kernel, phase, claimed_s, own_s)
        )


def _memory(block: Block) -> Dict[str, Any]:
    """One step is enough: memory does not depend on how often it is repeated."""
    import torch

    from workloads.work import prepare, tiny

    cuda = block.case.device.startswith("cuda")
    with contextlib.suppress(NotImplementedError):  # a user's kernel may not do so small a map
        prepare(tiny(block.case), block.seed).step()  # libraries and thread pools are no data
    gc.collect()
    baseline = memory.rss_bytes()
    with memory.AvailableDip() as dip:
        work = prepare(block.case, block.seed)
        work.step()
        work.synchronize()
        gc.collect()
        was_reset = memory.reset_high_water_mark()
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        work.step()
        work.synchronize()
        peak = memory.rss_bytes("VmHWM")
    saved = memory.saved_bytes(work.forward, work.parameters)
    figures = memory.Memory(
        saved_bytes=saved,
        peak_rss_bytes=None if peak is None or baseline is None else max(0, peak - baseline),
        peak_rss_method="VmHWM after clear_refs" if was_reset else "VmHWM since the start",
        cuda_peak_bytes=int(torch.cuda.max_memory_allocated()) if cuda else None,
        system_dip_bytes=dip.bytes,
    )
    return {"memory": to_json(figures), "allocator": {"defaults": True}}


def _fidelity(block: Block) -> Dict[str, Any]:
    from workloads.fidelity import layer_fidelity

    return {"fidelity": layer_fidelity(block.case, block.seed)}


def _check(block: Block) -> Dict[str, Any]:
    from workloads.kernels.check import check

    return {"check": check(block.case, block.seed)}


def _roofline() -> Dict[str, Any]:
    """Measure what fits in half of the memory there is, source and target beside each other."""
    from workloads import roofline

    available = memory.available_bytes()
    fitting = tuple(
        size for size in roofline.WORKING_SETS if available is None or 4 * size <= available
    )
    memory.keep_freed_memory()
    return {"roofline": to_json(roofline.measure(fitting or roofline.WORKING_SETS[:1]))}


def _use_threads(threads: int) -> Optional[List[int]]:
    """Set torch's threads and pin the process to as many processors; returns these."""
    import torch

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        # A float32 case is measured in float32, in every method alike.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    from workloads.processors import processors

    try:
        os.sched_setaffinity(0, processors()[:threads])
        return sorted(os.sched_getaffinity(0))
    except OSError:
        return None


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY_WORDS)
