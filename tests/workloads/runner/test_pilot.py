"""The pilot round: slow exact kernels of a network are not timed again."""

from __future__ import annotations

from typing import Any

import pytest

from workloads.runner.pilot import Pilot
from workloads.spec.messages import Block, Case, Layer, Network

TINY = Network("tiny-8-all", "tiny", 8, 8, 10)
STEPS_MS = {"torch": 9.0, "torch-channels-last": 5.0, "folded": 4.0, "fused": 2.0}


def block(kernel: str, round_: int, **changes: Any) -> Block:
    case = Case(TINY, "exact", None, kernel, "cpu", "float32", 4)
    return Block(0, round_, 0, "timing", case, 1)._replace(**changes)


def record(step_ms: float, status: str = "ok") -> dict[str, Any]:
    times_s = [2e-3 * step_ms, 1e-3 * step_ms, 0.5e-3 * step_ms]
    return {"status": status, "timing": {"step": {"times_s": times_s}}}


def after_round_0(kept: int, **steps_ms: float) -> Pilot:
    pilot = Pilot(kept)
    for kernel, step_ms in {**STEPS_MS, **steps_ms}.items():
        pilot.note(block(kernel, 0), record(step_ms))
    return pilot


def test_only_the_quickest_are_timed_after_round_0() -> None:
    pilot = after_round_0(2)
    left_out = {name for name in STEPS_MS if pilot.reason_to_leave_out(block(name, 1))}
    assert left_out == {"torch", "torch-channels-last"}


def test_the_reason_says_how_slow_it_was_and_how_quick_the_others_were() -> None:
    assert after_round_0(2).reason_to_leave_out(block("torch", 3)) == (
        "slower in the pilot round: a step of 9 ms, against 2 ms (fused) and 4 ms (folded)"
    )


def test_round_0_itself_times_all() -> None:
    assert after_round_0(2).reason_to_leave_out(block("torch", 0)) is None


def test_later_rounds_do_not_change_the_choice() -> None:
    pilot = after_round_0(2)
    pilot.note(block("fused", 1), record(99.0))
    assert pilot.reason_to_leave_out(block("fused", 2)) is None


def test_without_a_pilot_all_rounds_time_all() -> None:
    assert after_round_0(0).reason_to_leave_out(block("torch", 1)) is None


def test_a_kernel_that_failed_in_round_0_is_tried_again() -> None:
    pilot = Pilot(1)
    pilot.note(block("fused", 0), record(2.0))
    pilot.note(block("torch", 0), {"status": "failed", "reason": "it broke"})
    assert pilot.reason_to_leave_out(block("torch", 1)) is None


LAYER = Layer("layer", 3, 8, 9, 9)


@pytest.mark.parametrize(
    "other",
    [
        block("torch", 1, kind="memory"),
        block("torch", 1, case=block("torch", 1).case._replace(method="gradient_filter")),
        block("torch", 1, case=block("torch", 1).case._replace(workload=LAYER)),
        block("torch", 1, case=block("torch", 1).case._replace(batch=8)),
    ],
    ids=["memory", "a filtered step", "a layer", "another batch"],
)
def test_nothing_else_is_left_out(other: Block) -> None:
    assert after_round_0(1).reason_to_leave_out(other) is None
