"""Time a callable honestly: warm-up detected and kept, raw times in order, nothing dropped.

Before each iteration, outside its marks, every element of its inputs is changed: nobody can answer
from memory, and the iteration finds its inputs freshly written, as in training, where the layer
before has just written them. One set of inputs is changed in place, so a sample is one iteration.
"""

import gc
import random
import time
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

# CLOCK_MONOTONIC: on Linux the same clock as perf_counter, and the one that power traces use.
CLOCK = time.monotonic
MIN_SAMPLES = 2
MAX_SAMPLES = 100000
# Quicker iterations need no pauses: no sensor keeps in step with them for long.
MIN_PAUSE_S, MAX_PAUSE_S = 0.002, 0.25
STRETCHES = 4  # of a window with bursts of changes between them
SETTLED_WIDTH = 5
SETTLED_TOLERANCE = 0.05
SETTLED_S = (
    0.005  # of quick iterations more are run: the first hundreds of microseconds tell little
)

_unforeseeable = random.SystemRandom()


class Iteration(NamedTuple):
    """What is timed, and what is done around it, outside the clock.

    Attributes:
        run: does the work and returns its results.
        change: changes every element of the inputs.
        consume: reads some of the results, so that nothing lazy stays undone.
        keep: returns copies of inputs and results, to be verified later; None without memory.
    """

    run: Callable[[], Any]
    change: Callable[[], None] = lambda: None
    consume: Callable[[Any], Any] = lambda results: None
    keep: Callable[[Any], Any] = lambda results: None


class PhaseTiming(NamedTuple):
    """One window: seconds per iteration in order, each timed from its own start.

    ``loops`` iterations make a sample, always one today; ``sets`` of inputs take turns.
    ``changes_s`` are bursts within the window in which inputs were changed and nothing else was
    done: the power that they show is taken out of the joules of the iterations.
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

    ``last`` are the results of the last timed iteration, whose inputs are as it saw them;
    ``consumed`` is what was read of them right after it had returned; ``kept`` are copies of the
    inputs and results of one iteration within the window, None where there was no memory for them.
    ``began_s`` is when the warm-up began.
    """

    timing: PhaseTiming
    last: Any
    consumed: Any
    kept: Any
    began_s: float


def measure(
    iteration: Iteration,
    synchronize: Callable[[], None],
    min_window_s: float,
    clock: Callable[[], float] = CLOCK,
    pauses: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    busy: bool = False,
    changes_s: float = 0.0,
) -> Window:
    """Warm the iteration up until its times settle, then time it for at least ``min_window_s``.

    The window holds the changes of the inputs too; with ``busy`` it goes on until the iterations
    alone have taken that long, as joules want it. The device is synchronised before every mark.
    With ``pauses`` iterations are apart by up to one iteration more, at random, so that no sensor
    runs in step with them. At an instant that nobody can foresee one iteration is kept. With
    ``changes_s``, the window is in STRETCHES equal parts, and between two of them inputs are
    changed for so long and nothing else is done.
    """
    began = clock()
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
        taken = 0.0
        keep_at: Optional[float] = _unforeseeable.uniform(0.0, min_window_s)
        while (taken < min_window_s or len(times) < MIN_SAMPLES) and len(times) < MAX_SAMPLES:
            results = None  # freed outside the clock, before the inputs change
            if changes_s and taken * STRETCHES >= min_window_s * (len(bursts) + 1):
                bursts.append(watch_changes(iteration, synchronize, changes_s, clock))
            iteration.change()
            if pauses and times and times[-1] >= MIN_PAUSE_S:
                sleep(random.uniform(0.0, min(times[-1], MAX_PAUSE_S)))
            synchronize()
            begin = clock()
            results = iteration.run()
            synchronize()
            now = clock()
            consumed = iteration.consume(results)
            starts.append(begin)
            times.append(now - begin)
            taken = taken + times[-1] if busy else now - start
            if keep_at is not None and taken >= keep_at:
                kept, keep_at = iteration.keep(results), None
    finally:
        gc.enable()
    timing = PhaseTiming(1, warmup, times, (start, now), starts, changes_s=tuple(bursts))
    return Window(timing, results, consumed, kept, began)


def watch_changes(
    iteration: Iteration,
    synchronize: Callable[[], None],
    duration_s: float,
    clock: Callable[[], float] = CLOCK,
) -> Tuple[float, float]:
    """Change the inputs again and again for so long and do nothing else; return the window."""
    synchronize()
    start = now = clock()
    while now - start < duration_s:
        iteration.change()
        synchronize()
        now = clock()
    return start, now


def settled(times: List[float]) -> bool:
    """Tell whether the last two adjacent windows of samples agree in their medians."""
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
        if now - start >= budget_s or (sum(times[1:]) >= SETTLED_S and settled(times)):
            return times


def _median(values: List[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return 0.5 * (ordered[middle - 1] + ordered[middle])
