from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_run import FakeTarget, edit_json, make_run

from reports.metrics.headlines import headlines
from reports.metrics.of_run import compare
from reports.metrics.rows import COLUMNS, Row
from reports.metrics.table import exported_metrics
from reports.results.read import load_run
from reports.results.records import Run
from reports.stats.intervals import paired_ratio
from reports.terminal.table import summary_rows
from workloads.spec.messages import to_json

CONTRACT = (
    "run_id,target,platform,workload,method,patch_size,kernel,device,dtype,batch,phase,metric,"
    "unit,value,ci_low,ci_high,n,status,reason"
)
LATE_R4 = "late/gradient_filter-r4/torch/cpu/float32/b8"
LATE_EXACT = "late/exact/torch/cpu/float32/b8"


def load(tmp_path: Path, *targets: FakeTarget, **options: Any) -> Run:
    return load_run(make_run(tmp_path, targets=targets or (FakeTarget(),), **options))


def pick(rows: tuple[Row, ...], **wanted: object) -> list[Row]:
    return [row for row in rows if all(getattr(row, key) == is_ for key, is_ in wanted.items())]


def one(rows: tuple[Row, ...], **wanted: object) -> Row:
    (row,) = pick(rows, **wanted)
    return row


def medians(run: Run, workload: str, patch_size: int | None, phase: str) -> list[float]:
    blocks = [
        block
        for block in run.targets[0].blocks
        if block.kind == "timing"
        and (block.case.layer.name, block.case.patch_size) == (workload, patch_size)
    ]
    blocks.sort(key=lambda block: block.round)
    return [float(np.median(block.timing[phase].times_s)) for block in blocks]


def test_the_columns_are_the_contracts() -> None:
    assert ",".join(COLUMNS) == CONTRACT


def test_a_latency_is_the_median_over_blocks_of_the_block_medians(tmp_path: Path) -> None:
    run = load(tmp_path)
    row = one(compare(run), workload="late", patch_size=2, metric="latency_s", phase="backward")
    values = medians(run, "late", 2, "backward")
    assert row.value == np.median(values)
    assert (row.ci_low, row.ci_high) == (min(values), max(values))  # all that six can give
    assert (row.n, row.status, row.reason, row.unit) == (6, "ok", "", "s")


def test_a_speedup_is_exact_over_method_paired_by_round(tmp_path: Path) -> None:
    run = load(tmp_path, rounds=9)
    rows = compare(run)
    for phase in ("backward", "step"):
        row = one(rows, workload="early", patch_size=4, metric="speedup", phase=phase)
        effect = paired_ratio(medians(run, "early", 4, phase), medians(run, "early", None, phase))
        assert (row.value, row.ci_low, row.ci_high, row.n) == (
            effect.ratio, effect.ci_low, effect.ci_high, 9,
        )  # fmt: skip
    assert not pick(rows, method="exact", metric="speedup")


def test_backward_and_step_speedup_always_stand_together(tmp_path: Path) -> None:
    target = FakeTarget(broken={LATE_R4: ("failed", "no")}, skipped={LATE_EXACT: "too large"})
    rows = pick(compare(load(tmp_path, target)), metric="speedup")
    assert len(rows) == 12
    phases = [row.phase for row in rows]
    assert phases == ["backward", "step"] * 6


def test_rounds_are_paired_not_pooled(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    journal = path / "targets" / "board-a" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    dropped = [
        line for line in lines
        if not ('"round": 0' in line and '"patch_size": 2' in line and '"timing"' in line)
    ]  # fmt: skip
    assert len(dropped) == len(lines) - 3
    journal.write_text("\n".join(dropped) + "\n")
    rows = compare(load_run(path))
    assert {row.n for row in pick(rows, metric="speedup", patch_size=2)} == {5}
    assert {row.n for row in pick(rows, metric="speedup", patch_size=4)} == {6}


def test_five_rounds_say_that_there_is_no_interval(tmp_path: Path) -> None:
    rows = pick(compare(load(tmp_path, rounds=5)), metric="speedup")
    assert {(row.n, row.ci_low, row.status) for row in rows} == {(5, None, "ok")}
    assert all("fewer than 6 rounds" in row.reason for row in rows)


def test_what_is_missing_has_no_value_but_a_status_and_a_reason(tmp_path: Path) -> None:
    targets = (
        FakeTarget(broken={LATE_R4: ("out_of_memory", "killed")}, temperatures=False),
        FakeTarget(name="lost", status="infra", reason="connection refused", stop_after=0),
    )
    rows = compare(load(tmp_path, *targets))
    missing = [row for row in rows if row.value is None]
    assert missing
    for row in missing:
        assert row.status not in ("ok", "partial")
        assert row.reason
        assert (row.ci_low, row.ci_high, row.n) == (None, None, 0)
    assert all(row.value != 0 for row in rows)
    assert {row.unit for row in rows} <= {metric.unit for metric in exported_metrics()}


def test_a_failed_case_keeps_its_rows_with_the_blocks_own_status(tmp_path: Path) -> None:
    rows = compare(load(tmp_path, FakeTarget(broken={LATE_R4: ("out_of_memory", "killed")})))
    mine = pick(rows, workload="late", patch_size=4)
    assert {row.phase for row in mine if row.metric == "latency_s"} == {
        "forward",
        "backward",
        "step",
    }
    assert {(row.status, row.reason) for row in mine if not row.metric.endswith(("_j", "_w"))} == {
        ("out_of_memory", "killed")
    }
    assert {row.status for row in pick(rows, workload="late", patch_size=2, metric="speedup")} == {
        "ok"
    }


def test_some_failed_blocks_leave_a_partial_value(tmp_path: Path) -> None:
    target = FakeTarget(broken={LATE_R4: ("throttled", "clock fell")}, broken_rounds=(1, 4))
    rows = compare(load(tmp_path, target, rounds=8))
    for metric in ("latency_s", "speedup"):
        row = one(rows, workload="late", patch_size=4, metric=metric, phase="step")
        assert row.value is not None
        assert (row.n, row.status) == (6, "partial")
        assert row.reason == "2 of 8 blocks: clock fell"


def test_a_skipped_case_has_rows_and_a_missing_baseline_is_named(tmp_path: Path) -> None:
    rows = compare(load(tmp_path, FakeTarget(skipped={LATE_EXACT: "5 GiB of 4 GiB"})))
    skipped = pick(rows, workload="late", method="exact", metric="latency_s")
    assert {(row.status, row.reason) for row in skipped} == {("skipped", "5 GiB of 4 GiB")}
    row = one(rows, workload="late", patch_size=2, metric="speedup", phase="step")
    assert (row.value, row.status) == (None, "skipped")
    assert row.reason == "exact baseline: 5 GiB of 4 GiB"


def test_a_lost_target_has_rows_of_every_planned_case(tmp_path: Path) -> None:
    lost = FakeTarget(name="lost", status="infra", reason="no route", stop_after=0)
    rows = compare(load(tmp_path, FakeTarget(), lost))
    latencies = pick(rows, target="lost", metric="latency_s")
    assert len(latencies) == 9 * 3
    assert {(row.status, row.reason) for row in latencies} == {("infra", "no route")}
    assert {row.status for row in pick(rows, target="board-a", metric="latency_s")} == {"ok"}


def test_a_session_that_broke_off_is_partial(tmp_path: Path) -> None:
    target = FakeTarget(status="infra", reason="broke off", stop_after=15 + 4 * 9)
    rows = compare(load(tmp_path, target, rounds=8))
    row = one(rows, workload="early", patch_size=2, metric="latency_s", phase="step")
    assert (row.n, row.status, row.reason) == (4, "partial", "4 of 8 rounds: broke off")


def test_cases_planned_for_other_targets_are_left_out(tmp_path: Path) -> None:
    path = make_run(tmp_path)

    def plan_more(header: dict[str, Any]) -> None:
        case = dict(header["plan"]["cases"][0], device="cuda")
        header["plan"]["cases"].append(case)

    edit_json(path / "run.json", plan_more)
    assert not pick(compare(load_run(path)), device="cuda")


def test_fidelity_has_both_spectra(tmp_path: Path) -> None:
    rows = compare(load(tmp_path))
    natural = one(rows, workload="early", patch_size=2, metric="cosine_gx", phase="")
    noise = one(rows, workload="early", patch_size=2, metric="cosine_gx", phase="white_noise")
    assert natural.value is not None
    assert noise.value is not None
    assert natural.value > 0.9 > 0.3 > noise.value
    assert not pick(rows, method="exact", metric="cosine_gx")


def test_the_order_of_rows_is_stable(tmp_path: Path) -> None:
    first = compare(load(tmp_path, FakeTarget(name="z"), FakeTarget(name="a")))
    again = compare(load_run(tmp_path / "20261122-190000-abc123"))
    assert first == again
    assert list(dict.fromkeys(row.target for row in first)) == ["z", "a"]
    workloads = list(dict.fromkeys(row.workload for row in first))
    assert workloads == ["early", "middle", "late"]


def test_no_sensor_is_said_and_a_short_window_is_not_a_number(tmp_path: Path) -> None:
    rows = compare(load(tmp_path, FakeTarget(), FakeTarget(name="b", power=True), rounds=1))
    energies = pick(rows, metric="energy_j")
    assert {row.value for row in energies} == {None}
    assert {row.reason for row in energies if row.target == "board-a"} == {"no power sensor"}
    short = [row for row in energies if row.target == "b"]
    assert {row.phase for row in short} == {"forward", "backward", "step"}
    assert all("window too short" in row.reason for row in short)


def test_energy_is_the_power_times_the_time(tmp_path: Path) -> None:
    target = FakeTarget(power=True, window_s=12.5)
    run = load(tmp_path, target, layers=(("early", 16, 56),))
    rows = compare(run)
    for patch_size in (None, 2, 4):
        energy = one(rows, patch_size=patch_size, metric="energy_j", phase="step")
        latency = one(rows, patch_size=patch_size, metric="latency_s", phase="step")
        power = one(rows, patch_size=patch_size, metric="power_w", phase="step")
        assert latency.value is not None
        assert energy.value == pytest.approx(8.0 * latency.value, rel=0.02)
        assert power.value == pytest.approx(8.0, rel=0.02)
        assert energy.n == 6
    headline = headlines(run, run.targets[0], rows)[0]
    assert headline.energy is not None
    assert headline.step is not None
    assert headline.energy.ratio == pytest.approx(1 / headline.step.ratio, rel=0.02)
    assert headline.energy.ci_low is not None


def test_a_headline_is_the_geometric_mean_of_the_workloads(tmp_path: Path) -> None:
    # It was once averaged inside each round, which a site and a gate cannot do: they know each
    # workload's own figure. One figure for all three is held by test_over_workloads.py.
    run = load(tmp_path, rounds=7)
    (headline, _) = headlines(run, run.targets[0], compare(run))
    effects = [
        paired_ratio(medians(run, name, 2, "step"), medians(run, name, None, "step"))
        for name in ("early", "middle", "late")
    ]
    assert (headline.workloads, headline.workloads_planned) == (3, 3)
    assert headline.step is not None
    for name in ("ratio", "ci_low", "ci_high"):
        mean = np.exp(np.mean(np.log([getattr(effect, name) for effect in effects])))
        assert getattr(headline.step, name) == pytest.approx(mean)
    assert headline.saved is not None
    assert headline.saved.ratio == pytest.approx(0.27, abs=0.001)
    assert headline.cosine_gx is not None
    assert headline.cosine_gx.low <= headline.cosine_gx.median <= headline.cosine_gx.high


def test_a_headline_says_how_many_workloads_it_is_of(tmp_path: Path) -> None:
    run = load(tmp_path, FakeTarget(broken={LATE_R4: ("failed", "no")}))
    filtered2, filtered4 = headlines(run, run.targets[0], compare(run))
    assert (filtered2.workloads, filtered2.workloads_planned) == (3, 3)
    assert (filtered4.workloads, filtered4.workloads_planned) == (2, 3)


def test_targets_are_never_pooled(tmp_path: Path) -> None:
    run = load(tmp_path, FakeTarget(noise=0.0), FakeTarget(name="b", speed=5, noise=0.0))
    rows = compare(run)
    first, second = (headlines(run, target, rows)[0] for target in run.targets)
    assert (first.target, second.target) == ("board-a", "b")
    slow = one(
        rows, target="board-a", workload="early", method="exact", phase="step", metric="latency_s"
    )
    fast = one(rows, target="b", workload="early", method="exact", phase="step", metric="latency_s")
    assert slow.value is not None
    assert fast.value is not None
    assert math.isclose(slow.value / fast.value, 5, rel_tol=0.1)


def test_the_terminals_table_has_a_row_per_case_and_says_what_failed(tmp_path: Path) -> None:
    run = load(tmp_path, FakeTarget(broken={LATE_R4: ("failed", "a reason")}))
    table = summary_rows(run)
    assert len(table) == 9
    failed = table[-1]
    assert (failed.workload, failed.patch_size) == ("late", 4)
    assert (failed.status, failed.reason) == ("failed", "a reason")
    assert failed.figure("speedup", "step").value is None
    exact, filtered = table[0], table[1]
    assert exact.figure("speedup", "step").value is None
    assert filtered.figure("speedup", "backward").value is not None
    assert filtered.figure("cosine_gw").value is not None


def test_a_target_that_plans_for_its_own_device_has_no_rows_of_another(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    run = load_run(folder)
    session = folder / "targets" / run.targets[0].name / "session.json"
    own = [{**to_json(case), "device": "cuda"} for case in run.header.plan.cases]
    edit_json(session, lambda document: document.update(cases=own, status="infra"))
    journal = session.with_name("journal.jsonl")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    for record in records:
        record["case"]["device"] = "cuda"
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert {row.device for row in compare(load_run(folder))} == {"cuda"}
