"""The floor under a backward: from the machine's own rates, exported and drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from make_run import make_run

from reports.metrics.of_run import compare
from reports.page.render import render
from reports.results.read import load_run
from reports.results.records import Run
from reports.stats.intervals import median_interval
from workloads.spec.costs import Bandwidth, Rates, floor_s

RATES = Rates(2, (Bandwidth(2**20, 4e10, 3e10, 5e10), Bandwidth(2**28, 1e10, 8e9, 9e9)), 2e11)


def faster(rates: Rates, times: float) -> Rates:
    sets = (Bandwidth(size, *(times * one for one in rest)) for size, *rest in rates.bandwidths)
    return Rates(rates.threads, tuple(sets), times * rates.flops_per_s)


def with_roofline(
    tmp_path: Path, flops_per_s: float | None = RATES.flops_per_s, rounds: Sequence[int] = (0,)
) -> Run:
    """Write a run whose machine was measured in some rounds, each time twice as fast."""
    path = make_run(tmp_path)
    journal = path / "targets" / "board-a" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    block = json.loads(lines[0])
    for part in ("timing", "memory", "fidelity"):
        block.pop(part, None)
    for times, round_ in enumerate(rounds):
        rates = faster(RATES, 2**times)
        sets = [one._asdict() for one in reversed(rates.bandwidths)]
        rate = flops_per_s and flops_per_s * 2**times
        roofline = {"threads": 2, "bandwidths": sets, "flops_per_s": rate}
        block.update(kind="roofline", order=9999 + times, round=round_, roofline=roofline)
        lines.append(json.dumps(block))
    journal.write_text("\n".join(lines) + "\n")
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


def test_a_round_is_held_against_its_own_rates_else_against_the_medians(tmp_path: Path) -> None:
    run = with_roofline(tmp_path, rounds=(0, 1, 3))  # rates, twice these, four times
    target = run.targets[0]
    assert target.rates == faster(RATES, 2)
    assert target.rates_by_round == {0: RATES, 1: faster(RATES, 2), 3: faster(RATES, 4)}
    row = next(row for row in compare(run) if row.metric == "floor_fraction")
    case = next(
        block.case
        for block in target.blocks
        if (block.case.layer.name, block.case.method, block.case.patch_size)
        == (row.workload, row.method, row.patch_size)
    )
    reached = [
        floor_s(case, "backward", faster(RATES, {0: 1, 3: 4}.get(block.round, 2)))
        / float(block.timing["backward"].median_s or 0)
        for block in target.blocks_of(case, "timing")
    ]
    assert row.value == pytest.approx(sorted(reached)[2] / 2 + sorted(reached)[3] / 2)


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
