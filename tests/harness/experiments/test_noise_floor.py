"""The noise floor measured, kept, combined over days, and stale when the machine has changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from gfbench_cli import SUITE, Cli
from make_run import edit_json

from harness.errors import PlanError
from harness.experiments.noise_floor import CalibratedFloor, aa_suite, keep_floor
from harness.plan.plan import all_cases, make_plan
from harness.plan.suites import load_suite
from reports.calibration import noise_floor
from reports.results.read import load_run
from reports.results.records import Run, TargetRun

ROUNDS = 6


@dataclass(frozen=True)
class Calibrated:
    """What `gfbench calibrate` printed and left on this machine."""

    out: str
    err: str
    run: Path
    floor: Path


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    folder = tmp_path_factory.mktemp("calibrate")
    cli = Cli(folder, SUITE)
    options = ("--suite", "tiny.yaml", "--rounds", str(ROUNDS), "-o", "results")
    done = cli("calibrate", "-t", "local", *options)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "results" / "calibration").glob("2*")
    (floor,) = (folder / "results" / "calibration").glob("*.floor.json")
    return Calibrated(out=done.stdout, err=done.stderr, run=run, floor=floor)


def another(calibrated: Calibrated, folder: Path, day: str, **probe: str) -> CalibratedFloor:
    """Keep the same run once more as if of another day, below another folder of results."""
    run = folder / "calibration" / f"202611{day}-190000-abc123"
    shutil.copytree(calibrated.run, run)
    header = {"run_id": run.name, "started_at": f"2026-11-{day}T19:00:00Z"}
    edit_json(run / "run.json", lambda document: document.update(header))
    edit_json(run / "targets" / "local" / "probe.json", lambda document: document.update(probe))
    loaded = load_run(run)
    return keep_floor(loaded, loaded.target("local"), folder)


def test_an_a_a_suite_has_one_kernel_under_two_names_and_nothing_else() -> None:
    suite, own = aa_suite(load_suite("quick"), "native")
    cases = all_cases(suite)
    assert {(case.method, case.patch_size) for case in cases} == {("gradient_filter", 2)}
    assert [case.kernel for case in cases] == ["native", "again"] * 3
    assert [one.of for one in own] == ["native"]
    kinds = {block.kind for block in make_plan(suite, seed=1).blocks}
    assert kinds == {"sentinel", "check", "timing", "memory"}
    with pytest.raises(PlanError, match="nothing"):
        aa_suite(load_suite("quick"), "nothing")


def test_calibrate_keeps_the_floor_of_each_metric_and_says_where(calibrated: Calibrated) -> None:
    assert calibrated.out.splitlines()[-1].endswith(calibrated.floor.name)
    assert "on 1 day" in calibrated.err
    floor = noise_floor.load(calibrated.floor)
    assert floor is not None
    assert floor.target == "local"
    assert floor.sentinel_spread is not None
    assert floor.conditions["torch"]
    for phase in ("forward", "backward", "step"):
        found = floor.of("latency", phase)
        assert found is not None
        assert found.rounds == ROUNDS
        assert 0 < found.effect_q95 < max(found.detectable.values())
        assert f"latency {phase}" in calibrated.out
    assert {block.case.kernel for block in load_run(calibrated.run).targets[0].blocks} == {
        "torch",
        "again",
    }


def test_calibrations_of_other_days_are_combined(calibrated: Calibrated, tmp_path: Path) -> None:
    first = another(calibrated, tmp_path, "20")
    assert (first.runs, first.days) == (1, 1)
    second = another(calibrated, tmp_path, "21")
    assert (second.runs, second.days, second.apart, second.changes) == (2, 2, 0, ())
    found = second.floor.of("latency", "backward")
    assert found is not None
    assert found.rounds == 2 * ROUNDS
    assert noise_floor.load(second.path) == second.floor
    again = keep_floor(*_loaded(tmp_path, "21"), tmp_path)
    assert again == second  # the same run does not count twice


def _loaded(folder: Path, day: str) -> tuple[Run, TargetRun]:
    run = load_run(folder / "calibration" / f"202611{day}-190000-abc123")
    return run, run.target("local")


def test_a_changed_machine_starts_anew_says_what_changed_and_keeps_the_old(
    calibrated: Calibrated, tmp_path: Path
) -> None:
    another(calibrated, tmp_path, "20")
    changed = another(calibrated, tmp_path, "21", kernel="9.9.9-new")
    assert (changed.runs, changed.apart) == (1, 1)
    (change,) = changed.changes
    assert change.startswith("kernel of the system: ")
    assert change.endswith("9.9.9-new now")
    back = another(calibrated, tmp_path, "22")
    assert (back.runs, back.days, back.apart) == (2, 2, 1)
    assert len(json.loads(back.path.read_text())["calibrations"]) == 3


def test_a_run_of_too_few_rounds_gives_no_floor(calibrated: Calibrated, tmp_path: Path) -> None:
    another(calibrated, tmp_path, "20")
    journal = tmp_path / "calibration/20261120-190000-abc123/targets/local/journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    few = [line for line in lines if line.get("round", 0) < ROUNDS - 1]
    journal.write_text("".join(json.dumps(line) + "\n" for line in few))
    with pytest.raises(ValueError, match="6 complete rounds"):
        keep_floor(*_loaded(tmp_path, "20"), tmp_path / "elsewhere")
