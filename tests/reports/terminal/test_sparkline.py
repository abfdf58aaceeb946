from __future__ import annotations

from pathlib import Path

from make_run import FakeTarget, edit_json, make_run

from reports.results.read import load_run
from reports.results.records import Run
from reports.terminal.sparkline import sparkline, trends


def run_of_day(folder: Path, day: int, *, speed: float = 1.0, linux: str = "4.9") -> Run:
    run = make_run(
        folder,
        targets=[FakeTarget(speed=speed)],
        rounds=2,
        layers=(("early", 16, 56),),
        seed=day,
        run_id=f"202611{day:02d}-190000-abc123",
    )
    edit_json(run / "run.json", lambda header: header.update(started_at=f"2026-11-{day:02d}"))
    edit_json(run / "targets" / "board-a" / "probe.json", lambda probe: probe.update(kernel=linux))
    return load_run(run)


def test_noise_is_drawn_flat_and_a_step_is_not() -> None:
    assert len(set(sparkline([1.0, 1.005, 0.995, 1.01, 1.0]))) == 1
    assert sparkline([1.0, 1.0, 2.0, 2.0]) == "▁▁▇▇"
    assert sparkline([1.0, 1.25, 1.5, 1.75, 2.0]) == "▁▂▄▆▇"


def test_what_is_missing_is_a_dot_and_never_low() -> None:
    assert sparkline([1.0, None, 2.0]) == "▁·▇"
    assert sparkline([None, None]) == "··"
    assert sparkline([]) == ""


def test_runs_stand_in_order_of_time_and_changes_are_marked(tmp_path: Path) -> None:
    days = [
        run_of_day(tmp_path, 3, speed=0.5, linux="5.10"),
        run_of_day(tmp_path, 1),
        run_of_day(tmp_path, 2),
        run_of_day(tmp_path, 4, speed=0.5, linux="5.10"),
    ]
    found = trends(days)
    assert [one.case.method for one in found] == ["exact", "gradient_filter", "gradient_filter"]
    assert {one.changed for one in found} == {(False, False, True, False)}
    assert all(one.line == "▁▁|▇▇" for one in found)


def test_a_case_that_only_one_run_has_measured_has_no_history(tmp_path: Path) -> None:
    assert trends([run_of_day(tmp_path, 1)]) == ()
    assert trends([]) == ()
