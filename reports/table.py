"""The short table that a terminal shows when a run has ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.baseline import EXACT, baseline_phases
from reports.comparison import cases_of, compare
from reports.kernel_ratios import METRIC as KERNEL_RATIO
from reports.kernel_ratios import kernel_rows
from reports.records import Run
from reports.rows import Row, row_case


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A value with its interval; no value where it was not measured."""

    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """One case in the terminal's final table; speedups and fidelity stand together."""

    target: str
    workload: str
    method: str
    patch_size: int | None
    kernel: str
    device: str
    batch: int
    backward_s: Figure
    step_s: Figure
    backward_speedup: Figure
    step_speedup: Figure
    saved_bytes: Figure
    energy_j: Figure
    cosine_gx: Figure
    cosine_gw: Figure
    status: str
    reason: str
    torch_ratio: Figure = Figure()  # the backward's speed over that of kernel torch, same method
    baseline: tuple[str, ...] = ()  # the phases in which others are compared with this case


def summary_rows(run: Run) -> tuple[SummaryRow, ...]:
    """Return one row per target and case, in the order of the export."""
    cases: dict[tuple[object, ...], list[Row]] = {}
    for row in (*compare(run), *(row for t in run.targets for row in kernel_rows(run, t))):
        cases.setdefault(row.case, []).append(row)
    baselines = _baselines(run)
    return tuple(_summary(rows, baselines.get(case, ())) for case, rows in cases.items())


def _baselines(run: Run) -> dict[tuple[object, ...], tuple[str, ...]]:
    """Return the phases in which an exact case is the baseline, by what ``Row.case`` says."""
    return {
        row_case(target.name, case): baseline_phases(target, case)
        for target in run.targets
        for case in cases_of(run, target)
        if case.method == EXACT
    }


def _summary(rows: list[Row], baseline: tuple[str, ...]) -> SummaryRow:
    first = rows[0]
    worst = next((row for row in rows if row.metric == "latency_s" and row.status != "ok"), first)
    return SummaryRow(
        target=first.target,
        workload=first.workload,
        method=first.method,
        patch_size=first.patch_size,
        kernel=first.kernel,
        device=first.device,
        batch=first.batch,
        backward_s=_figure(rows, "latency_s", "backward"),
        step_s=_figure(rows, "latency_s", "step"),
        backward_speedup=_figure(rows, "speedup", "backward"),
        step_speedup=_figure(rows, "speedup", "step"),
        saved_bytes=_figure(rows, "saved_bytes", ""),
        energy_j=_figure(rows, "energy_j", "step"),
        cosine_gx=_figure(rows, "cosine_gx", ""),
        cosine_gw=_figure(rows, "cosine_gw", ""),
        torch_ratio=_figure(rows, KERNEL_RATIO, "backward"),
        baseline=baseline,
        status=worst.status,
        reason=worst.reason,
    )


def _figure(rows: Iterable[Row], metric: str, phase: str) -> Figure:
    for row in rows:
        if row.metric == metric and row.phase == phase:
            return Figure(value=row.value, ci_low=row.ci_low, ci_high=row.ci_high)
    return Figure()
