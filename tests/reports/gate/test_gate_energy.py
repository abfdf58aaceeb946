"""Gates on energy: runs whose true energy is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_run import FakeTarget, edit_json, make_run

from reports.gate.judge import GateError, judge
from reports.gate.verdict import Verdict
from reports.results.read import load_run
from reports.results.records import Run

POWERED = FakeTarget(power=True, window_s=12.5, noise=0.003, drift=0.0)
EXACT, FILTERED = "method=exact", "method=gradient_filter,patch_size=2"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    return load_run(make_run(folder, targets=(POWERED,), layers=(("early", 16, 56),), rounds=8))


def energy_verdict(run: Run, base: str, new: str, margin: float = 0.03) -> Verdict:
    (verdict,) = judge(run, base=base, new=new, metrics=("energy",), margin=margin).verdicts
    return verdict


def test_a_case_that_takes_less_energy_passes_and_one_that_takes_more_fails(run: Run) -> None:
    saved = energy_verdict(run, EXACT, FILTERED)
    assert (saved.status, saved.rounds) == ("PASS", 8)
    assert "% less energy" in saved.reason
    wasted = energy_verdict(run, FILTERED, EXACT)
    assert wasted.status == "FAIL"
    assert wasted.effect is not None
    assert saved.effect is not None
    assert wasted.effect.ratio == pytest.approx(1 / saved.effect.ratio)


def test_a_margin_below_what_the_windows_leave_open_is_raised(run: Run) -> None:
    verdict = energy_verdict(run, EXACT, FILTERED, margin=0.0001)
    assert verdict.margin.source == "energy uncertainty"
    assert 0.001 < verdict.margin.fraction < 0.03
    assert energy_verdict(run, EXACT, FILTERED, margin=0.05).margin.source == "user"


def test_windows_that_carry_no_energy_are_invalid_with_the_remedy(tmp_path: Path) -> None:
    short = FakeTarget(power=True, window_s=0.3)
    folder = make_run(tmp_path, targets=(short,), layers=(("early", 16, 56),), rounds=8)
    verdict = energy_verdict(load_run(folder), EXACT, FILTERED)
    assert verdict.status == "INVALID"
    assert "too few rounds" in verdict.reason
    assert "window too short" in verdict.reason


def test_a_target_without_a_sensor_is_invalid_and_latency_is_judged_all_the_same(
    tmp_path: Path,
) -> None:
    run = load_run(make_run(tmp_path, layers=(("early", 16, 56),), rounds=8))
    gate = judge(run, base=EXACT, new=FILTERED, metrics=("latency", "energy"))
    assert [verdict.status for verdict in gate.verdicts] == ["PASS", "INVALID"]
    assert gate.exit_code == 3


def test_a_run_without_the_phase_is_told_which_phases_it_has(tmp_path: Path) -> None:
    folder = make_run(tmp_path, layers=(("early", 16, 56),), rounds=8)
    edit_json(folder / "run.json", lambda header: header["plan"].update(phases=["step"]))
    with pytest.raises(GateError, match="no phase 'backward' — choose from step"):
        judge(load_run(folder), base=EXACT, new=FILTERED)
