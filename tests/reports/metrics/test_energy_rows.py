"""The energy rows of a run whose true energy is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_power import CURVES, IDLE_W, TOLERANCE
from make_run import FakeTarget, edit_json, make_run

from reports.energy.by_round import (
    energies_of,
    energy_ratios,
    over_rounds,
    why_incomparable,
    windows_of,
)
from reports.energy.energy import UncertainValue
from reports.metrics.headlines import headlines
from reports.metrics.of_run import compare
from reports.metrics.rows import Row
from reports.results.read import load_run
from reports.results.records import Run

ONE_LAYER = (("early", 16, 56),)
POWERED = FakeTarget(power=True, window_s=12.5, noise=0.003, drift=0.0)


def load(tmp_path: Path, *targets: FakeTarget, **options: Any) -> Run:
    return load_run(make_run(tmp_path, targets=targets, layers=ONE_LAYER, **options))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load(tmp_path_factory.mktemp("run"), POWERED)


def rows_of(run: Run, metric: str, **wanted: object) -> list[Row]:
    return [
        row
        for row in compare(run)
        if row.metric == metric and all(getattr(row, name) == is_ for name, is_ in wanted.items())
    ]


def figure(value: float, random: float = 0.0, systematic: float = 0.0) -> UncertainValue:
    return UncertainValue(value=value, random_u95=random, systematic_u95=systematic)


def test_every_window_is_within_its_stated_uncertainty(run: Run) -> None:
    windows = windows_of(run.targets[0])
    assert len(windows) == 3 * 6 * 3
    inside = 0
    for window in windows:
        energy = window.energy
        assert energy.per_iteration_j is not None
        times_s = window.timing.times_s
        true_j = CURVES[window.phase].mean_w * sum(times_s) / len(times_s)
        inside += abs(energy.per_iteration_j.value - true_j) <= energy.per_iteration_j.random_u95
        assert energy.per_iteration_j.value == pytest.approx(true_j, rel=0.03)
    assert inside >= 0.9 * len(windows)


def test_the_rows_hold_the_truth_in_their_intervals(run: Run) -> None:
    for phase, curve in CURVES.items():
        for row in rows_of(run, "power_w", phase=phase):
            assert row.ci_low is not None
            assert row.ci_high is not None
            assert row.ci_low < curve.mean_w < row.ci_high
            assert (row.n, row.status, row.reason) == (6, "ok", "")


def test_an_interval_holds_the_rounds_and_the_sensors_tolerance(run: Run) -> None:
    row = rows_of(run, "energy_j", phase="step", patch_size=2)[0]
    case = next(case for case, phase in energies_of(run.targets[0]) if case.patch_size == 2)
    energies = energies_of(run.targets[0])[case, "step"]
    values = [e.per_iteration_j.value for e in energies.values() if e.per_iteration_j]
    assert row.value is not None
    assert row.ci_low is not None
    assert row.ci_high is not None
    assert row.ci_low <= min(values) - 0.99 * TOLERANCE * row.value
    assert row.ci_high >= max(values) + 0.99 * TOLERANCE * row.value
    assert row.ci_high - row.ci_low < 3 * TOLERANCE * row.value


def test_idle_is_measured_on_both_sides_and_taken_off(run: Run) -> None:
    for window in windows_of(run.targets[0]):
        energy = window.energy
        assert energy.idle_power_w is not None
        assert energy.idle_power_w.value == pytest.approx(IDLE_W, rel=0.01)
        assert energy.net_j is not None
        assert energy.gross_j is not None
        assert energy.net_j.value == pytest.approx(
            energy.gross_j.value * (1 - IDLE_W / 8.0), rel=0.02
        )
        assert not [flag for flag in energy.flags if "idle" in flag]


def test_few_rounds_get_the_windows_own_uncertainty(tmp_path: Path) -> None:
    rows = rows_of(load(tmp_path, POWERED, rounds=2), "energy_j")
    assert {(row.n, row.status) for row in rows} == {(2, "ok")}
    for row in rows:
        assert row.value is not None
        assert row.ci_low is not None
        assert row.ci_low < row.value * (1 - TOLERANCE)
        assert "fewer than 6 rounds" in row.reason


def test_figures_over_rounds() -> None:
    assert over_rounds([]) is None
    few = over_rounds([figure(1.0, 0.1, 0.02), figure(1.4, 0.3, 0.02)])
    assert few is not None
    assert (few.value, few.low, few.high) == pytest.approx((1.2, 0.88, 1.72))
    alike = over_rounds([figure(1.0, 0.1, 0.02)] * 6)
    assert alike is not None
    assert (alike.low, alike.high) == pytest.approx((0.88, 1.12))
    spread = over_rounds([figure(1.0 + place / 10, 0.01, 0.02) for place in range(6)])
    assert spread is not None
    assert (spread.low, spread.high) == pytest.approx((0.98, 1.52))


def test_windows_that_cannot_carry_a_figure_are_invalid_with_the_commonest_reason(
    tmp_path: Path,
) -> None:
    path = make_run(tmp_path, targets=[POWERED], layers=ONE_LAYER)

    def slow_sensor(power: dict[str, Any]) -> None:
        power["rails"][0]["update_interval_s"] = 1.0

    edit_json(path / "targets" / "board-a" / "power.json", slow_sensor)
    rows = rows_of(load_run(path), "energy_j")
    assert len(rows) == 9
    for row in rows:
        assert (row.value, row.ci_low, row.status, row.n) == (None, None, "invalid", 0)
        assert row.reason.startswith("no sample in")
        assert "min_window_s" in row.reason


def test_short_windows_say_so_and_what_to_change(tmp_path: Path) -> None:
    run = load(tmp_path, FakeTarget(power=True))
    for row in rows_of(run, "energy_j") + rows_of(run, "power_w"):
        assert (row.value, row.status) == (None, "invalid")
        assert row.reason.startswith("energy not measured: window too short")
        assert "min_window_s" in row.reason
    (headline, _) = headlines(run, run.targets[0], compare(run))
    assert headline.energy is None
    assert headline.energy_reason.startswith("not measured: window too short")


def test_a_throttled_window_is_invalid_and_the_others_count(tmp_path: Path) -> None:
    path = make_run(tmp_path, targets=[POWERED], layers=ONE_LAYER, rounds=7)
    journal = path / "targets" / "board-a" / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if line.get("kind") == "timing" and line["round"] == 3:
            line["state_after"]["throttle"] = {"cooling": 5}
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = load_run(path)
    row = rows_of(run, "energy_j", phase="step", patch_size=2)[0]
    assert (row.n, row.status) == (6, "partial")
    assert row.reason.startswith("1 of 7 windows: the board throttled in this window")
    assert "cooling went from 0 to 5" in row.reason


def test_a_ratio_of_one_sensor_is_free_of_its_tolerance(run: Run) -> None:
    headline = headlines(run, run.targets[0], compare(run))[0]
    assert headline.energy is not None
    assert headline.step is not None
    assert headline.energy.ratio == pytest.approx(1 / headline.step.ratio, rel=0.01)
    assert headline.energy.ci_low is not None
    assert headline.energy.ci_high is not None
    # The gain of 2 % that both share is not in it.
    assert headline.energy.ci_high / headline.energy.ci_low < 1.03


def test_figures_of_different_scope_are_refused(tmp_path: Path) -> None:
    run = load(
        tmp_path, POWERED, FakeTarget(name="b", power=True, window_s=12.5, scope="board input")
    )
    words = why_incomparable(*run.targets)
    assert words == "not comparable: scope 'module input' against 'board input'"
    first, second = (next(iter(energies_of(target).values())) for target in run.targets)
    assert energy_ratios(first, second) == words
    ratios = energy_ratios(first, first)
    assert not isinstance(ratios, str)
    assert set(ratios.values()) == {1.0}
