"""Evidence of throttling, from the states around a block."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_run import FakeTarget, make_run

from reports.metrics.of_run import compare
from reports.results.read import load_run
from reports.results.records import MachineState
from reports.results.throttle import throttled


def state(get_throttled: str = "", **throttle: float) -> MachineState:
    return MachineState(throttle=dict(throttle), get_throttled=get_throttled)


def test_counters_that_stand_still_are_no_evidence() -> None:
    assert throttled(state(oc1_event_cnt=7), state(oc1_event_cnt=7)) is None


def test_a_counter_that_grew_is_evidence_with_its_numbers() -> None:
    found = throttled(state(oc3_event_cnt=7), state(oc3_event_cnt=9))
    assert found == "throttled during the block: oc3_event_cnt went from 7 to 9"


def test_a_counter_that_was_not_read_before_proves_nothing() -> None:
    assert throttled(state(), state(oc3_event_cnt=9)) is None
    assert throttled(None, state(oc3_event_cnt=9)) is None
    assert throttled(state(), None) is None


def test_an_alert_that_is_still_up_is_evidence() -> None:
    raised = MachineState(throttle={"cpu-throttle-alert": 1.0})
    assert "cpu-throttle-alert is 1" in (throttled(raised, raised) or "")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("throttled=0x0", "throttled=0x0", ""),
        ("throttled=0x50000", "throttled=0x50000", ""),  # long ago, since the board started
        ("throttled=0x0", "throttled=0x50005", "under-voltage"),
        ("throttled=0x0", "throttled=0x40000", "throttled (get_throttled 0x40000)"),
        ("throttled=0x80000", "throttled=0x80008", "soft temperature limit"),
        ("", "throttled=0x50005", ""),
        ("!vcgencmd: failed", "!vcgencmd: failed", ""),
    ],
)
def test_the_flags_of_a_pi_count_while_set_or_newly_set(
    before: str, after: str, words: str
) -> None:
    found = throttled(state(before), state(after))
    assert (found is None) == (words == "")
    assert words in (found or "")


def test_a_throttled_block_does_not_count_and_says_why(tmp_path: Path) -> None:
    path = make_run(tmp_path, targets=[FakeTarget(name="board")])
    journal = path / "targets" / "board" / "journal.jsonl"
    blocks = [json.loads(line) for line in journal.read_text().splitlines()]
    victim = next(block for block in blocks if block["kind"] == "timing")
    victim["state_before"]["throttle"] = {"oc1_event_cnt": 1}
    victim["state_after"]["throttle"] = {"oc1_event_cnt": 2}
    journal.write_text("".join(json.dumps(block) + "\n" for block in blocks))
    run = load_run(path)
    found = next(block for block in run.targets[0].blocks if block.order == victim["order"])
    assert found.status == "throttled"
    rows = [row for row in compare(run) if row.metric == "latency_s" and row.status == "partial"]
    assert rows
    assert all("oc1_event_cnt went from 1 to 2" in row.reason for row in rows)
