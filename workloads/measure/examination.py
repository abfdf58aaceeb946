"""Look for what a user's kernel does after it has returned, or instead of its work.

This runs in the block's own process when a phase has been timed. It distinguishes three things by
their effect on the clock and the processor when calls follow each other without a change or a rest:

an answer from memory    a call on inputs that the kernel has seen is quicker than one on new inputs
work left for later      a call right after another is slower than one after a rest, or the
                         processor time that is used after the calls grows with their number
a pool that spins        uses processor time after a call too, but no more after many: not refused
"""

import os
import time
from typing import Callable, List, Optional

from workloads.measure.check import KernelRefused
from workloads.measure.timing import Iteration, Window
from workloads.measure.verification import tensors_of

ATTEMPTS = 3  # on a machine with other users an honest kernel may look like a cheat once
ROUNDS, CALLS = 7, 8
LONG_S = 2.0  # calls longer than that are examined in one round
FACTOR = 3.0  # between the times of calls that should take the same
LEAST_DIFFERENCE_S = 20e-6
# A burst long enough to distinguish work from spinning: a pool spins once, for some ten ms at most.
BURST_S, BURST_BYTES = 0.3, 256 * 2**20
LATE_SHARE, LEAST_LATE_S = 0.25, 0.05
REST_S = 0.01
MAX_REST_S = 1.0
IDLE_SHARE = 0.05


def rest(
    clock: Callable[[], float] = time.monotonic,
    cpu_clock: Callable[[], float] = time.process_time,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Wait until this process is idle; return the processor time in s that it used until then."""
    begin_s, begin_cpu_s = clock(), cpu_clock()
    while True:
        before_s, before_cpu_s = clock(), cpu_clock()
        sleep(REST_S)
        idle = cpu_clock() - before_cpu_s < IDLE_SHARE * (clock() - before_s)
        if idle or clock() - begin_s > MAX_REST_S:
            return cpu_clock() - begin_cpu_s


def refuse_late_writes(name: str, phase: str, iteration: Iteration, window: Window) -> None:
    """Refuse results that are no longer what they were when the last timed call returned.

    Raises:
        KernelRefused: something has written to them since.
    """
    if repr(iteration.consume(window.last)) != repr(window.consumed):
        raise KernelRefused(
            "kernel %s wrote to the results of a timed %s after it had returned: its work goes on "
            "after the clock has stopped" % (name, phase)
        )


def examine(
    name: str,
    phase: str,
    iteration: Iteration,
    synchronize: Callable[[], None],
    window: Window,
    clock: Callable[[], float] = time.monotonic,
    resting: Callable[[], float] = rest,
) -> None:
    """Refuse a kernel that answers from memory or leaves work for later in each of ATTEMPTS.

    Args:
        name: the kernel's.
        phase: the phase that was timed.
        iteration: the phase's calls.
        synchronize: waits for the device.
        window: the timed window.
        clock: returns seconds.
        resting: waits until the process is idle and returns its processor time, as ``rest``.

    Raises:
        KernelRefused: the message says what the last attempt showed.
    """

    def call() -> float:
        synchronize()
        begin = clock()
        iteration.run()
        synchronize()
        return clock() - begin

    for _ in range(ATTEMPTS):
        complaint = _memory(iteration, call, window)
        complaint = complaint or _leftover(iteration, call, window, resting)
        if complaint is None:
            break
    else:
        raise KernelRefused("kernel %s, %s: %s" % (name, phase, complaint))
    _refuse_other_processes(name)


def _memory(iteration: Iteration, call: Callable[[], float], window: Window) -> Optional[str]:
    """Compare calls on new inputs with those that follow on the same; return what is wrong."""
    fresh: List[float] = []
    again: List[float] = []
    for _ in range(1 if _median(window.timing.times_s) > LONG_S else ROUNDS):
        iteration.change()
        fresh.append(call())
        again += [call() for _ in range(CALLS - 1)]
    if FACTOR * _median(again) < min(fresh) - LEAST_DIFFERENCE_S:
        return (
            "a call takes %s on inputs that it has just seen but %s on new ones: it answers from "
            "memory" % (_time(_median(again)), _time(min(fresh)))
        )
    if min(again) > FACTOR * _median(fresh) + LEAST_DIFFERENCE_S:
        return (
            "a call takes %s right after another one but %s after a pause: it leaves work for the "
            "time after it has returned" % (_time(min(again)), _time(_median(fresh)))
        )
    return None


def _leftover(
    iteration: Iteration, call: Callable[[], float], window: Window, resting: Callable[[], float]
) -> Optional[str]:
    """Compare the processor time used after one call and after many; return what is wrong."""
    results = tensors_of(window.last)
    bytes_of_results = sum(tensor.numel() * tensor.element_size() for tensor in results)
    calls_in_time = BURST_S / max(_median(window.timing.times_s), 1e-9)
    calls_in_memory = BURST_BYTES / max(bytes_of_results, 1)
    calls = max(CALLS, int(min(calls_in_time, calls_in_memory)))
    iteration.change()
    call()
    after_one_s = resting()
    iteration.change()
    took_s = sum(call() for _ in range(calls))
    after_many_s = resting()
    if after_many_s - after_one_s <= max(LEAST_LATE_S, LATE_SHARE * took_s):
        return None
    return (
        "%s of processor time are used after %d calls have returned, but %s after one: it leaves "
        "work for the time after it has returned" % (_time(after_many_s), calls, _time(after_one_s))
    )


def _refuse_other_processes(name: str) -> None:
    """Refuse a kernel that has left a process behind; a block has its process group to itself."""
    own = os.getpid()
    if os.getpgrp() != own:
        return
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != own and _group(entry) == own:
            raise KernelRefused(
                "kernel %s has left process %s behind, whose work is not timed" % (name, entry)
            )


def _group(pid: str) -> int:
    """Return a process's group; -1 if the process has ended."""
    try:
        with open("/proc/%s/stat" % pid, "rb") as file:
            state, _parent, group = file.read().rpartition(b")")[2].split()[:3]
    except (OSError, ValueError):
        return -1
    return -1 if state == b"Z" else int(group)


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return "%.3g %s" % (seconds / size, unit)
    return "%.3g us" % (seconds / 1e-6)


def _median(values: List[float]) -> float:
    ordered = sorted(values)
    return 0.5 * (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2])
