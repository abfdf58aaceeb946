"""The floor under a backward: from the machine's own rates, exported and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_run import make_run

from reports.comparison import compare
from reports.page import render
from reports.records import Run
from reports.results import load_run
from reports.stats import median_interval
from workloads.costs import Bandwidth, Rates, floor_s

RATES = Rates(2, (Bandwidth(2**20, 4e10, 3e10, 5e10), Bandwidth(2**28, 1e10, 8e9, 9e9)), 2e11)


def with_roofline(tmp_path: Path, flops_per_s: float | None = RATES.flops_per_s) -> Run:
    path = make_run(tmp_path)
    journal = path / "targets" / "board-a" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    block = json.loads(lines[0])
    for part in ("timing", "memory", "fidelity"):
        block.pop(part, None)
    sets = [one._asdict() for one in reversed(RATES.bandwidths)]
    roofline = {"threads": 2, "bandwidths": sets, "flops_per_s": flops_per_s}
    block.update(kind="roofline", order=9999, roofline=roofline)
    journal.write_text("\n".join([*lines, json.dumps(block)]) + "\n")
    return load_run(path)


def test_a_floor_fraction_is_the_floor_over_the_measured_time(tmp_path: Path) -> None:
    run = with_roofline(tmp_path)
    rows = [row for row in compare(run) if row.metric == "floor_fraction"]
    assert len(rows) == 9
    for row in rows:
        case, own = next(
            (block.case, block)
            for block in run.targets[0].blocks
            if (block.case.layer.name, block.case.patch_size) == (row.workload, row.patch_size)
        )
        assert own.case.method == row.method
        floor = floor_s(case, "backward", RATES)
        times = [
            block.timing["backward"].median_s for block in run.targets[0].blocks_of(case, "timing")
        ]
        reached = [floor / time_s for time_s in times if time_s]
        assert len(reached) == row.n == 6
        assert row.value == pytest.approx(sorted(reached)[2] / 2 + sorted(reached)[3] / 2)
        assert (row.ci_low, row.ci_high) == median_interval(reached)
        assert (row.phase, row.status, row.unit) == ("backward", "ok", "1")


def test_the_roofline_is_drawn(tmp_path: Path) -> None:
    page = render([with_roofline(tmp_path)])
    assert 'id="floor"' in page
    assert 'id="roofline"' in page


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_impossible_rates_give_no_floor(tmp_path: Path, rate: float) -> None:
    run = with_roofline(tmp_path, rate)
    assert run.targets[0].rates is None
    assert not [row for row in compare(run) if row.metric == "floor_fraction"]
    assert 'id="roofline"' not in render([run])


def test_a_run_without_rates_has_no_floor(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path))
    assert not [row for row in compare(run) if row.metric == "floor_fraction"]
