"""The matrix of curves, sensors, rates and iteration lengths, in virtual time.

``python tests/support/power_curves.py`` prints the same as a table, with more seeds.
"""

from __future__ import annotations

import numpy as np
import pytest
from power_curves import CURVES, ITERATIONS_S, RATES_HZ, SENSORS, Sensor, Trial, matrix, run_trial

from reports.energy.conversions import fit_schedule


@pytest.mark.parametrize("jitter", [0.0, 0.02])
@pytest.mark.parametrize("stretch", [1.0, 2.0])
def test_errors_stay_inside_the_stated_uncertainty(stretch: float, jitter: float) -> None:
    good: list[Trial] = []
    for row in matrix(2, stretch=stretch, jitter=jitter):
        good.extend(row.good)
        errors = [trial.error for trial in row.good]
        if row.name.split(" Hz")[0].endswith((" 10", " 50")) and len(errors) >= 5:
            assert np.median(errors) <= 0.01, row.line()
        assert max(errors, default=0.0) <= 0.03, row.line()
    assert len(good) > 250
    assert np.mean([trial.covered for trial in good]) >= 0.95


def test_most_windows_of_an_able_sensor_give_a_figure() -> None:
    for kind, rate_hz in (("on read", 50.0), ("average", 10.0), ("average", 2.0)):
        (row,) = matrix(2, kinds=(kind,), rates_hz=(rate_hz,))
        assert len(row.good) >= 0.9 * len(row.trials), row.line()
    (row,) = matrix(2, stretch=2.0, kinds=("on read",), rates_hz=(10.0,))
    assert len(row.good) >= 0.8 * len(row.trials), row.line()


@pytest.mark.parametrize("kind", ["on read", "held"])
@pytest.mark.parametrize("rate_hz", [1.0, 2.0])
def test_a_slow_instant_sensor_in_ten_seconds_is_invalid(kind: str, rate_hz: float) -> None:
    for curve in CURVES:
        trial = run_trial(curve, Sensor(kind=kind, rate_hz=rate_hz), 0.1, 10.0, seed=1)
        assert trial.energy.status == "invalid"
        assert "too few samples" in (trial.energy.reason or "")


@pytest.mark.parametrize("iteration_s", [0.1, 0.05, 0.02, 0.2, 0.1 / 3])
@pytest.mark.parametrize("jitter", [0.0, 0.002])
@pytest.mark.parametrize("period_error", [0.0, 0.0003])
def test_a_sensor_in_step_with_the_iteration_is_invalid_or_right(
    iteration_s: float, jitter: float, period_error: float
) -> None:
    sensor = Sensor(kind="held", rate_hz=10.0, period_error=period_error)
    for seed in range(3):
        trial = run_trial("square", sensor, iteration_s, 20.0, seed=seed, jitter=jitter)
        assert not trial.ok or trial.error <= 0.03, (trial.energy, trial.error)
        if jitter == 0 and period_error == 0:
            assert trial.energy.status == "invalid"


def test_reads_in_step_with_the_iteration_are_called_aliasing() -> None:
    sensor = Sensor(kind="held", rate_hz=10.0)
    trial = run_trial("square", sensor, 0.05, 20.0, seed=2, jitter=0.0)
    assert "aliasing" in (trial.energy.reason or "")
    assert "random pauses" in (trial.energy.remedy or "")


def test_reads_at_random_do_not_hide_a_fast_sensor_in_step_with_the_iteration() -> None:
    sensor = Sensor(kind="held", rate_hz=250.0, reads_per_update=0.2)
    in_step = run_trial("square", sensor, 0.008, 12.0, seed=4, jitter=0.0)
    assert "aliasing" in (in_step.energy.reason or "")
    free = run_trial("square", sensor, 0.0531, 12.0, seed=4)
    assert free.ok, free.energy.reason
    assert free.covered
    assert free.error <= 0.02


@pytest.mark.parametrize("curve", ["square", "random"])
def test_random_pauses_make_a_sensor_in_step_usable(curve: str) -> None:
    sensor = Sensor(kind="held", rate_hz=50.0)
    trials = [
        run_trial(curve, sensor, 0.1, 30.0, seed=seed, jitter=0.0, pauses=True) for seed in range(6)
    ]
    good = [trial for trial in trials if trial.ok]
    assert len(good) >= 4
    assert max(trial.error for trial in good) <= 0.03


@pytest.mark.parametrize("period_error", [-0.09, -0.01, 0.0, 0.004, 0.09])
def test_the_schedule_is_found_from_the_brackets_of_the_changes(period_error: float) -> None:
    rng = np.random.default_rng(3)
    period_s = 0.1 * (1 + period_error)
    changes_s = 7.3 + period_s * np.sort(rng.choice(np.arange(300), 200, replace=False))
    before_s = changes_s - rng.uniform(0, 0.03, 200)
    after_s = changes_s + rng.uniform(0, 0.03, 200)
    schedule = fit_schedule(before_s, after_s, 0.1)
    assert schedule is not None
    assert schedule.period_s == pytest.approx(period_s, abs=2e-5)
    off_s = (schedule.offset_s - 7.3 + period_s / 2) % period_s - period_s / 2
    assert abs(off_s) <= 0.002


def test_changes_at_random_show_no_schedule() -> None:
    rng = np.random.default_rng(4)
    changes_s = np.sort(rng.uniform(0, 30, 200))
    assert fit_schedule(changes_s - 0.01, changes_s + 0.01, 0.1) is None


def test_the_matrix_is_the_one_that_was_asked_for() -> None:
    assert min(ITERATIONS_S) == 0.005
    assert max(ITERATIONS_S) == 0.3
    assert RATES_HZ == (1.0, 2.0, 10.0, 50.0)
    assert set(SENSORS) == {"on read", "held", "average"}
