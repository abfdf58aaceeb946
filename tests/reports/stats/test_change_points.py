"""The bounds below are the issue's: see docs/dashboard.md for the table by length and noise."""

from __future__ import annotations

import numpy as np
import pytest

from reports.stats.change_points import (
    MIN_SEGMENT,
    Floats,
    analyse,
    change_points,
    tail_alarm,
    tail_alarms,
)

NOISE = 0.01
STEP = 3 * NOISE


def quiet(seed: int, *shape: int) -> Floats:
    return NOISE * np.random.default_rng(seed).standard_normal(shape)


def found_online(seed: int, series: int, before: int) -> float:
    """Return the share of steps for which an alarm is up by the second run after the first."""
    points = quiet(seed, series, before + 3)
    signs = np.where(np.arange(series) % 2, 1, -1)
    points[:, before:] += STEP * signs[:, None]
    return float(np.mean((tail_alarms(points[:, :-1]) > 0) | (tail_alarms(points) > 0)))


def test_a_step_of_three_times_the_noise_is_found_within_two_runs() -> None:
    assert found_online(seed=1, series=1500, before=100) >= 0.95


def test_quiet_runs_raise_less_than_one_alarm_in_a_thousand() -> None:
    series, runs = 60, 1000
    points = quiet(2, series, runs)
    up = np.stack([tail_alarms(points[:, : end + 1]) > 0 for end in range(11, runs)], axis=1)
    raised = np.count_nonzero(up[:, 0]) + np.count_nonzero(up[:, 1:] & ~up[:, :-1])
    assert raised / up.size <= 1e-3
    settled = [len(analyse(row[:300]).shifts) for row in points]
    assert sum(settled) / (series * 300) <= 1e-3


def test_a_settled_step_is_within_two_runs_of_where_it_was_planted() -> None:
    close = 0
    for seed in range(200):
        at = 20 + seed % 41
        points = quiet(seed, 80)
        points[at:] -= STEP
        places = [step.at for step in analyse(points).shifts if step.settled]
        close += len(places) == 1 and abs(places[0] - at) <= 2
    assert close >= 190


def test_a_step_is_told_with_its_size_and_the_levels_around_it() -> None:
    points = quiet(3, 60)
    points[40:] += 0.1
    analysis = analyse(points)
    (step,) = analysis.shifts
    assert (step.at, step.settled) == (40, True)
    assert step.low < 0.1 < step.high
    assert step.high - step.low < 2 * NOISE
    first, second = analysis.segments
    assert (first.first, first.end, second.end) == (0, 40, 60)
    assert first.low is not None
    assert first.low < first.centre < NOISE
    assert second.centre == pytest.approx(0.1, abs=NOISE)


def test_the_same_series_gives_the_same_answer() -> None:
    points = quiet(4, 120)
    points[50:] += 0.02
    assert analyse(points) == analyse(points.tolist())


def test_several_steps_up_and_down_are_all_found() -> None:
    points = quiet(5, 200)
    points[50:] += 0.05
    points[90:] -= 0.08
    points[150:] += 0.05
    places = change_points(points)[1:-1]
    assert len(places) == 3
    assert all(abs(a - b) <= 1 for a, b in zip(places, (50, 90, 150), strict=True))


def test_a_lone_spike_is_no_step() -> None:
    points = quiet(6, 60)
    for at in (30, 58, 59):
        spiked = points.copy()
        spiked[at] += 0.5
        assert analyse(spiked).shifts == ()


def test_a_step_smaller_than_the_magnitude_does_not_count() -> None:
    points = quiet(7, 80)
    points[40:] += STEP
    assert analyse(points, magnitude=0.05).shifts == ()
    assert len(analyse(points, magnitude=0.02).shifts) == 1


def test_a_figure_without_noise_changes_when_it_changes() -> None:
    points = np.zeros(30)
    assert analyse(points).shifts == ()
    points[28:] = 0.2
    (step,) = analyse(points).shifts
    assert (step.at, step.shift, step.settled) == (28, 0.2, False)


def test_a_step_that_is_too_young_to_settle_is_an_alarm() -> None:
    points = quiet(8, 63)
    points[60:] += 0.05
    (step,) = analyse(points).shifts
    assert (step.at, step.settled) == (60, False)
    settled = analyse(np.append(points, points[60:] + 0.001)).shifts
    assert [(step.at, step.settled) for step in settled] == [(60, True)]


def test_a_few_runs_are_judged_by_their_deltas() -> None:
    steady = np.array([0.0, 0.004, -0.003, 0.002, 0.001, -0.002])
    assert tail_alarm(steady) is None
    assert tail_alarm(np.append(steady, 0.1)) == 6
    assert tail_alarm(np.array([0.0, 0.5, 0.0])) is None  # too few to know the noise


@pytest.mark.parametrize("count", range(2 * MIN_SEGMENT + 3))
def test_series_of_any_length_have_segments_that_cover_them(count: int) -> None:
    segments = analyse(quiet(count, count)).segments
    runs = [run for segment in segments for run in range(segment.first, segment.end)]
    assert runs == list(range(count))


def test_what_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        analyse([0.0, float("nan")])
