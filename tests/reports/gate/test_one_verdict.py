"""One run, one verdict: terminal, exit code, page, site, exports and ``verify`` say the same."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from make_run import FakeTarget, edit_json, make_run

from harness.cli import main
from harness.fleet.until_decided import until_decided
from harness.plan.suites import load_suite
from reports.calibration.machine import FOLDER, floor_path, machine_fingerprint
from reports.calibration.noise_floor import (
    MetricFloor,
    NoiseFloor,
    conditions_of,
    keep_floors,
    to_json,
)
from reports.exports import export
from reports.gate.judge import EXIT_CODES
from reports.gate.rule import rule_to_json
from reports.gate.verdict import STATUSES
from reports.page.render import render
from reports.results.manifest import write_manifest
from reports.results.read import FLOORS, GATE, load_run
from reports.results.records import Rule
from reports.site import build
from reports.site.build import Options
from reports.site.sources import FolderRuns
from reports.verify.verify import verify

EXACT = "method=exact"
R2, R4 = (f"method=gradient_filter,patch_size={size}" for size in (2, 4))
Counts = Mapping[str, int]
Gfbench = Callable[..., tuple[int, str]]
ANY = "|".join(STATUSES)

USUAL = FakeTarget()


@dataclass(frozen=True)
class Asked:
    """A run, what it is judged by, and the machine's noise floor; ``status`` is what is right."""

    name: str
    status: str
    rule: Rule
    floor: float | None = None  # the logarithm of what is noise
    torch_then: str = ""  # the version that the floor was calibrated with, if it is another
    target: FakeTarget = USUAL


TABLE = (
    Asked("a faster method", "PASS", Rule(base=EXACT, new=R2)),
    Asked("a slower one", "FAIL", Rule(base=R2, new=EXACT)),
    Asked("slower, but within the noise floor", "PASS", Rule(base=R2, new=EXACT), floor=2.0),
    Asked("slower, beyond the noise floor", "FAIL", Rule(base=R2, new=EXACT), floor=0.1),
    Asked("a stale floor", "FAIL", Rule(base=R2, new=EXACT), floor=2.0, torch_then="1.9"),
    Asked(
        "an interval across the margin", "INCONCLUSIVE", Rule(base=R4, new=R2, margin=0.68),
        target=FakeTarget(noise=0.2),
    ),
    Asked("energy without a sensor", "INVALID", Rule(base=EXACT, new=R2, metrics=("energy",))),
    Asked(
        "a board that is not there", "INFRA", Rule(base=EXACT, new=R2),
        target=FakeTarget(status="infra", reason="no route to host", stop_after=0),
    ),
)  # fmt: skip


@pytest.fixture
def gfbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gfbench:
    """Run a command in this process; return its exit code and stdout."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["gfbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    return run


def measured(folder: Path, asked: Asked) -> Path:
    """Return a run as it is after its last round: with its rule, a calibration beside it."""
    run = make_run(folder, targets=[asked.target], rounds=8, layers=(("early", 16, 56),), seed=3)
    rule = rule_to_json(asked.rule)
    edit_json(run / "run.json", lambda header: header.update(seed=1, gate=rule))
    if asked.floor is not None:
        target = load_run(run).targets[0]
        conditions = conditions_of(target)
        if asked.torch_then:
            conditions["torch"] = asked.torch_then
        found = MetricFloor(
            metric="latency", phase="backward", rounds=12, spread=0.1, effect_q95=asked.floor,
            slot_effect=0.0, drift=0.01, detectable={8: 2.5},
        )  # fmt: skip
        assert target.probe is not None
        fingerprint = machine_fingerprint(target.probe)
        floor = NoiseFloor(
            target=target.name, fingerprint=fingerprint, measured_at="2026-11-22T19:00:00Z",
            floors=(found,), conditions=conditions,
        )  # fmt: skip
        path = floor_path(folder, fingerprint)
        path.parent.mkdir()
        path.write_text(json.dumps(to_json(floor)))
    return run


def finished(run: Path) -> Path:
    (run / "report.html").write_text(render([load_run(run)]))
    write_manifest(run)
    return run


def in_terminal(text: str) -> Counter[str]:
    return Counter(re.findall(rf"^({ANY}) ", text, re.M))


def on_page(html: str) -> Counter[str]:
    """Return the counts over the matrix of verdicts."""
    text = re.sub(r"<[^>]*>", "", html)
    counts = re.findall(rf"({ANY}): (\d+)", text)
    return Counter({status: int(count) for status, count in counts})


def in_markdown(text: str) -> Counter[str]:
    return Counter(re.findall(rf"^\| ({ANY}) \|", text, re.M))


def in_junit(text: str) -> Counter[str]:
    """Return the verdicts' outcomes; a PASS has no message of its own."""
    found: Counter[str] = Counter()
    for case in ElementTree.fromstring(text).iter("testcase"):
        if " against " not in case.attrib["name"]:
            continue
        told = [kind.get("message", "") for kind in case if kind.tag != "system-out"]
        found[told[0].split(":")[0] if told else "PASS"] += 1
    return found


@pytest.mark.parametrize("stored", ["kept in the run", "beside the run"])
@pytest.mark.parametrize("asked", TABLE, ids=lambda asked: asked.name)
def test_every_renderer_gives_the_same_verdict(
    tmp_path: Path, gfbench: Gfbench, asked: Asked, stored: str
) -> None:
    folder = tmp_path / "results"
    run = measured(folder, asked)
    if stored == "kept in the run":
        keep_floors(load_run(run))
        shutil.rmtree(folder / FOLDER, ignore_errors=True)  # the folder stands alone
    finished(run)
    right = {asked.status: 1}
    exit_code = EXIT_CODES[asked.status]
    decided = until_decided(
        asked.rule, run, load_suite("quick"), 1, (), lambda names: (), lambda names: None
    ).gate
    assert (Counter(v.status for v in decided.verdicts), decided.exit_code) == (right, exit_code)
    assert in_terminal(gfbench("show", str(run))[1]) == right
    rule = asked.rule
    options = ("--base", rule.base, "--new", rule.new, "--margin", f"{rule.margin}")
    code, out = gfbench("gate", str(run), *options, "--metric", *rule.metrics)
    assert (in_terminal(out), code) == (right, exit_code)
    assert on_page((run / "report.html").read_text()) == right
    source = FolderRuns([folder], tmp_path / "cache")
    build.build(tmp_path / "site", [source], Options(reports=1, base_url=""))
    pages = [path.read_text() for path in (tmp_path / "site").rglob("*.html")]
    assert [counts for counts in map(on_page, pages) if counts] == [right]
    markdown = export(load_run(run), "markdown")
    assert isinstance(markdown, str)
    assert in_markdown(markdown) == right
    junit = export(load_run(run), "junit")
    assert isinstance(junit, str)
    assert in_junit(junit) == right
    assert verify(run).findings == ()


def test_a_calibration_made_later_does_not_change_how_a_run_was_judged(
    tmp_path: Path, gfbench: Gfbench
) -> None:
    slower = Asked("", "FAIL", Rule(base=R2, new=EXACT))
    run = measured(tmp_path / "results", slower)
    keep_floors(load_run(run))
    assert json.loads((run / FLOORS).read_text())["targets"] == {"board-a": None}
    finished(run)
    other = measured(tmp_path / "other", replace(slower, floor=2.0))
    shutil.copytree(other.parent / FOLDER, run.parent / FOLDER)
    assert in_terminal(gfbench("show", str(run))[1]) == {"FAIL": 1}
    assert verify(run).findings == ()
    keep_floors(load_run(run))  # what is kept stays
    assert json.loads((run / FLOORS).read_text())["targets"] == {"board-a": None}


def test_verdicts_left_in_the_folder_stand_and_are_judged_again_by_verify(
    tmp_path: Path, gfbench: Gfbench
) -> None:
    run = finished(measured(tmp_path, Asked("", "FAIL", Rule(base=R2, new=EXACT))))
    options = ("--base", R2, "--new", EXACT, "--margin", "30%")
    code, _ = gfbench("gate", str(run), *options, "--verdict", str(run / GATE))
    assert code == 1
    code, _ = gfbench("gate", str(run), "--base", EXACT, "--new", R4, "--verdict", str(run / GATE))
    assert code == 0
    assert in_terminal(gfbench("show", str(run))[1]) == {"PASS": 1}
    gfbench("report", str(run))
    assert on_page((run / "report.html").read_text()) == {"PASS": 1}
    assert verify(run).findings == ()

    def forge(document: dict[str, object]) -> None:
        verdicts = document["verdicts"]
        assert isinstance(verdicts, list)
        verdicts[0]["status"] = "FAIL"

    edit_json(run / GATE, forge)
    gfbench("report", str(run))
    write_manifest(run)
    (finding,) = verify(run).findings
    assert (finding.file, finding.place) == (GATE, "verdicts.0.status")
    assert (finding.expected, finding.found) == ("PASS", "FAIL")


def test_a_gate_whose_rule_fits_no_case_of_the_run_is_a_discrepancy(
    tmp_path: Path, gfbench: Gfbench
) -> None:
    run = finished(measured(tmp_path, Asked("", "FAIL", Rule(base=R2, new=EXACT))))
    gfbench("gate", str(run), "--base", EXACT, "--new", R4, "--verdict", str(run / GATE))
    edit_json(run / GATE, lambda document: document["rule"].update(base="kernel=gone"))
    gfbench("report", str(run))
    write_manifest(run)
    (discrepancy,) = verify(run).findings
    assert (discrepancy.file, discrepancy.place) == (GATE, "rule")
    assert "kernel=gone" in discrepancy.found


def test_a_broken_rule_costs_the_verdicts_and_is_told(tmp_path: Path, gfbench: Gfbench) -> None:
    run = finished(measured(tmp_path, TABLE[0]))
    edit_json(run / "run.json", lambda header: header.update(gate={"base": "x"}))
    code, out = gfbench("show", str(run))
    assert code == 0
    assert "no verdicts" in out
    assert "gate.new" in out or "new: Field required" in out
    code, _ = gfbench("resume", str(run))
    assert code != 0
