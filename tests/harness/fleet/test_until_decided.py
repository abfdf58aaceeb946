"""Measuring until a gate is decided: what is still wanted, and rounds added to a run that ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_runs import NATIVE, QUIET, TORCH, FakeBoard, make_gate_run
from make_run import edit_json, make_run
from power_curves import make_curve
from simulated_board import ORIN_NANO, SimulatedBoard
from sshd import ClientHome, Sshd
from user_kernels_data import GOOD, RETURN

from harness.fleet import run as running
from harness.fleet import until_decided as deciding
from harness.fleet.header import read_header
from harness.fleet.run import Finished, resume_run, start_run
from harness.fleet.until_decided import REPEATS, suite_for, wanted_rounds
from harness.payloads.user_kernels import UserKernel, parse
from harness.plan.extension import More
from harness.plan.plan import all_cases
from harness.plan.suites import Overrides, Suite, load_suite, suite_from_json
from reports.gate.judge import GateError, judge
from reports.gate.rule import rule_from_options, rule_to_json
from reports.gate.verdict import Gate, Margin, Verdict
from reports.metrics.selectors import SelectorError
from reports.results.manifest import verify_manifest
from reports.results.read import load_run
from reports.results.records import Rule, Run
from reports.stats.sequential import LOOKS, VERIFICATION_ROUNDS
from targets.inventory import Target
from workloads.spec.messages import Case

RULE = Rule(base="kernel=torch", new="kernel=native", margin=0.02)
AGAIN = Rule(base="kernel=torch", new="kernel=again", margin=0.5)
TINY = """
workloads:
  - {name: tiny, in_channels: 4, out_channels: 4, height: 8, width: 8}
patch_sizes: [2]
isolation: fork
min_window_s: 0.01
"""
MORE_WORK = "    F.avg_pool2d(grad_output, geometry.patch_size)\n"


def wanted(*boards: FakeBoard, rule: Rule = RULE) -> Mapping[str, tuple[More, ...]]:
    run = make_gate_run(*boards)
    return wanted_rounds(run, judged(run, rule))


def judged(run: Run, rule: Rule) -> Gate:
    return judge(run, base=rule.base, new=rule.new, margin=rule.margin)


def fake(effect: float, **more: Any) -> FakeBoard:
    return FakeBoard(effects={TORCH: 0.0, NATIVE: effect}, **more)


# what is still wanted


def test_a_decided_verdict_wants_nothing() -> None:
    assert wanted(fake(0.0)) == {}
    assert wanted(fake(0.1, verification=VERIFICATION_ROUNDS)) == {}


def test_an_open_verdict_wants_the_rounds_to_the_next_look_until_the_last() -> None:
    for now, then in pairwise(LOOKS):
        (more,) = wanted(fake(0.02, rounds=now, noise=10 * QUIET))["board"]
        assert more == More(cases=(TORCH, NATIVE), rounds=then - now)
    assert wanted(fake(0.02, rounds=LOOKS[-1], noise=10 * QUIET)) == {}


def test_an_alarm_wants_a_verification_batch_once() -> None:
    (more,) = wanted(fake(0.1))["board"]
    assert more == More(cases=(TORCH, NATIVE), rounds=VERIFICATION_ROUNDS, verification=True)
    unconfirmed = fake(0.1, verification=VERIFICATION_ROUNDS, verified_effect=0.0)
    (more,) = wanted(unconfirmed)["board"]
    assert (more.verification, more.rounds) == (False, LOOKS[1] - LOOKS[0])


def test_only_the_targets_that_are_open_are_measured_on() -> None:
    calm, noisy = fake(0.0, name="calm"), fake(0.02, name="noisy", noise=10 * QUIET)
    assert set(wanted(calm, noisy)) == {"noisy"}


def test_rounds_that_throttled_are_repeated_but_not_for_ever() -> None:
    def hot(rounds: int, of: int) -> FakeBoard:
        def status(case: Case, round_: int) -> tuple[str, str]:
            return ("throttled", "hot") if round_ < rounds else ("ok", "")

        return fake(0.1, rounds=of, status=status)

    (more,) = wanted(hot(3, 8))["board"]
    assert (more.rounds, more.verification) == (3, False)
    most = LOOKS[-1] + REPEATS
    (more,) = wanted(hot(most - 2, most - 2))["board"]
    assert more.rounds == 2
    assert wanted(hot(most, most)) == {}


# the rule and its suite


def test_a_rule_is_kept_in_the_runs_header(tmp_path: Path) -> None:
    rule = rule_from_options(
        "kernel=torch",
        "kernel=native",
        metric="latency, memory",
        phase="step",
        margin="5%",
        inconclusive="fail",
    )
    assert (rule.metrics, rule.phases, rule.margin) == (("latency", "memory"), ("step",), 0.05)
    path = make_run(tmp_path)
    edit_json(path / "run.json", lambda header: header.update(gate=rule_to_json(rule)))
    assert load_run(path).header.gate == rule


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "speed"}, "latency, energy, memory"),
        ({"phase": ""}, "forward, backward, step"),
        ({"margin": "much"}, "3%"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_anything_is_measured(
    options: dict[str, Any], said: str
) -> None:
    usual = {"base": "kernel=torch", "new": "kernel=native", "metric": "latency"}
    more = {"phase": "step", "margin": "3%", "inconclusive": "warn"}
    with pytest.raises(GateError, match=said):
        rule_from_options(**{**usual, **more, **options})


def test_only_what_is_compared_is_measured() -> None:
    suite = load_suite("quick", Overrides(kernels=["torch", "native"]))
    tailored = suite_for(RULE, suite)
    assert {(case.method, case.kernel) for case in all_cases(tailored)} == {
        ("gradient_filter", "torch"),
        ("gradient_filter", "native"),
    }
    assert (tailored.rounds, tailored.memory_rounds, tailored.fidelity_rounds) == (8, 1, 1)
    assert suite_for(replace(RULE, metrics=("memory",)), suite).memory_rounds > LOOKS[-1]
    against_exact = replace(
        RULE, base="method=exact,kernel=torch", new="method=gradient_filter,kernel=native"
    )
    with pytest.raises(SelectorError, match="patch_size"):
        suite_for(against_exact, suite)  # r = 2 and r = 4 against one exact
    one = suite_for(against_exact, replace(suite, patch_sizes=(2,)))
    assert [case.kernel for case in all_cases(one)] == ["torch", "native"] * 3
    with pytest.raises(SelectorError, match="kernel=cuda"):
        suite_for(replace(RULE, new="kernel=cuda"), suite)


# a run that is extended, for real


@pytest.fixture
def aa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Suite, tuple[UserKernel, ...]]:
    """A tiny case under two names, on a machine whose lease nobody else holds."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(running, "COOL_DOWN_S", 0.0)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tiny(tmp_path, "torch")


def tiny(tmp_path: Path, new: str) -> tuple[Suite, tuple[UserKernel, ...]]:
    """Return the tiny suite of torch and a kernel called again."""
    kernels, own = parse(["torch", f"again={new}"])
    overrides = Overrides(kernels=kernels, own_kernels=[one.info for one in own])
    return suite_for(AGAIN, load_suite(str(tmp_path / "tiny.yaml"), overrides)), own


class Watcher:
    """Sees every block; ``on_block`` may act on it."""

    def __init__(self, on_block: Any = None) -> None:
        self.states: list[str] = []
        self.on_block = on_block

    def state(self, target: str, state: str) -> None:
        self.states.append(state)

    def planned(self, target: str, blocks: int, done: int, estimate_s: float) -> None:
        pass

    def block(self, target: str, record: Mapping[str, Any]) -> None:
        if self.on_block is not None:
            self.on_block(record)


def start(
    target: Target, aa: tuple[Suite, tuple[UserKernel, ...]], folder: Path, watch: Watcher
) -> Finished:
    return start_run(
        [target],
        aa[0],
        inventory=None,
        seed=3,
        directory=folder / "results",
        argv=["gfbench"],
        watch=watch,
        own_kernels=aa[1],
        rule=AGAIN,
    )


def scripted(script: Iterator[dict[str, Any] | None]) -> Any:
    """Return a judge who says what the script says: None is decided, an exception is raised."""

    def judged(run: Run, rule: Rule) -> Gate:
        said = next(script)
        if said == {"interrupt": True}:
            raise KeyboardInterrupt
        base, new = (case for case in all_cases_of(run))
        known = Verdict(
            target=run.targets[0].name,
            base=base,
            new=new,
            metric="latency",
            phase="backward",
            status="PASS" if said is None else "INCONCLUSIVE",
            margin=Margin(fraction=AGAIN.margin),
        )
        verdict = replace(known, **(said or {}))
        return Gate(run_id=run.run_id, rule=rule, verdicts=(verdict,))

    return judged


def all_cases_of(run: Run) -> tuple[Case, ...]:
    return tuple(dict.fromkeys(block.case for block in run.targets[0].blocks))


def test_a_run_over_ssh_is_extended_interrupted_resumed_and_verified(
    board: Sshd,
    home: ClientHome,
    tmp_path: Path,
    aa: tuple[Suite, tuple[UserKernel, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home.trust(board)
    target = Target(
        name="nano",
        host=board.host,
        port=board.port,
        user=board.user,
        python=sys.executable,
        workdir=str(tmp_path / "work"),
        env={"TMPDIR": str(tmp_path / "tmp")},
        threads=1,
    )
    first: Iterator[dict[str, Any] | None] = iter([{"more_rounds": 4}, {"interrupt": True}])
    monkeypatch.setattr(deciding, "judge_run", scripted(first))
    with pytest.raises(KeyboardInterrupt):
        start(target, aa, tmp_path, Watcher())
    (folder,) = (tmp_path / "results").iterdir()
    header = read_header(folder)
    assert header["gate"]["new"] == "kernel=again"
    assert rounds_of(folder) == (list(range(12)), [])

    then = iter([{"status": "FAIL", "verify": True}, None])
    monkeypatch.setattr(deciding, "judge_run", scripted(then))
    suite = suite_from_json(header["suite"])
    finished = resume_run(folder, [target], suite, inventory=None, watch=Watcher())
    assert finished.gate is not None
    assert finished.exit_code == 0
    assert rounds_of(folder) == (list(range(12)), list(range(12, 20)))
    loaded = load_run(folder).targets[0]
    assert loaded.session.blocks_planned == len(loaded.all_blocks)
    assert loaded.session.status == "ok"
    assert len(loaded.sentinels) == 20
    assert [block.order for block in sorted(loaded.all_blocks, key=lambda b: b.order)] == list(
        range(len(loaded.all_blocks))
    )
    assert {block.slot for block in loaded.verification} == {0, 1}
    assert verify_manifest(folder) == ()
    assert not list((tmp_path / "work" / "jobs").iterdir())


def rounds_of(folder: Path) -> tuple[list[int], list[int]]:
    """Return the rounds that were timed, and those of the verification."""
    target = load_run(folder).targets[0]
    found = []
    for blocks in (target.blocks, target.verification):
        timed = [block for block in blocks if block.kind == "timing" and block.status == "ok"]
        assert len(timed) == 2 * len({block.round for block in timed})
        found.append(sorted({block.round for block in timed}))
    return found[0], found[1]


@pytest.fixture
def hot(tmp_path: Path) -> Iterator[SimulatedBoard]:
    """A simulated board that throttles until it is cooled."""
    curve = make_curve("square", np.random.default_rng(1))
    simulated = SimulatedBoard(tmp_path / "orin", ORIN_NANO, ((curve, 0.013),))
    simulated.throttle()
    with simulated.alive():
        yield simulated


def local(simulated: SimulatedBoard, folder: Path) -> Target:
    return Target(
        name="local", sysroot=str(simulated.sysroot), workdir=str(folder / "work"), threads=1
    )


def test_a_board_that_throttles_throughout_is_invalid_after_repeats_however_slow_the_kernel(
    hot: SimulatedBoard,
    tmp_path: Path,
    aa: tuple[Suite, tuple[UserKernel, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "slow.py").write_text(GOOD.replace(RETURN, 300 * MORE_WORK + RETURN))
    monkeypatch.setattr(deciding, "LOOKS", (8,))
    monkeypatch.setattr(deciding, "REPEATS", 3)
    watch = Watcher()
    slow = tiny(tmp_path, str(tmp_path / "slow.py"))
    finished = start(local(hot, tmp_path), slow, tmp_path, watch)
    assert finished.gate is not None
    (verdict,) = finished.gate.verdicts
    assert verdict.status == "INVALID"
    assert verdict.cause == "environment"
    assert "oc1_event_cnt" in verdict.reason
    assert finished.exit_code == 3
    assert "cooling down" in watch.states
    blocks = load_run(finished.folder).targets[0].blocks
    timed = [block for block in blocks if block.kind == "timing"]
    assert {block.status for block in timed} == {"throttled"}
    assert {block.round for block in timed} == set(range(8 + 3))
    medians = {b.case.kernel: b.timing["backward"].median_s or 0 for b in timed}
    assert medians["again"] > 2 * medians["torch"]  # and still no FAIL


def test_rounds_that_throttled_are_measured_again_and_then_decided(
    hot: SimulatedBoard, tmp_path: Path, aa: tuple[Suite, tuple[UserKernel, ...]]
) -> None:
    def cool_after_two_rounds(record: Mapping[str, Any]) -> None:
        if record["round"] == 2:
            hot.cool()

    finished = start(local(hot, tmp_path), aa, tmp_path, Watcher(cool_after_two_rounds))
    assert finished.gate is not None
    (verdict,) = finished.gate.verdicts
    assert verdict.status != "FAIL"
    assert verdict.rounds >= 8
    target = load_run(finished.folder).targets[0]
    throttled = {block.round for block in target.blocks if block.status == "throttled"}
    assert {0, 1} <= throttled <= {0, 1, 2}
    good, _ = rounds_of(finished.folder)
    assert set(good).isdisjoint(throttled - {2})
    assert len(good) >= 8
