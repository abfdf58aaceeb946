"""gfbench gate as a user or a CI job meets it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from make_run import FakeTarget, edit_json, make_run

from harness.cli import main
from reports.calibration import noise_floor
from reports.calibration.machine import floor_path, machine_fingerprint
from reports.calibration.noise_floor import MetricFloor, NoiseFloor
from reports.results.read import load_run

EXACT, FILTERED = "method=exact", "method=gradient_filter,patch_size=2"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path, rounds=8)


class Gfbench:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def gate(self, run: Path, base: str, new: str, *options: str) -> tuple[int, str, str]:
        argv = ["gfbench", "gate", str(run), "--base", base, "--new", new, *options]
        self._monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as ended:
            main()
        found = self._capsys.readouterr()
        return int(ended.value.code or 0), found.out, found.err


@pytest.fixture
def gfbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gfbench:
    return Gfbench(monkeypatch, capsys)


def test_a_faster_method_passes_and_the_slower_one_fails(gfbench: Gfbench, run: Path) -> None:
    code, out, _ = gfbench.gate(run, EXACT, FILTERED, "--phase", "backward,step")
    assert code == 0
    assert out.count("PASS ") == 6
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = gfbench.gate(run, FILTERED, EXACT)
    assert code == 1
    assert out.splitlines()[-1].startswith("3 FAIL")


def test_json_is_one_strict_document(gfbench: Gfbench, run: Path) -> None:
    code, out, _ = gfbench.gate(run, EXACT, FILTERED, "--json", "--phase", "backward,step")
    assert code == 0
    document = json.loads(out)
    assert document["run_id"] == load_run(run).run_id
    assert {verdict["phase"] for verdict in document["verdicts"]} == {"backward", "step"}
    assert {verdict["status"] for verdict in document["verdicts"]} == {"PASS"}


def test_memory_of_a_single_round_is_exit_3_with_what_to_change(
    gfbench: Gfbench, run: Path
) -> None:
    code, out, _ = gfbench.gate(run, EXACT, FILTERED, "--metric", "memory")
    assert code == 3
    assert "raise memory_rounds" in " ".join(out.split())


def test_too_few_rounds_are_exit_3(gfbench: Gfbench, tmp_path: Path) -> None:
    code, out, _ = gfbench.gate(make_run(tmp_path, rounds=6), EXACT, FILTERED)
    assert code == 3
    assert "2 more rounds" in " ".join(out.split())


def test_an_unreachable_board_is_exit_4_beside_a_good_one(gfbench: Gfbench, tmp_path: Path) -> None:
    lost = FakeTarget(name="lost", status="infra", reason="no connection", stop_after=0)
    code, out, _ = gfbench.gate(
        make_run(tmp_path, targets=(FakeTarget(), lost), rounds=8), EXACT, FILTERED
    )
    assert code == 4
    assert "INFRA" in out
    assert "PASS" in out


@pytest.mark.parametrize(
    ("base", "new", "options", "words"),
    [
        ("kernel", FILTERED, (), "key=value"),
        (EXACT, "method=gradient_filter", (), "name patch_size too"),
        (EXACT, "kernel=cuda", (), "choose from torch"),
        (EXACT, FILTERED, ("--margin", "3"), "3% or 0.03"),
        (EXACT, FILTERED, ("--metric", "speed"), "latency, energy, memory"),
        (EXACT, FILTERED, ("--inconclusive", "maybe"), "warn"),
    ],
)
def test_what_cannot_be_is_exit_2_with_the_choices(
    gfbench: Gfbench, run: Path, base: str, new: str, options: tuple[str, ...], words: str
) -> None:
    code, out, err = gfbench.gate(run, base, new, *options)
    assert code == 2
    assert out == ""
    assert words in err


def test_no_run_is_exit_2(gfbench: Gfbench, tmp_path: Path) -> None:
    assert gfbench.gate(tmp_path, EXACT, FILTERED)[0] == 2


def test_the_noise_floor_beside_the_runs_is_the_margin_until_it_is_stale(
    gfbench: Gfbench, run: Path
) -> None:
    probe = load_run(run).targets[0].probe
    assert probe is not None
    path = floor_path(run.parent, machine_fingerprint(probe))
    found = MetricFloor(
        metric="latency", phase="backward", rounds=12, spread=0.1, effect_q95=2.0,
        slot_effect=0.0, drift=0.01, detectable={8: 2.5},
    )  # fmt: skip
    floor = NoiseFloor(
        target="board-a", fingerprint="f", measured_at="2026-11-22T19:00:00Z", floors=(found,),
        conditions=noise_floor.conditions_of(load_run(run).targets[0]),
    )  # fmt: skip
    path.parent.mkdir()
    path.write_text(json.dumps(noise_floor.to_json(floor)))
    code, out, _ = gfbench.gate(run, FILTERED, EXACT)  # 2.4 times as slow, within this floor
    assert code == 0
    assert "no noise floor" not in out
    old = replace(floor, conditions={**floor.conditions, "torch": "1.9"})
    path.write_text(json.dumps(noise_floor.to_json(old)))
    code, out, _ = gfbench.gate(run, FILTERED, EXACT)
    assert code == 1
    assert "stale (torch: 1.9 then, 1.10.2 now)" in " ".join(out.split())
    code, out, _ = gfbench.gate(run, FILTERED, EXACT, "--calibration", str(run))
    assert "no noise floor" in " ".join(out.split())


def test_the_policy_decides_what_an_inconclusive_is(gfbench: Gfbench, tmp_path: Path) -> None:
    noisy = make_run(tmp_path, targets=(FakeTarget(noise=0.2),), rounds=8, seed=3)
    edit_json(noisy / "run.json", lambda header: header.update(seed=1))
    # Patch size 4 takes 0.25 of exact, 2 takes 0.42: a margin between leaves it open.
    options = ("--margin", "68%")
    base, new = "method=gradient_filter,patch_size=4", "method=gradient_filter,patch_size=2"
    code, out, _ = gfbench.gate(noisy, base, new, *options)
    assert "INCONCLUSIVE" in out
    assert code == 3
    assert gfbench.gate(noisy, base, new, *options, "--inconclusive", "pass")[0] == 0
    assert gfbench.gate(noisy, base, new, *options, "--inconclusive", "fail")[0] == 1
