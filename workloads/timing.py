"""Time a callable honestly: warm-up detected and kept, raw times in order, nothing dropped."""

import gc
import random
import time
from typing import Callable, List, NamedTuple, Optional, Tuple

# CLOCK_MONOTONIC: on Linux the same clock as perf_counter, and the one that power traces use.
CLOCK = time.monotonic
MIN_SAMPLE_S = 0.0005
MIN_SAMPLES = 2
MAX_SAMPLES = 100000
# Quicker iterations need no pauses: no sensor keeps in step with them for long.
MIN_PAUSE_S, MAX_PAUSE_S = 0.002, 0.25
SETTLED_WIDTH = 5
SETTLED_TOLERANCE = 0.05


class PhaseTiming(NamedTuple):
    """One window: seconds per iteration in order; ``loops`` iterations a sample.

    Samples are back to back, unless there are pauses between them: then ``starts_s`` has the
    instant at which each began.
    """

    loops: int
    warmup_s: List[float]
    times_s: List[float]
    window_s: Tuple[float, float]
    starts_s: Optional[List[float]] = None


def measure(
    run: Callable[[], None],
    synchronize: Callable[[], None],
    min_window_s: float,
    clock: Callable[[], float] = CLOCK,
    pauses: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> PhaseTiming:
    """Warm ``run`` up until its times settle, then time it for at least ``min_window_s``.

    The device is synchronised before every mark. A sample covers ``loops`` iterations, as many as
    the clock needs to be negligible; all times are seconds per iteration. With ``pauses`` the
    samples are apart by up to one iteration, at random, so that no sensor runs in step with them.
    """
    loops, warmup = _warm_up(run, synchronize, min_window_s, clock)
    gc.collect()
    gc.disable()
    try:
        times: List[float] = []
        starts: List[float] = []
        synchronize()
        start = mark = clock()
        while (mark - start < min_window_s or len(times) < MIN_SAMPLES) and (
            len(times) < MAX_SAMPLES
        ):
            if pauses and times and times[-1] >= MIN_PAUSE_S:
                sleep(random.uniform(0.0, min(times[-1], MAX_PAUSE_S)))
                mark = clock()
            for _ in range(loops):
                run()
            synchronize()
            now = clock()
            starts.append(mark)
            times.append((now - mark) / loops)
            mark = now
    finally:
        gc.enable()
    return PhaseTiming(loops, warmup, times, (start, mark), starts if pauses else None)


def settled(times: List[float]) -> bool:
    """Tell whether the last two adjacent windows of samples agree in their medians."""
    if len(times) < 2 * SETTLED_WIDTH:
        return False
    before = _median(times[-2 * SETTLED_WIDTH : -SETTLED_WIDTH])
    after = _median(times[-SETTLED_WIDTH:])
    return abs(after - before) <= SETTLED_TOLERANCE * before


def _warm_up(
    run: Callable[[], None],
    synchronize: Callable[[], None],
    budget_s: float,
    clock: Callable[[], float],
) -> Tuple[int, List[float]]:
    """Return the loops per sample and the warm-up times; ends at the budget, settled or not.

    The first call loads libraries and builds what they cache: it does not count in the budget.
    """
    loops = 1
    times: List[float] = []
    synchronize()
    start = None
    while True:
        begin = clock()
        for _ in range(loops):
            run()
        synchronize()
        now = clock()
        times.append((now - begin) / loops)
        if start is None:
            start = now
            continue
        if now - begin < MIN_SAMPLE_S:
            loops *= 2
            continue
        if now - start >= budget_s or settled(times):
            return loops, times


def _median(values: List[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return 0.5 * (ordered[middle - 1] + ordered[middle])
