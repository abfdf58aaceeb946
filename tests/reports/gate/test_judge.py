from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from gate_runs import BLOCK_S, NATIVE, TORCH, FakeBoard, make_gate_run

from reports.calibration.noise_floor import MetricFloor, NoiseFloor
from reports.gate.document import document
from reports.gate.judge import GateError, exit_code, judge, parse_margin
from reports.gate.verdict import Gate, Verdict
from reports.metrics.selectors import SelectorError
from reports.results.records import MachineState, SessionRecord
from reports.terminal.verdicts import lines
from workloads.spec.messages import Case


def gate_of(*boards: FakeBoard, **options: Any) -> Gate:
    chosen = {"base": "kernel=torch", "new": "kernel=native", "margin": 0.03, **options}
    return judge(make_gate_run(*boards), **chosen)


def verdict_of(board: FakeBoard, **options: Any) -> Verdict:
    (verdict,) = gate_of(board, **options).verdicts
    return verdict


def board(effect: float = 0.0, **options: Any) -> FakeBoard:
    return FakeBoard(effects={TORCH: 0.0, NATIVE: effect}, **options)


def floor_of(effect_q95: float, **options: Any) -> NoiseFloor:
    found = MetricFloor(
        metric="latency", phase="backward", rounds=12, spread=0.01, effect_q95=effect_q95,
        slot_effect=0.0, drift=0.01, detectable={8: 0.05},
    )  # fmt: skip
    return NoiseFloor(
        target="board", fingerprint="f", measured_at="2026-11-22T19:00:00Z", floors=(found,),
        **options,
    )  # fmt: skip


def throttled_in(*rounds: int) -> Any:
    def status(case: Case, round_: int) -> tuple[str, str]:
        hot = case == NATIVE and round_ in rounds
        return ("throttled", "throttled during the block: cooling") if hot else ("ok", "")

    return status


def test_a_kernel_that_is_no_slower_passes() -> None:
    verdict = verdict_of(board())
    assert verdict.status == "PASS"
    assert verdict.rounds == 8
    assert verdict.remedy == ""
    assert verdict.cause == ""
    assert verdict.effect is not None
    assert verdict.effect.ratio == pytest.approx(1, abs=0.01)


def test_a_kernel_that_is_slower_beyond_the_margin_fails_and_says_so() -> None:
    gate = gate_of(board(0.10))
    (verdict,) = gate.verdicts
    assert (verdict.status, verdict.cause) == ("FAIL", "code")
    assert "% slower [" in verdict.reason
    assert verdict.verify
    assert any("not verified" in flag for flag in verdict.flags)
    assert gate.exit_code == 1
    assert gate.changed == (verdict,)


def test_a_faster_kernel_passes_and_is_listed_as_changed() -> None:
    gate = gate_of(board(-0.3))
    assert gate.exit_code == 0
    assert gate.changed == gate.verdicts
    assert "% faster" in gate.verdicts[0].reason


@pytest.mark.parametrize(
    ("rounds", "look"), [(8, 8), (11, 8), (12, 12), (19, 16), (20, 20), (27, 20)]
)
def test_a_finished_run_is_judged_at_the_largest_look_within_its_rounds(
    rounds: int, look: int
) -> None:
    assert verdict_of(board(rounds=rounds)).rounds == look


def test_a_verification_batch_confirms_a_fail() -> None:
    verdict = verdict_of(board(0.10, verification=8))
    assert verdict.status == "FAIL"
    assert verdict.verification is not None
    assert verdict.verification.n == 8
    assert not verdict.verify
    assert verdict.rounds == 8


def test_what_an_independent_batch_does_not_confirm_is_no_fail() -> None:
    verdict = verdict_of(board(0.10, verification=8, verified_effect=0.0))
    assert (verdict.status, verdict.cause) == ("INCONCLUSIVE", "noise")
    assert verdict.more_rounds == 4
    assert "did not confirm" in verdict.reason


def test_eight_rounds_beyond_the_last_look_are_an_independent_batch() -> None:
    verdict = verdict_of(board(0.10, rounds=28))
    assert verdict.status == "FAIL"
    assert verdict.rounds == 20
    assert verdict.verification is not None

    def fades(case: Case, round_: int) -> float:
        return -0.1 if case == NATIVE and round_ >= 20 else 0.0

    faded = verdict_of(board(0.10, rounds=28, disturbance=fades))
    assert faded.status == "INCONCLUSIVE"


def test_an_undecided_gate_says_how_many_rounds_and_minutes_would_decide() -> None:
    gate = gate_of(board(0.03, noise=0.01))
    (verdict,) = gate.verdicts
    assert verdict.status == "INCONCLUSIVE"
    assert verdict.more_rounds == 4
    assert "a margin above" in verdict.remedy
    assert gate.exit_code == 3


def test_the_rounds_that_would_decide_are_told_with_their_time() -> None:
    open_ = verdict_of(board(0.0, noise=0.022, seed=4))
    assert open_.status == "INCONCLUSIVE"
    more = int(open_.remedy.split()[0])
    assert more in (4, 8, 12)
    minutes = round(more * 2 * BLOCK_S / 60)
    assert f"{more} more rounds, about {minutes} minutes" in open_.remedy
    assert "--until-decided" in open_.remedy


@pytest.mark.parametrize(("policy", "code"), [("warn", 3), ("fail", 1), ("pass", 0)])
def test_what_an_inconclusive_amounts_to_is_the_users_choice(policy: str, code: int) -> None:
    gate = gate_of(board(0.03, noise=0.01), inconclusive=policy)
    assert gate.verdicts[0].status == "INCONCLUSIVE"
    assert gate.exit_code == code


def test_too_few_rounds_are_invalid_with_what_is_lacking() -> None:
    verdict = verdict_of(board(0.5, rounds=6))
    assert verdict.status == "INVALID"
    assert verdict.more_rounds == 2
    assert "2 more rounds" in verdict.remedy


def test_a_throttled_board_is_invalid_and_never_fails() -> None:
    few = verdict_of(board(0.5, status=throttled_in(3)))
    assert (few.status, few.cause, few.more_rounds) == ("INVALID", "environment", 1)
    assert "throttled" in few.reason
    most = verdict_of(board(0.5, rounds=20, status=throttled_in(*range(11))))
    assert most.status == "INVALID"
    some = verdict_of(board(0.5, rounds=12, status=throttled_in(3)))
    assert some.status == "INVALID"
    assert some.verify


def test_throttled_rounds_that_were_repeated_do_not_spoil_a_verdict() -> None:
    repeated = verdict_of(board(rounds=9, status=throttled_in(3)))
    assert repeated.status == "PASS"
    assert repeated.rounds == 8
    assert any("lost 1 round" in flag for flag in repeated.flags)
    confirmed = verdict_of(board(0.5, rounds=9, status=throttled_in(3), verification=8))
    assert confirmed.status == "FAIL"


def test_a_changed_governor_is_invalid() -> None:
    def state(case: Case, round_: int) -> MachineState:
        return MachineState(governor="performance" if round_ < 4 else "powersave")

    verdict = verdict_of(board(0.5, state=state))
    assert (verdict.status, verdict.cause) == ("INVALID", "environment")
    assert "governor changed from performance to powersave in round 4" in verdict.reason


def test_a_restart_within_a_pair_is_invalid_and_between_rounds_is_not() -> None:
    def within(case: Case, round_: int) -> MachineState:
        return MachineState(boot_id="one" if round_ < 3 or case == TORCH else "two")

    def between(case: Case, round_: int) -> MachineState:
        return MachineState(boot_id="one" if round_ < 3 else "two")

    assert verdict_of(board(state=within)).status == "INVALID"
    assert verdict_of(board(state=between)).status == "PASS"


def test_an_unreachable_board_is_infra() -> None:
    session = SessionRecord(status="infra", reason="no connection", remedy="check its cable")
    gate = gate_of(board(rounds=3, session=session))
    (verdict,) = gate.verdicts
    assert (verdict.status, verdict.reason, verdict.remedy) == (
        "INFRA", "no connection", "check its cable",
    )  # fmt: skip
    assert gate.exit_code == 4


def test_a_kernel_that_crashes_is_infra_put_down_to_the_code() -> None:
    def status(case: Case, round_: int) -> tuple[str, str]:
        return ("failed", "segmentation fault") if case == NATIVE else ("ok", "")

    verdict = verdict_of(board(status=status))
    assert (verdict.status, verdict.cause) == ("INFRA", "code")
    assert "segmentation fault" in verdict.reason


def test_the_noise_floor_is_the_margin_where_it_is_larger() -> None:
    noisy = verdict_of(board(0.05), floors={"board": floor_of(0.10)})
    assert noisy.status == "PASS"
    assert noisy.margin.source == "noise floor"
    assert noisy.margin.fraction == pytest.approx(0.105, abs=0.001)
    assert "noise floor" in noisy.reason
    assert verdict_of(board(0.05), floors={"board": floor_of(0.01)}).status == "FAIL"


def test_a_stale_noise_floor_is_not_used_and_named() -> None:
    def state(case: Case, round_: int) -> MachineState:
        return MachineState(governor="powersave")

    floor = floor_of(0.10, conditions={"governor": "performance", "torch": "1.10"})
    gate = gate_of(board(0.05, state=state), floors={"board": floor})
    assert gate.verdicts[0].status == "FAIL"
    assert "stale (governor: performance then, powersave now)" in gate.notes[0]


def test_without_a_noise_floor_the_gate_says_so() -> None:
    (note,) = gate_of(board()).notes
    assert "gfbench calibrate -t board" in note


def test_an_effect_that_only_an_unsteady_board_shows_is_the_boards() -> None:
    # The board's clock changes in the middle of rounds 5 to 7 and of no other.
    def moves(case: Case, round_: int) -> float:
        return 0.3 if case == NATIVE and round_ >= 4 else 0.0

    def sentinel(round_: int) -> float:
        return 1.2 if round_ >= 4 else 1.0

    late = board(0.0, rounds=8, disturbance=moves, sentinel=sentinel, noise=0.001)
    assert verdict_of(late).status == "INCONCLUSIVE"
    assert verdict_of(late).cause == "board"
    assert any("sentinel moved by" in flag for flag in verdict_of(late).flags)


def test_an_effect_that_holds_while_the_board_is_steady_is_the_codes() -> None:
    unsteady = board(0.10, sentinel=lambda round_: 1.2 if round_ in (1, 6) else 1.0)
    verdict = verdict_of(unsteady)
    assert (verdict.status, verdict.cause) == ("FAIL", "code")
    assert any("the machine's speed changed" in flag for flag in verdict.flags)


def test_a_sentinel_within_its_calibrated_floor_did_not_move() -> None:
    unsteady = board(0.10, sentinel=lambda round_: 1.2 if round_ in (1, 6) else 1.0)
    floor = floor_of(0.01, sentinel_spread=0.1)
    assert not any(
        "sentinel" in flag for flag in verdict_of(unsteady, floors={"board": floor}).flags
    )


def test_lower_clocks_for_new_are_an_environment() -> None:
    def state(case: Case, round_: int) -> MachineState:
        mhz = 1400.0 if case == TORCH else 1200.0
        return MachineState(cpu_mhz=(mhz + round_, mhz))

    verdict = verdict_of(board(0.15, state=state))
    assert (verdict.status, verdict.cause) == ("FAIL", "environment")


def test_an_open_alarm_whose_interval_holds_no_effect_is_noise() -> None:
    verdict = verdict_of(board(0.02, noise=0.03, seed=3), margin=0.01)
    assert verdict.status == "INCONCLUSIVE"
    assert verdict.effect is not None
    assert verdict.effect.ci_low is not None
    assert verdict.effect.ci_low < 1 < verdict.effect.ratio - 0.01
    assert verdict.cause == "noise"


def test_an_open_alarm_that_leaves_out_no_effect_is_the_codes() -> None:
    verdict = verdict_of(board(0.035, noise=0.008), margin=0.03)
    assert verdict.status == "INCONCLUSIVE"
    assert verdict.cause == "code"


def test_memory_that_hardly_scatters_is_judged_by_three_rounds() -> None:
    def larger(case: Case, round_: int) -> int:
        return int(1e8 * (1.2 if case == NATIVE else 1.0)) + 4096 * round_

    options: dict[str, Any] = {"metrics": ("memory",)}
    verdict = verdict_of(board(memory_bytes=larger, memory_rounds=3), **options)
    assert (verdict.status, verdict.phase, verdict.rounds) == ("FAIL", "", 3)
    assert "% more memory" in verdict.reason
    equal = verdict_of(board(memory_bytes=lambda c, r: 10**8 + 4096 * r), **options)
    assert equal.status == "PASS"
    two = verdict_of(board(memory_bytes=larger, memory_rounds=2), **options)
    assert two.status == "INVALID"


def test_energy_without_a_sensor_is_invalid_with_what_to_do() -> None:
    verdict = verdict_of(board(), metrics=("energy",))
    assert verdict.status == "INVALID"
    assert "no power sensor" in verdict.reason
    assert "doctor" in verdict.remedy


def test_one_kernel_under_two_names_is_an_a_a_and_is_judged() -> None:
    again = NATIVE._replace(kernel="again")
    both = FakeBoard(effects={NATIVE: 0.0, again: 0.0})
    gate = gate_of(both, base="kernel=native", new="kernel=again")
    assert [verdict.status for verdict in gate.verdicts] == ["PASS"]


def test_the_same_case_on_both_sides_is_refused() -> None:
    with pytest.raises(SelectorError, match="again=native"):
        gate_of(board(), base="kernel=native", new="kernel=native")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": ("speed",)}, "latency, energy, memory"),
        ({"metrics": ()}, "latency, energy, memory"),
        ({"phases": ("sideways",)}, "forward, backward, step"),
        ({"margin": 3.0}, "3% or 0.03"),
        ({"inconclusive": "maybe"}, "warn, fail, pass"),
    ],
)
def test_a_gate_that_cannot_be_is_refused_with_the_choices(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(GateError, match=words):
        gate_of(board(), **options)


@pytest.mark.parametrize(("text", "margin"), [("3%", 0.03), ("0.03", 0.03), (" 2.5 % ", 0.025)])
def test_a_margin_is_a_percentage_or_a_fraction(text: str, margin: float) -> None:
    assert parse_margin(text) == pytest.approx(margin)


@pytest.mark.parametrize("text", ["3", "0", "-1%", "three", "100%", "nan", ""])
def test_a_margin_that_could_be_misread_is_refused(text: str) -> None:
    with pytest.raises(GateError, match=re.escape("3% or 0.03")):
        parse_margin(text)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ((), 0),
        (("PASS",), 0),
        (("PASS", "INCONCLUSIVE"), 3),
        (("INVALID", "FAIL"), 1),
        (("FAIL", "INFRA", "INVALID"), 4),
    ],
)
def test_exit_codes_follow_the_documented_precedence(statuses: tuple[str, ...], code: int) -> None:
    assert exit_code(statuses) == code


def test_boards_and_workloads_are_summed_up_separately() -> None:
    late = {
        case: case._replace(workload=case.layer._replace(name="late")) for case in (TORCH, NATIVE)
    }
    effects = {TORCH: 0.0, NATIVE: 0.02, late[TORCH]: 0.0, late[NATIVE]: 0.04}
    boards = [FakeBoard(name=name, effects=effects, seed=n) for n, name in enumerate("abc")]
    gate = gate_of(*boards)
    assert len(gate.verdicts) == 6
    assert gate.summary["a", "latency", "backward"].ratio == pytest.approx(1.03, abs=0.004)
    pooled = gate.fleet["latency", "backward"]
    assert pooled.boards == 3
    assert pooled.ci_low is not None
    assert pooled.ci_high is not None
    assert pooled.ci_low < 1.03 < pooled.ci_high


def test_methods_disagreeing_about_the_margins_side_are_flagged() -> None:
    def one_wild(case: Case, round_: int) -> float:
        return 0.9 if case == NATIVE and round_ == 2 else 0.0

    verdict = verdict_of(board(rounds=20, disturbance=one_wild))
    assert verdict.status == "PASS"
    assert verdict.outliers >= 1
    assert any(flag.startswith("paired t disagrees") for flag in verdict.flags)
    assert not any("disagrees" in flag for flag in verdict_of(board(rounds=20)).flags)


def test_the_table_fits_80_columns_and_tells_why_and_what_to_do() -> None:
    gate = gate_of(board(0.1, name="a"), board(0.03, noise=0.01, name="b"), board(0.0, name="c"))
    text = lines(gate)
    assert max(map(len, text)) <= 80
    whole = " ".join(" ".join(text).split())
    for part in ("FAIL", "INCONCLUSIVE", "PASS", "(cause: code)", "→", "[+", "8 rounds"):
        assert part in whole
    assert text[-1].startswith("1 PASS, 1 FAIL, 1 INCONCLUSIVE")


def test_the_document_is_strict_json_with_every_figure() -> None:
    gate = gate_of(board(0.1), metrics=("latency", "energy", "memory"))
    found = json.loads(json.dumps(document(gate), allow_nan=False))
    assert [one["status"] for one in found["verdicts"]] == ["FAIL", "INVALID", "INVALID"]
    first = found["verdicts"][0]
    assert first["effect"]["ratio"] == pytest.approx(1.1, abs=0.01)
    assert first["margin"] == {"fraction": 0.03, "source": "user"}
    assert first["new"]["kernel"] == "native"
    assert len(first["log_ratios"]) == 8
    assert found["changed"] == [0]
    assert found["exit_code"] == 1


def test_a_case_left_out_on_a_board_is_said_not_passed() -> None:
    from reports.results.records import SkippedCase

    skipped = SkippedCase(case=NATIVE, reason="needs 3 GB")
    session = SessionRecord(status="ok", skipped=(skipped,))
    only_torch = replace(board(), effects={TORCH: 0.0}, session=session)
    gate = gate_of(board(name="a"), only_torch)
    assert [verdict.status for verdict in gate.verdicts] == ["PASS", "INVALID"]
    assert "needs 3 GB" in gate.verdicts[1].reason
