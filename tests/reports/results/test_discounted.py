"""Blocks that were measured and must not count: refused kernels, and what no machine can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from make_run import make_run

from reports.gate.judge import judge
from reports.metrics.of_run import compare
from reports.results.read import load_run
from reports.results.records import Run

GIBI = 2**30
JOURNAL = Path("targets") / "nano" / "journal.jsonl"


def rates(read: float) -> dict[str, Any]:
    bandwidths = [
        {"working_set_bytes": size, "read": read, "write": read, "copy": read}
        for size in (2**20, 2**28)
    ]
    return {"threads": 2, "bandwidths": bandwidths, "flops_per_s": 1e15}


def changed(folder: Path, change: Any, roofline: float | None = None) -> Run:
    """Return the run after a change of its records, with the machine's rates in each round."""
    (journal,) = folder.glob("targets/*/journal.jsonl")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    for record in records:
        change(record)
    if roofline is not None:
        first = records[0]
        for round_ in {record["round"] for record in records}:
            block = {**first, "kind": "roofline", "round": round_, "order": 10_000 + round_}
            for name in ("timing", "memory", "fidelity"):
                block.pop(name, None)
            records.append({**block, "status": "ok", "roofline": rates(roofline)})
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    return load_run(folder)


def timed(record: dict[str, Any], patch_size: int) -> bool:
    return record.get("kind") == "timing" and record["case"]["patch_size"] == patch_size


def test_what_a_refused_kernel_showed_in_other_rounds_does_not_count(tmp_path: Path) -> None:
    def refuse(record: dict[str, Any]) -> None:
        if timed(record, 4) and record["round"] == 3 and record["case"]["layer"]["name"] == "late":
            record.update(status="failed", reason="it answers from memory", refused=True)

    run = changed(make_run(tmp_path), refuse)
    rows = [row for row in compare(run) if (row.workload, row.patch_size) == ("late", 4)]
    assert rows
    assert all(row.value is None for row in rows)
    assert {row.status for row in rows if row.metric == "latency_s"} == {"failed"}
    assert {row.reason for row in rows if row.metric == "latency_s"} == {"it answers from memory"}
    others = [row for row in compare(run) if (row.workload, row.patch_size) == ("late", 2)]
    assert any(row.metric == "speedup" and row.value for row in others)


def test_a_backward_faster_than_the_machine_is_invalid_everywhere(tmp_path: Path) -> None:
    def vanish(record: dict[str, Any]) -> None:
        if timed(record, 2):
            times_s = record["timing"]["backward"]["times_s"]
            record["timing"]["backward"]["times_s"] = [time_s / 1e5 for time_s in times_s]

    run = changed(make_run(tmp_path, rounds=8), vanish, roofline=100 * GIBI)
    rows = [row for row in compare(run) if row.method == "gradient_filter"]
    for metric in ("latency_s", "speedup"):
        mine = [row for row in rows if row.patch_size == 2 and row.metric == metric]
        assert {row.status for row in mine} == {"invalid"}
        assert all(row.value is None for row in mine)
        assert all("what was timed cannot have been the work" in row.reason for row in mine)
        other = [row for row in rows if row.patch_size == 4 and row.metric == metric]
        assert {row.status for row in other} == {"ok"}
    gate = judge(
        run, base="method=exact", new="method=gradient_filter,patch_size=2", phases=("backward",)
    )
    assert {verdict.status for verdict in gate.verdicts} == {"INVALID"}
    assert "cannot have been the work" in gate.verdicts[0].reason
    assert gate.exit_code == 3


@pytest.mark.parametrize("over", [0.9, 1.05])
def test_near_the_floor_a_backward_counts(tmp_path: Path, over: float) -> None:
    folder = make_run(tmp_path, rounds=8)
    run = changed(folder, lambda record: None, roofline=100 * GIBI)
    shares = [row.value for row in compare(run) if row.metric == "floor_fraction" and row.value]
    fastest = max(shares)
    run = changed(folder, lambda record: None, roofline=100 * GIBI * fastest / over)
    assert not [row for row in compare(run) if row.status == "invalid"]


def test_exact_may_pass_the_floor(tmp_path: Path) -> None:
    run = changed(make_run(tmp_path, rounds=8), lambda record: None, roofline=1e3)
    exact = [row for row in compare(run) if row.method == "exact" and row.metric == "latency_s"]
    assert {row.status for row in exact} == {"ok"}
    filtered = [row for row in compare(run) if row.method != "exact" and row.metric == "latency_s"]
    assert {row.status for row in filtered} == {"invalid"}


def test_cases_that_were_timed_by_different_protocols_are_not_compared(tmp_path: Path) -> None:
    """As when `compare` measures a revision from before inputs were changed."""

    def verify(record: dict[str, Any]) -> None:
        if timed(record, 4):
            record["verified"] = {"step": {"iterations": 2, "error": 1e-7}}

    run = changed(make_run(tmp_path, rounds=8), verify)
    gate = judge(run, base="method=exact", new="method=gradient_filter,patch_size=4")
    assert {verdict.status for verdict in gate.verdicts} == {"INVALID"}
    assert "does not change the inputs" in gate.verdicts[0].reason
    same = judge(run, base="method=exact", new="method=gradient_filter,patch_size=2")
    assert "INVALID" not in {verdict.status for verdict in same.verdicts}
