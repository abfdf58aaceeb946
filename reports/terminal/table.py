"""The final table of a run, and the summary rows that it shows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reports.metrics.baseline import baseline_phases
from reports.metrics.kernel_ratios import METRIC as KERNEL_RATIO
from reports.metrics.kernel_ratios import kernel_rows
from reports.metrics.of_run import cases_of, compare
from reports.metrics.rows import Row, row_case
from reports.results.records import Run
from reports.text.wording import KERNELS, MISSING, joules, printable, seconds, size
from workloads.spec.methods import BASELINE


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
        if case.method == BASELINE
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


MEASURED = ("ok", "partial")
REASON_CHARACTERS = 200


class Column(NamedTuple):
    """A column of the final table: two lines of heading, and what it shows of a case."""

    over: str
    name: str
    cell: Callable[[SummaryRow], str]


def final_table(rows: Sequence[SummaryRow], width: int | None) -> list[str]:
    """Return the lines of a run's summary: a heading per workload, a line per case below it.

    Latency, saved memory and energy are left out where ``width`` (in columns) is too small for
    them; where it still is, a case takes two lines. None is no terminal: nothing is left out,
    whatever COLUMNS says. Names are never cut.
    """
    figures = [row for row in rows if row.status in MEASURED]  # a reason may wrap, figures not
    for columns in ([*SPEEDUPS, *COSINES, *LATENCIES, *_measured(rows)], [*SPEEDUPS, *COSINES]):
        lines = _lines(figures, columns)
        if width is None or max(map(len, lines), default=0) <= width:
            return _lines(rows, columns)
    return _lines(rows, [*SPEEDUPS, *COSINES], folded=True)


def _measured(rows: Sequence[SummaryRow]) -> list[Column]:
    """Return the columns of figures that not every run has."""
    return [
        column
        for column in (KERNEL, SAVED, ENERGY)
        if any(column.cell(row) != MISSING for row in rows if row.status in MEASURED)
    ]


def _lines(
    rows: Sequence[SummaryRow], columns: Sequence[Column], *, folded: bool = False
) -> list[str]:
    cells = [_cells(row, columns) for row in rows]
    heads = [("", *(column.over for column in columns)), ("", *(column.name for column in columns))]
    full = [*heads, *(line for line in cells if len(line) == len(columns) + 1)]
    widths = [max(len(line[i]) for line in full) for i in range(len(columns) + 1)]
    widths[0] = 0 if folded else max((len(line[0]) for line in cells), default=0)
    lines = [_joined(head, widths) for head in heads] if rows else []
    heading = ""
    several = len({row.target for row in rows}) > 1
    for row, line in zip(rows, cells, strict=True):
        last, heading = heading, _heading(row, several)
        lines += [heading] if heading != last else []
        measured = len(line) == len(widths)
        lines += [f"  {line[0]}"] if folded and measured else []
        lines.append(_joined(("", *line[1:]) if folded and measured else line, widths))
    return lines


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = cells
    padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False)]
    return " ".join([f"  {first.ljust(widths[0])}", *padded]).rstrip()


def _heading(row: SummaryRow, several: bool) -> str:
    return case_heading(row.target if several else "", row.workload, row.batch, row.device)


def case_heading(target: str, workload: str, batch: int, device: str) -> str:
    """Return the line above the cases of a workload; with the target where there are several."""
    return printable(f"{f'{target}: ' if target else ''}{workload}, batch {batch}, {device}")


def case_name(method: str, patch_size: int | None, kernel: str) -> str:
    """Return a case as a line of the table begins."""
    name = method if patch_size is None else f"{method} r{patch_size}"
    return printable(name if kernel == "torch" else f"{name} {KERNELS.get(kernel, kernel)}")


def _cells(row: SummaryRow, columns: Sequence[Column]) -> tuple[str, ...]:
    """Return a line's cells: the method and its figures, or why there are none."""
    method = case_name(row.method, row.patch_size, row.kernel)
    if row.status not in MEASURED:
        reason = f"{row.status}: {row.reason}" if row.reason else row.status
        return (method, printable(reason)[:REASON_CHARACTERS])
    return (method, *(column.cell(row) for column in columns))


def _speedup(row: SummaryRow, figure: Figure, phase: str) -> str:
    if figure.value is None:
        return "baseline" if phase in row.baseline else MISSING
    if figure.ci_low is None or figure.ci_high is None:
        return f"{_ratio(figure.value)}x"
    return f"{_ratio(figure.value)}x [{_ratio(figure.ci_low)}, {_ratio(figure.ci_high)}]"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _cosine(figure: Figure) -> str:
    return MISSING if figure.value is None else f"{figure.value:.3f}"


SPEEDUPS = (
    Column("speedup", "backward", lambda row: _speedup(row, row.backward_speedup, "backward")),
    Column("speedup", "step", lambda row: _speedup(row, row.step_speedup, "step")),
)
COSINES = (
    Column("cos", "g_x", lambda row: _cosine(row.cosine_gx)),
    Column("cos", "g_w", lambda row: _cosine(row.cosine_gw)),
)
LATENCIES = (
    Column("time", "backward", lambda row: seconds(row.backward_s.value)),
    Column("time", "step", lambda row: seconds(row.step_s.value)),
)
KERNEL = Column("over torch", "backward", lambda row: _speedup(row, row.torch_ratio, ""))
SAVED = Column("saved", "memory", lambda row: size(row.saved_bytes.value))
ENERGY = Column("energy", "step", lambda row: joules(row.energy_j.value))
