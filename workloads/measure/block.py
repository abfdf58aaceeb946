"""One block: a fresh process warms up and measures one case, of one kind.

timing     windows of forward, backward and step, raw times kept
memory     bytes saved for the backward and the peaks of a step
by_layer   seconds and saved bytes of a network's step, layer by layer
fidelity   the method's gradients against the exact ones, in the same process
check      a kernel's gradients against float64, before it is timed
roofline   the machine's own bandwidths and rate, once a round: the floor's input
sentinel   a short window of step of a small case that is the same in every run

torch is imported inside the functions: a forked block finds it imported, a probe never pays.
"""

import contextlib
import gc
import os
import time
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from workloads.machine.causes import remedy_of_error, with_remedy
from workloads.measure import memory, timing
from workloads.spec.layers import SENTINEL_WINDOW_S
from workloads.spec.messages import Block, to_json

# The block's own clocks, taken before any kernel is loaded, to compare those of timed code with.
_CLOCK, _CPU_CLOCK = time.monotonic, time.process_time
CLOCK_TOLERANCE_S, CLOCK_TOLERANCE = 0.05, 0.05
CHANGES_SHARE = 0.25  # of a window: how long each burst of changes in it is
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


class Settings(NamedTuple):
    """How a job wants its windows; the fields are those of ``Job``."""

    min_window_s: float
    pauses: bool = False
    energy: bool = False


def load() -> None:
    """Import what a block needs, and let the garbage collector leave it alone from now on.

    Otherwise every collection visits all of torch's objects, and in a forked child copies them.
    """
    import torch

    from workloads.measure import by_layer, prepare, verification  # noqa: F401

    with contextlib.suppress(ImportError):  # torch >= 2: what its first backward would import
        import torch.fx.experimental.symbolic_shapes  # noqa: F401
    gc.collect()
    freeze = getattr(gc, "freeze", None)  # Python >= 3.7
    if freeze is not None:
        freeze()


def run_block(block: Block, threads: int, settings: Settings) -> Dict[str, Any]:
    """Measure one block and return its part of the journal record; never raises."""
    try:
        load()
        cpus = _use_threads(threads)
        record = KINDS[block.kind](block, settings)
        record.update(status="ok", reason=None, threads=threads, cpus=cpus, pid=os.getpid())
    except Exception as error:
        reason = "%s: %s" % (type(error).__name__, error)
        remedy = remedy_of_error(reason)  # of what only sounds like a lack of memory, too
        out_of_memory = remedy is None and _is_out_of_memory(error)
        record = {
            "status": "out_of_memory" if out_of_memory else "failed",
            "reason": with_remedy(reason, remedy),
            "traceback": traceback.format_exc()[-8000:],
            "pid": os.getpid(),
        }
        if type(error).__name__ == "KernelRefused":  # its module imports torch, which may be absent
            record.update(refused=True, reason=str(error))
    record.update(ended_s=_CLOCK(), cpu_s=_CPU_CLOCK())
    return record


def measure_timing(
    block: Block, settings: Settings, phases: Optional[Sequence[str]] = None
) -> Dict[str, Any]:
    """Time each phase, then find out whether the work was done while the clock ran.

    Args:
        block: whose case is timed.
        settings: of the windows.
        phases: None for all that the case has.
    """
    from workloads.measure.prepare import prepare

    allocator = memory.keep_freed_memory()
    work = prepare(block.case, block.seed)
    timed: Dict[str, Any] = {}
    spans: Dict[str, List[float]] = {}
    verified: Dict[str, Any] = {}
    changes_s = 0.0
    if settings.energy and not settings.pauses:
        # With pauses, sensors are read inside the iterations alone: no power of changes is needed.
        changes_s = CHANGES_SHARE * settings.min_window_s
    for phase in phases or block.case.phases:
        begin = _CLOCK()
        window = timing.measure(
            work.iteration(phase),
            work.synchronize,
            settings.min_window_s,
            pauses=settings.pauses,
            busy=settings.energy,
            changes_s=changes_s,
            witness=_CLOCK,
        )
        spans[phase] = [begin, _CLOCK()]
        _require_own_clock(block, phase, window)
        verified[phase] = _verified(block, work, phase, window)
        timed[phase] = to_json(window.timing)
    record = {"timing": timed, "spans": spans, "verified": verified, "allocator": allocator}
    return dict(record, **work.facts)


def measure_memory(block: Block, settings: Settings) -> Dict[str, Any]:
    """Measure the memory of one step."""
    return memory.measure_memory(block)


def measure_fidelity(block: Block, settings: Settings) -> Dict[str, Any]:
    """Compare the method's gradients with the exact ones."""
    from workloads.measure import fidelity, network

    if block.case.is_network:
        return network.fidelity(block.case, block.seed)
    return {"fidelity": fidelity.layer_fidelity(block.case, block.seed)}


def measure_by_layer(block: Block, settings: Settings) -> Dict[str, Any]:
    """Find out where a network's step goes; hooks make it slower than the timed one."""
    from workloads.measure import network

    allocator = memory.keep_freed_memory()
    return {"by_layer": network.by_layer(block.case, block.seed), "allocator": allocator}


def check_kernel(block: Block, settings: Settings) -> Dict[str, Any]:
    """Compare the kernel's gradients with those of kernel torch in float64."""
    from workloads.measure.check import check

    return {"check": check(block.case, block.seed)}


def measure_machine(block: Block, settings: Settings) -> Dict[str, Any]:
    """Measure the machine's own bandwidths and rate, whatever the case is."""
    from workloads.measure.roofline import measure_roofline

    return measure_roofline()


def measure_sentinel(block: Block, settings: Settings) -> Dict[str, Any]:
    """Time a short window of the step alone."""
    short = Settings(min(settings.min_window_s, SENTINEL_WINDOW_S))
    return measure_timing(block, short, phases=("step",))


KINDS: Dict[str, Callable[[Block, Settings], Dict[str, Any]]] = {
    "timing": measure_timing,
    "memory": measure_memory,
    "fidelity": measure_fidelity,
    "by_layer": measure_by_layer,
    "check": check_kernel,
    "roofline": measure_machine,
    "sentinel": measure_sentinel,
}


def _verified(block: Block, work: Any, phase: str, window: timing.Window) -> Dict[str, Any]:
    """Compare timed results with the reference; also examine a user's kernel for side effects.

    Raises:
        KernelRefused: the work was not done, or not while the clock ran.
    """
    from workloads.kernels import is_users
    from workloads.measure.examination import examine, refuse_late_writes, rest
    from workloads.measure.verification import refuse_same

    case = block.case
    seen = work.inputs(phase)
    iteration = work.iteration(phase)
    late_cpu_s = None
    if is_users(case.kernel):
        late_cpu_s = rest()
    refuse_late_writes(case.kernel, phase, iteration, window)
    if window.kept is not None:
        refuse_same(case, phase, seen, window.last, window.kept)
    errors = [work.verify(phase, seen, window.last)]
    if window.kept is not None:
        errors.append(work.verify(phase, window.kept.inputs, window.kept.results))
    if is_users(case.kernel):
        examine(case.kernel, phase, iteration, work.synchronize, window)
    return {"iterations": len(errors), "error": max(errors), "late_cpu_s": late_cpu_s}


def _require_own_clock(block: Block, phase: str, window: timing.Window) -> None:
    """Refuse times that were taken by another clock than the block's own.

    Raises:
        KernelRefused: the phase took longer or shorter than the clock that timed it says.
    """
    from workloads.measure.check import KernelRefused

    own_s = window.witnessed_s[1] - window.witnessed_s[0]
    claimed_s = window.span_s[1] - window.span_s[0]
    if abs(own_s - claimed_s) > CLOCK_TOLERANCE_S + CLOCK_TOLERANCE * own_s:
        raise KernelRefused(
            "kernel %s: the clock that timed the %s counted %.3g s, the block's own %.3g s: "
            "something has replaced the clock" % (block.case.kernel, phase, claimed_s, own_s)
        )


def _use_threads(threads: int) -> Optional[List[int]]:
    """Set torch's threads and pin the process to as many processors.

    Returns the processors; None where the system does not allow it.
    """
    import torch

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        # A float32 case is measured in float32, in every method alike.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    from workloads.machine.processors import processors

    try:
        os.sched_setaffinity(0, processors()[:threads])
        return sorted(os.sched_getaffinity(0))
    except OSError:
        return None


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in text for phrase in OUT_OF_MEMORY)
