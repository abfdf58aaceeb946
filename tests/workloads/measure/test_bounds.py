"""What the runner's own clock lets a block claim, and how its result reaches the runner."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from workloads.measure.bounds import impossible
from workloads.runner.handover import ForgedResult, Handover, hand_over

WINDOW_S = (100.0, 103.0)


def record(**changes: Any) -> dict[str, Any]:
    """Return a block's own account of one phase, all of it in order."""
    timing = {"warmup_s": [0.1], "times_s": [0.01] * 50, "window_s": [101.2, 102.0]}
    timing.update(changes.pop("timing", {}))
    spans = changes.pop("span", [101.0, 102.1])
    return {
        "timing": {"step": timing},
        "spans": {"step": spans},
        "ended_s": 102.9,
        "cpu_s": 4.0,
        **changes,
    }


def test_a_plain_block_is_possible() -> None:
    assert impossible(record(), WINDOW_S, 4.4) is None
    assert impossible({"memory": {}}, WINDOW_S, None) is None


@pytest.mark.parametrize(
    ("claimed", "cpu_s", "words"),
    [
        (record(timing={"times_s": [0.01] * 400}), None, "add up to 4.1 s"),
        (record(timing={"times_s": [float("nan")]}), None, "add up to nan"),
        (record(timing={"times_s": [0.01] * 120}), None, "iterations of 1.3 s in 1.1 s"),
        (
            record(timing={"window_s": [99.0, 101.5]}),
            None,
            "outside the span in which it was measured",
        ),
        (record(span=[99.0, 102.1]), None, "not timed while the process lived"),
        (record(span=[101.0, 104.0]), None, "not timed while the process lived"),
        (record(spans={}), None, "not timed while the process lived"),
        (record(ended_s=None), None, "inf s off the runner's"),
        (record(ended_s=104.0), None, "-1 s off the runner's"),
        (record(), 12.0, "used 12 s of processor time but reports 4 s"),
    ],
)
def test_what_cannot_have_been_is_named(
    claimed: dict[str, Any], cpu_s: float | None, words: str
) -> None:
    assert words in str(impossible(claimed, WINDOW_S, cpu_s))


def test_a_clock_that_was_slowed_down_falls_behind_the_runners() -> None:
    slow = record(ended_s=103.5)
    assert "29.5 s off" in str(impossible(slow, (100.0, 133.0), None))


@pytest.fixture
def handover(tmp_path: Path) -> Any:
    one = Handover(str(tmp_path))
    yield one
    one.close()


def test_a_result_arrives_whole_and_leaves_no_file(handover: Handover, tmp_path: Path) -> None:
    address = handover.expect()
    hand_over({"status": "ok", "times_s": [0.5] * 100_000}, address)
    result = handover.take()
    assert result is not None
    assert len(result["times_s"]) == 100_000
    assert list(tmp_path.iterdir()) == []


def test_each_block_begins_with_nothing(handover: Handover) -> None:
    hand_over({"status": "ok"}, handover.expect())
    handover.expect()
    assert handover.take() is None


@pytest.mark.parametrize(
    "written",
    [
        b'{"status":"ok"}\n',
        b"0123456789abcdef0123456789abcdef\n" + b'{"status":"ok"}\n',
        b"\xff" * 100,
    ],
)
def test_what_does_not_begin_with_the_blocks_word_is_refused(
    handover: Handover, written: bytes
) -> None:
    handover.expect()
    os.pwrite(handover.fd, written, 0)
    with pytest.raises(ForgedResult, match="something other than gfbench"):
        handover.take()


def test_a_second_result_behind_the_blocks_own_is_refused(handover: Handover) -> None:
    address = handover.expect()
    hand_over({"status": "ok"}, address)
    os.pwrite(handover.fd, json.dumps({"status": "ok"}).encode(), os.fstat(handover.fd).st_size)
    with pytest.raises(ForgedResult):
        handover.take()


def test_a_result_that_is_not_a_record_is_refused(handover: Handover) -> None:
    address = handover.expect()
    os.pwrite(handover.fd, f"{address.partition(':')[2]}\n[1, 2]\n".encode(), 0)
    with pytest.raises(ForgedResult, match="not a record"):
        handover.take()
