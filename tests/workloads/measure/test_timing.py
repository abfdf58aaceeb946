"""The measuring loop, on a clock that does not wait."""

from __future__ import annotations

import gc

import pytest
from fake_clock import FakeClock

from workloads.measure import timing
from workloads.measure.timing import Iteration, PhaseTiming, measure, settled, watch_changes


def nothing() -> None:
    """Synchronise a device that there is not."""


def timed(
    duration_s: float, *, window_s: float = 1.0, noise: float = 0.02, slow: tuple[float, ...] = ()
) -> tuple[PhaseTiming, FakeClock]:
    clock = FakeClock(noise=noise, seed=7)
    iteration = Iteration(clock.work(duration_s, slow=slow))
    return measure(iteration, nothing, window_s, clock).timing, clock


@pytest.mark.parametrize("duration_s", [10e-6, 3e-3])
def test_a_sample_is_one_iteration_since_there_is_one_set_of_inputs(duration_s: float) -> None:
    phase, _ = timed(duration_s, window_s=0.2)
    assert (phase.loops, phase.sets) == (1, 1)
    assert all(time_s == pytest.approx(duration_s, rel=0.021) for time_s in phase.times_s)


class Inputs:
    """One set of inputs, as a number that changes; remembers what each iteration saw."""

    def __init__(self, clock: FakeClock, *, change_s: float = 0.0, call_s: float = 1e-3) -> None:
        self.contents = 0
        self.seen: list[int] = []
        self._clock, self._change_s, self._call_s = clock, change_s, call_s

    def change(self) -> None:
        self.contents += 1
        self._clock.now_s += self._change_s

    def run(self) -> int:
        self.seen.append(self.contents)
        self._clock.now_s += self._call_s
        return self.contents


def test_no_iteration_sees_contents_that_an_earlier_one_has_seen() -> None:
    inputs = Inputs(clock := FakeClock())
    window = measure(Iteration(inputs.run, inputs.change), nothing, 0.1, clock)
    assert len(inputs.seen) == len(window.timing.warmup_s) + len(window.timing.times_s)
    assert len(set(inputs.seen)) == len(inputs.seen)
    assert window.last == inputs.contents  # what the last one saw is still there to be verified


def test_changes_are_outside_the_clock_and_inside_the_window() -> None:
    inputs = Inputs(clock := FakeClock(), change_s=0.004)
    phase = measure(Iteration(inputs.run, inputs.change), nothing, 1.0, clock).timing
    assert phase.times_s == pytest.approx([1e-3] * len(phase.times_s))
    assert phase.warmup_s == pytest.approx([1e-3] * len(phase.warmup_s))
    begin, end = phase.window_s
    assert end - begin == pytest.approx(0.005 * len(phase.times_s))
    assert phase.starts_s[0] == pytest.approx(begin + 0.004)


def test_where_joules_are_wanted_the_iterations_alone_fill_the_window() -> None:
    inputs = Inputs(clock := FakeClock(), change_s=0.004)
    phase = measure(Iteration(inputs.run, inputs.change), nothing, 1.0, clock, busy=True).timing
    assert sum(phase.times_s) == pytest.approx(1.0, abs=2e-3)


def test_changes_alone_are_watched_for_as_long_as_asked() -> None:
    inputs = Inputs(clock := FakeClock(), change_s=0.004)
    begin, end = watch_changes(Iteration(inputs.run, inputs.change), nothing, 0.5, clock)
    assert 0.5 <= end - begin < 0.505
    assert inputs.seen == []
    iteration = Iteration(inputs.run, inputs.change)
    phase = measure(iteration, nothing, 1.0, clock, changes_s=0.5, busy=True).timing
    assert len(phase.changes_s) == timing.STRETCHES - 1
    assert all(0.5 <= end - begin < 0.505 for begin, end in phase.changes_s)
    inside = [s for s in phase.starts_s for begin, end in phase.changes_s if begin <= s < end]
    assert inside == []
    before = sum(start < phase.changes_s[0][0] for start in phase.starts_s)
    assert before == pytest.approx(len(phase.starts_s) / 4, abs=2)


def test_results_are_consumed_after_the_clock_and_one_at_an_unforeseeable_instant_is_kept() -> None:
    kept, places = [], set()
    for _ in range(20):
        inputs = Inputs(clock := FakeClock())

        def consume(results: int, clock: FakeClock = clock) -> int:
            clock.now_s += 1e-4
            return results

        iteration = Iteration(inputs.run, inputs.change, consume, keep=lambda results: -results)
        window = measure(iteration, nothing, 0.5, clock)
        assert window.timing.times_s == pytest.approx([1e-3] * len(window.timing.times_s))
        assert window.consumed == window.last
        kept.append(-window.kept - len(window.timing.warmup_s))
        places.add(kept[-1])
    assert min(kept) > 0
    assert len(places) > 10


def test_the_window_is_at_least_as_long_as_asked() -> None:
    phase, _ = timed(7e-3, window_s=1.0)
    begin, end = phase.window_s
    assert 1.0 <= end - begin < 1.0 + 8e-3


def test_samples_lie_between_the_windows_beginning_and_its_end() -> None:
    for duration_s in (40e-6, 2e-3, 0.4):
        phase, clock = timed(duration_s)
        begin, end = phase.window_s
        assert end == clock.now_s
        assert phase.starts_s[0] >= begin
        assert sum(phase.times_s) == pytest.approx(end - begin, rel=1e-9)


def test_a_layer_slower_than_the_window_still_gives_two_samples() -> None:
    phase, _ = timed(30.0, window_s=1.0)
    assert len(phase.times_s) == timing.MIN_SAMPLES == 2
    assert phase.window_s[1] - phase.window_s[0] > 55


def test_warm_up_is_kept_apart_and_in_order() -> None:
    slow = (0.5, 0.2, 0.1)
    phase, _ = timed(2e-3, slow=slow, noise=0.0)
    assert phase.warmup_s[:4] == pytest.approx([0.502, 0.202, 0.102, 0.002])
    assert max(phase.times_s) == pytest.approx(2e-3)


def test_warm_up_lasts_until_the_times_have_settled() -> None:
    steady, _ = timed(2e-3, noise=0.0)
    slope = tuple(2e-3 * 0.8**i for i in range(40))
    cooling, _ = timed(2e-3, noise=0.0, slow=slope)
    assert len(steady.warmup_s) == 2 * timing.SETTLED_WIDTH
    assert len(cooling.warmup_s) > len(steady.warmup_s)
    assert settled(cooling.warmup_s)
    assert not settled(cooling.warmup_s[:-1])


def test_warm_up_that_never_settles_ends_at_its_budget() -> None:
    clock = FakeClock()
    durations = iter(1e-3 * 1.05**i for i in range(10_000))

    def slower_and_slower() -> None:
        clock.now_s += next(durations)

    phase = measure(Iteration(slower_and_slower), nothing, 0.5, clock).timing
    after_first = phase.warmup_s[1:]
    assert not settled(phase.warmup_s)
    assert sum(after_first) >= 0.5 > sum(after_first[:-1])


def test_the_first_call_does_not_use_up_the_warm_ups_budget() -> None:
    phase, _ = timed(2e-3, window_s=0.1, slow=(20.0,), noise=0.0)
    assert phase.warmup_s[0] > 20
    assert len(phase.warmup_s) == 2 * timing.SETTLED_WIDTH


def test_raw_times_are_in_the_order_in_which_they_were_taken() -> None:
    clock = FakeClock()
    durations = [1e-3] * 10 + [1e-3 * (1 + i / 100) for i in range(1000)]
    given = iter(durations)

    def run() -> None:
        clock.now_s += next(given)

    phase = measure(Iteration(run), nothing, 0.05, clock).timing
    first = len(phase.warmup_s)
    assert phase.times_s == pytest.approx(durations[first : first + len(phase.times_s)])


def test_the_device_is_synchronised_before_every_mark() -> None:
    clock = FakeClock()
    pending_s = 0.0

    def launch() -> None:
        nonlocal pending_s
        pending_s += 3e-3

    def synchronize() -> None:
        nonlocal pending_s
        clock.now_s += pending_s
        pending_s = 0.0

    phase = measure(Iteration(launch), synchronize, 0.1, clock).timing
    assert phase.times_s == pytest.approx([3e-3] * len(phase.times_s))


def test_a_hiccup_is_kept_not_dropped() -> None:
    hiccups = (0.0,) * 40 + (0.25,)
    phase, _ = timed(5e-3, slow=hiccups, noise=0.01)
    assert sum(time_s > 0.2 for time_s in phase.times_s) == 1


def test_samples_are_limited_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_SAMPLES", 50)
    phase, _ = timed(1e-3, window_s=1.0)
    assert len(phase.times_s) == 50


def test_the_garbage_collector_is_off_in_the_window_and_on_again_after_it() -> None:
    clock = FakeClock()
    seen = []

    def run() -> None:
        seen.append(gc.isenabled())
        clock.now_s += 1e-3

    phase = measure(Iteration(run), nothing, 0.05, clock).timing
    assert seen[-len(phase.times_s) :] == [False] * len(phase.times_s)
    assert gc.isenabled()


def test_the_garbage_collector_is_on_again_after_an_error() -> None:
    clock = FakeClock()

    def run() -> None:
        clock.now_s += 1e-3
        if not gc.isenabled():
            raise RuntimeError("in the window")

    with pytest.raises(RuntimeError, match="in the window"):
        measure(Iteration(run), nothing, 0.05, clock)
    assert gc.isenabled()


def test_too_few_times_have_not_settled() -> None:
    assert not settled([1.0] * 9)
    assert settled([1.0] * 10)
    assert not settled([1.0] * 5 + [1.06] * 5)


def test_pauses_are_random_up_to_an_iteration_and_outside_the_marks() -> None:
    clock = FakeClock()
    work = Iteration(clock.work(0.04))
    phase = measure(work, nothing, 40.0, clock, pauses=True, sleep=clock.sleep).timing
    assert len(phase.starts_s) == len(phase.times_s)
    assert phase.times_s == pytest.approx([0.04] * len(phase.times_s))
    gaps = [
        after - before - 0.04
        for before, after in zip(phase.starts_s, phase.starts_s[1:], strict=False)
    ]
    assert min(gaps) < 0.004 < 0.036 < max(gaps) < 0.04 + 1e-9
    assert phase.window_s[1] == pytest.approx(phase.starts_s[-1] + 0.04)


def test_long_iterations_pause_shortly_and_quick_ones_not_at_all() -> None:
    clock = FakeClock()
    work = Iteration(clock.work(2.0))
    measure(work, nothing, 100.0, clock, pauses=True, sleep=clock.sleep)
    assert 0 < max(clock.slept_s) <= 0.25
    quick = FakeClock()
    work = Iteration(quick.work(0.001))
    measure(work, nothing, 1.0, quick, pauses=True, sleep=quick.sleep)
    assert quick.slept_s == []
