"""Time a callable honestly: warm-up detected and kept, raw times in order, nothing dropped.

Before each iteration, outside its marks, every element of its inputs is changed: no kernel can
answer from memory, and the iteration finds its inputs freshly written, as in training, where the
layer before has just written them. One set of inputs is changed in place, and a sample is one
iteration.
"""

import gc
import random
import time
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

# CLOCK_MONOTONIC: on Linux the same clock as perf_counter, and the one that power traces use.
CLOCK = time.monotonic
MIN_SAMPLES = 2
MAX_SAMPLES = 100000
# Iterations shorter than MIN_PAUSE_S need no pauses: no sensor keeps in step with them for long.
MIN_PAUSE_S, MAX_PAUSE_S = 0.002, 0.25
STRETCHES = 4  # parts of a window between which there are bursts of changes
SETTLED_WIDTH = 5  # samples
SETTLED_TOLERANCE = 0.05
# The least warm-up: of quick iterations the first hundreds of microseconds say little.
SETTLED_S = 0.005

_unpredictable = random.SystemRandom()


class Iteration(NamedTuple):
    """What is timed, and what is done around it, outside the clock.

    Attributes:
        run: does the work and returns its results.
        change: changes every element of the inputs.
        consume: reads some of the results, so that nothing lazy stays undone.
        keep: returns copies of inputs and results, to be verified later; None where memory is
            short.
    """

    run: Callable[[], Any]
    change: Callable[[], None] = lambda: None
    consume: Callable[[Any], Any] = lambda results: None
    keep: Callable[[Any], Any] = lambda results: None


class PhaseTiming(NamedTuple):
    """One window, in seconds of the monotonic clock.

    Attributes:
        loops: iterations a sample, always one today.
        warmup_s: durations before the window, in order.
        times_s: durations of the samples, in order.
        window_s: begin and end of the window.
        starts_s: when each sample began.
        sets: sets of inputs that take turns, always one today.
        changes_s: begin and end of bursts in which inputs were changed and nothing else was done:
            the power that they show is taken out of the joules of the iterations.
    """

    loops: int
    warmup_s: List[float]
    times_s: List[float]
    window_s: Tuple[float, float]
    starts_s: List[float]
    sets: int = 1
    changes_s: Tuple[Tuple[float, float], ...] = ()


class Window(NamedTuple):
    """A timed phase with what is still to be verified.

    Attributes:
        timing: the times.
        last: the results of the last iteration, whose inputs are still as it saw them.
        consumed: what ``Iteration.consume`` read of these right after the iteration had returned.
        kept: what ``Iteration.keep`` returned for one iteration within the window.
        span_s: when the warm-up began and the last iteration ended.
        witnessed_s: the same two instants, read right after by the clock called witness.
    """

    timing: PhaseTiming
    last: Any
    consumed: Any
    kept: Any
    span_s: Tuple[float, float]
    witnessed_s: Tuple[float, float]


def measure(
    iteration: Iteration,
    synchronize: Callable[[], None],
    min_window_s: float,
    clock: Callable[[], float] = CLOCK,
    pauses: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    busy: bool = False,
    changes_s: float = 0.0,
    witness: Callable[[], float] = CLOCK,
) -> Window:
    """Warm the iteration up until its times settle, then time it for at least ``min_window_s``.

    The device is synchronised before every mark. One iteration, at an unpredictable instant, is
    kept.

    Args:
        iteration: what is timed.
        synchronize: waits for the device.
        min_window_s: the least length of the window, and the most of the warm-up.
        clock: returns seconds.
        pauses: sleep before each iteration, at random and at most for an iteration's time, so
            that no sensor runs in step with them.
        sleep: sleeps for seconds.
        busy: let the iterations alone take ``min_window_s``, as energy needs it; otherwise the
            changes of the inputs count too.
        changes_s: if not 0, interrupt the window between its STRETCHES equal parts, to change the
            inputs for so long and do nothing else.
        witness: a clock that the timed code cannot have replaced, to hold ``clock`` against.
    """
    began, witnessed_began = clock(), witness()
    warmup = _warm_up(iteration, synchronize, min_window_s, clock)
    gc.collect()
    gc.disable()
    try:
        times: List[float] = []
        starts: List[float] = []
        bursts: List[Tuple[float, float]] = []
        results = consumed = kept = None
        synchronize()
        start = now = clock()
        witnessed = witness()
        elapsed = 0.0  # as it counts for the window's length
        keep_at: Optional[float] = _unpredictable.uniform(0.0, min_window_s)
        while (elapsed < min_window_s or len(times) < MIN_SAMPLES) and len(times) < MAX_SAMPLES:
            results = None  # freed outside the clock, before the inputs change
            if changes_s and elapsed * STRETCHES >= min_window_s * (len(bursts) + 1):
                bursts.append(watch_changes(iteration, synchronize, changes_s, clock))
            iteration.change()
            if pauses and times and times[-1] >= MIN_PAUSE_S:
                sleep(random.uniform(0.0, min(times[-1], MAX_PAUSE_S)))
            synchronize()
            begin = clock()
            results = iteration.run()
            synchronize()
            now, witnessed = clock(), witness()
            consumed = iteration.consume(results)
            starts.append(begin)
            times.append(now - begin)
            if busy:
                elapsed += times[-1]
            else:
                elapsed = now - start
            if keep_at is not None and elapsed >= keep_at:
                kept, keep_at = iteration.keep(results), None
    finally:
        gc.enable()
    timing = PhaseTiming(1, warmup, times, (start, now), starts, changes_s=tuple(bursts))
    return Window(timing, results, consumed, kept, (began, now), (witnessed_began, witnessed))


def watch_changes(
    iteration: Iteration,
    synchronize: Callable[[], None],
    duration_s: float,
    clock: Callable[[], float] = CLOCK,
) -> Tuple[float, float]:
    """Change the inputs for ``duration_s`` and do nothing else; return when it began and ended."""
    synchronize()
    start = now = clock()
    while now - start < duration_s:
        iteration.change()
        synchronize()
        now = clock()
    return start, now


def settled(times: List[float]) -> bool:
    """Return whether the medians of the last two windows of SETTLED_WIDTH samples agree."""
    if len(times) < 2 * SETTLED_WIDTH:
        return False
    before = _median(times[-2 * SETTLED_WIDTH : -SETTLED_WIDTH])
    after = _median(times[-SETTLED_WIDTH:])
    return abs(after - before) <= SETTLED_TOLERANCE * before


def _warm_up(
    iteration: Iteration,
    synchronize: Callable[[], None],
    budget_s: float,
    clock: Callable[[], float],
) -> List[float]:
    """Return the warm-up times; ends at the budget, settled or not.

    The first call loads libraries and builds what they cache: it does not count in the budget.
    """
    times: List[float] = []
    start = None
    while True:
        iteration.change()
        synchronize()
        begin = clock()
        results = iteration.run()
        synchronize()
        now = clock()
        iteration.consume(results)
        del results
        times.append(now - begin)
        if start is None:
            start = now
            continue
        is_long_enough = sum(times[1:]) >= SETTLED_S and settled(times)
        if is_long_enough or now - start >= budget_s:
            return times


def _median(values: List[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return 0.5 * (ordered[middle - 1] + ordered[middle])
