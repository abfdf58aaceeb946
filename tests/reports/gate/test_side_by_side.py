"""Two runs side by side: the exact interval, and no more said than it shows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from make_run import FakeTarget, edit_json, make_run
from scipy import stats

from reports.gate.side_by_side import SideBySide, rank_sum_distribution, shift, side_by_side
from reports.results.read import load_run

LAYERS = (("early", 16, 56),)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 4), (6, 6), (8, 5), (20, 20)])
def test_the_rank_sum_distribution_is_that_of_mann_and_whitney(m: int, n: int) -> None:
    ours = np.cumsum(rank_sum_distribution(m, n))
    assert ours[-1] == pytest.approx(1)
    assert len(ours) == m * n + 1
    rng = np.random.default_rng(m * n)
    for _ in range(5):
        x, y = rng.normal(size=m), rng.normal(size=n)
        theirs = stats.mannwhitneyu(x, y, alternative="less", method="exact")
        assert ours[int(theirs.statistic)] == pytest.approx(theirs.pvalue)


def test_the_shift_is_the_median_of_all_differences() -> None:
    first, second = (1.0, 2.0, 4.0, 8.0), (2.0, 4.0, 8.0, 16.0)
    assert shift(first, second).ratio == pytest.approx(2.0)
    assert shift(second, first).ratio == pytest.approx(0.5)
    assert shift(first, first).ratio == pytest.approx(1.0)


def test_too_few_blocks_give_no_interval() -> None:
    assert shift((1.0, 1.1, 1.2), (2.0, 2.1, 2.2)).ci_low is None  # 1 in 20, and 1 in 40 is wanted
    assert shift((1.0, 1.1, 1.2, 1.3), (2.0, 2.1, 2.2, 2.3)).ci_low is not None


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    for m, n in ((6, 6), (8, 12)):
        covered = 0
        for _ in range(1500):
            first = np.exp(0.01 * rng.standard_t(4, size=m))
            second = 1.05 * np.exp(0.01 * rng.standard_t(4, size=n))
            found = shift(first.tolist(), second.tolist())
            assert found.ci_low is not None
            assert found.ci_high is not None
            covered += found.ci_low <= 1.05 <= found.ci_high
        assert 0.945 <= covered / 1500 <= 0.985  # exact, hence a little more than 95 %


@pytest.mark.parametrize("values", [(), (0.0,), (-1.0,), (math.nan,), (math.inf,)])
def test_what_is_no_positive_figure_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="positive"):
        shift(values, (1.0,))


def two_runs(
    tmp_path: Path, first: FakeTarget, second: FakeTarget, rounds: int = 8
) -> tuple[Path, Path]:
    return (
        make_run(tmp_path, targets=(first,), rounds=rounds, layers=LAYERS, run_id="first"),
        make_run(
            tmp_path, targets=(second,), rounds=rounds, layers=LAYERS, run_id="second", seed=9
        ),
    )


def compared(paths: tuple[Path, Path], **options: object) -> SideBySide:
    first, second = (load_run(path) for path in paths)
    return side_by_side(first, second, **options)  # type: ignore[arg-type]


def test_a_slower_second_run_is_higher_and_the_same_one_is_not(tmp_path: Path) -> None:
    quiet = FakeTarget(drift=0.0, noise=0.002)
    slower = FakeTarget(drift=0.0, noise=0.002, speed=1.2)
    found = compared(two_runs(tmp_path / "a", quiet, slower))
    assert len(found.shifts) == 3 * 2
    statuses = {shift.status for shift in found.shifts}
    factors = {round(shift.effect.ratio, 1) for shift in found.shifts if shift.effect}
    assert statuses in ({"higher"}, {"lower"})
    assert factors in ({1.2}, {0.8})
    same = compared(two_runs(tmp_path / "b", quiet, quiet))
    assert {shift.status for shift in same.shifts} == {"alike"}


def test_few_blocks_leave_it_undecided(tmp_path: Path) -> None:
    found = compared(two_runs(tmp_path, FakeTarget(), FakeTarget(), rounds=3))
    assert {shift.status for shift in found.shifts} == {"undecided"}
    assert all("too few blocks" in shift.reason for shift in found.shifts)
    assert all(shift.blocks == (3, 3) for shift in found.shifts)


def test_what_else_differs_is_told(tmp_path: Path) -> None:
    paths = two_runs(tmp_path, FakeTarget(), FakeTarget())

    def newer(probe: dict[str, object]) -> None:
        probe["torch"] = {"version": "9.9"}

    edit_json(paths[1] / "targets" / "board-a" / "probe.json", newer)
    edit_json(paths[1] / "run.json", lambda run: run["payload"].update(sha256="f" * 64))
    (words,) = compared(paths).differences.values()
    assert any(word.startswith("torch: ") and word.endswith("then 9.9") for word in words)
    assert f"payload: {'0' * 12}, then {'f' * 12}" in words
    assert not any(word.startswith("cpu") for word in words)


def test_a_target_of_one_run_only_is_named(tmp_path: Path) -> None:
    both = (FakeTarget(), FakeTarget(name="board-b"))
    paths = (
        make_run(tmp_path, targets=both, layers=LAYERS, run_id="first"),
        make_run(tmp_path, targets=both[:1], layers=LAYERS, run_id="second"),
    )
    found = compared(paths)
    assert {shift.target for shift in found.shifts} == {"board-a"}
    assert found.notes == ("board-b is only in one of the runs",)


def test_one_target_each_is_compared_under_both_names(tmp_path: Path) -> None:
    found = compared(two_runs(tmp_path, FakeTarget(), FakeTarget(name="board-b")))
    assert {(shift.first_target, shift.target) for shift in found.shifts} == {
        ("board-a", "board-b")
    }
    assert found.notes == ("different targets: board-a, then board-b",)


def test_energy_that_nobody_measured_is_not_compared(tmp_path: Path) -> None:
    found = compared(two_runs(tmp_path, FakeTarget(), FakeTarget()), metrics=("energy",))
    assert {shift.status for shift in found.shifts} == {"not comparable"}
    assert {shift.reason for shift in found.shifts} == {
        "not measured in the first run and the second run"
    }
