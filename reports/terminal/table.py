"""The final table of a run: a line per case. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.metrics.baseline import baseline_phases, slow_baseline
from reports.metrics.metric import Column, Metric
from reports.metrics.of_run import cases_of, compare, kernel_rows
from reports.metrics.rows import Row, row_case
from reports.metrics.table import columns_of
from reports.results.records import Run
from reports.text.wording import KERNELS, MISSING, joules, printable, seconds, size
from workloads.spec.methods import BASELINE


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval; no value where it was not measured."""

    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None


MISSING_ESTIMATE = Estimate()


@dataclass(frozen=True, kw_only=True)
class CaseLine:
    """One case in the terminal's final table: its figures by metric and phase.

    ``baseline`` are the phases in which other cases are compared with this one.
    """

    target: str
    workload: str
    method: str
    patch_size: int | None
    kernel: str
    device: str
    batch: int
    figures: Mapping[tuple[str, str], Estimate]
    status: str
    reason: str
    baseline: tuple[str, ...] = ()

    def figure(self, metric: str, phase: str = "") -> Estimate:
        """Return one figure, without a value where it was not measured."""
        return self.figures.get((metric, phase), MISSING_ESTIMATE)


def summary_rows(run: Run) -> tuple[CaseLine, ...]:
    """Return one line per target and case, in the order of the export."""
    rows = list(compare(run))
    for target in run.targets:
        rows += kernel_rows(run, target)
    rows_of_case: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        rows_of_case.setdefault(row.case, []).append(row)
    baselines = _baselines(run)
    return tuple(_line(own, baselines.get(case, ())) for case, own in rows_of_case.items())


def notes_on_exact(run: Run) -> list[str]:
    """Return what a reader of the table's speedups has to know of exact, a line per target."""
    lines = []
    for target in run.targets:
        devices = {case.device for case in cases_of(run, target)}
        notes = [slow_baseline(target, device) for device in sorted(devices)]
        lines += [printable(f"{target.name}: {note}") for note in notes if note]
    return lines


def _baselines(run: Run) -> dict[tuple[object, ...], tuple[str, ...]]:
    """Return the phases in which an exact case is the baseline, by what ``Row.case`` says."""
    return {
        row_case(target.name, case): baseline_phases(target, case)
        for target in run.targets
        for case in cases_of(run, target)
        if case.method == BASELINE
    }


def _line(rows: Sequence[Row], baseline: tuple[str, ...]) -> CaseLine:
    first = rows[0]
    worst = next((row for row in rows if row.metric == "latency_s" and row.status != "ok"), first)
    figures = {}
    for row in rows:
        estimate = Estimate(value=row.value, ci_low=row.ci_low, ci_high=row.ci_high)
        figures[row.metric, row.phase] = estimate
    return CaseLine(
        target=first.target,
        workload=first.workload,
        method=first.method,
        patch_size=first.patch_size,
        kernel=first.kernel,
        device=first.device,
        batch=first.batch,
        figures=figures,
        baseline=baseline,
        status=worst.status,
        reason=worst.reason,
    )


MEASURED = ("ok", "partial")
REASON_CHARACTERS = 200
Columns = Sequence[tuple[Metric, Column]]


def final_table(lines: Sequence[CaseLine], width: int | None) -> list[str]:
    """Return the text of a run's summary: a heading per workload, a line per case below it.

    Only the most important columns are shown where ``width`` (in columns) is too small for all of
    them; where it still is, a case takes two lines. Without a terminal ``width`` is None, and
    nothing is left out, whatever COLUMNS says. Names are never cut.
    """
    measured = [line for line in lines if line.status in MEASURED]
    columns = columns_of(lambda metric: metric.terminal)
    whole = [pair for pair in columns if not pair[1].only_if_measured or _shown(pair, measured)]
    narrow = [pair for pair in columns if pair[1].narrow]
    for chosen in (whole, narrow):
        text = _text(measured, chosen)  # figures must fit, while a reason may wrap
        if width is None or max(map(len, text), default=0) <= width:
            return _text(lines, chosen)
    return _text(lines, narrow, folded=True)


def _shown(pair: tuple[Metric, Column], lines: Sequence[CaseLine]) -> bool:
    """Tell whether any case has a figure for the column."""
    return any(_cell(line, *pair) != MISSING for line in lines)


def _text(lines: Sequence[CaseLine], columns: Columns, *, folded: bool = False) -> list[str]:
    if not lines:
        return []
    cells = [_cells(line, columns) for line in lines]
    above, below = [""], [""]  # the head: a heading's last word stands below the others
    for _, column in columns:
        first_words, _, last_word = column.heading.rpartition(" ")
        above.append(first_words)
        below.append(last_word)
    with_figures: list[Sequence[str]] = [above, below]
    with_figures += [line for line in cells if len(line) == len(above)]  # not those with a reason
    widths = [max(len(line[i]) for line in with_figures) for i in range(len(above))]
    widths[0] = 0 if folded else max(len(line[0]) for line in cells)
    text = [_joined(above, widths), _joined(below, widths)]
    several_targets = len({line.target for line in lines}) > 1
    heading = ""
    for line, own in zip(lines, cells, strict=True):
        before, heading = heading, _heading(line, several_targets)
        if heading != before:
            text.append(heading)
        if folded and len(own) == len(widths):
            text.append(f"  {own[0]}")
            own = ("", *own[1:])
        text.append(_joined(own, widths))
    return text


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = cells
    padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False)]
    return " ".join([f"  {first.ljust(widths[0])}", *padded]).rstrip()


def _heading(line: CaseLine, several_targets: bool) -> str:
    target = line.target if several_targets else ""
    return case_heading(target, line.workload, line.batch, line.device)


def case_heading(target: str, workload: str, batch: int, device: str) -> str:
    """Return the line above the cases of a workload; with the target where there are several."""
    text = f"{workload}, batch {batch}, {device}"
    return printable(f"{target}: {text}" if target else text)


def case_name(method: str, patch_size: int | None, kernel: str) -> str:
    """Return a case as a line of the table begins."""
    name = method if patch_size is None else f"{method} r{patch_size}"
    return printable(name if kernel == "torch" else f"{name} {KERNELS.get(kernel, kernel)}")


def _cells(line: CaseLine, columns: Columns) -> tuple[str, ...]:
    """Return a line's cells: the method and its figures, or why there are none."""
    method = case_name(line.method, line.patch_size, line.kernel)
    if line.status not in MEASURED:
        reason = f"{line.status}: {line.reason}" if line.reason else line.status
        return (method, printable(reason)[:REASON_CHARACTERS])
    return (method, *(_cell(line, metric, column) for metric, column in columns))


def _cell(line: CaseLine, metric: Metric, column: Column) -> str:
    """Return one figure as its unit has it."""
    estimate = line.figure(metric.name, column.phase)
    if metric.speed_over:
        is_baseline = metric.speed_over == BASELINE and column.phase in line.baseline
        return _speed(estimate, "baseline" if is_baseline else MISSING)
    if metric.unit in QUANTITIES:
        return QUANTITIES[metric.unit](estimate.value)
    return MISSING if estimate.value is None else f"{estimate.value:.3f}"


def _speed(estimate: Estimate, missing: str) -> str:
    if estimate.value is None:
        return missing
    if estimate.ci_low is None or estimate.ci_high is None:
        return f"{_ratio(estimate.value)}x"
    return f"{_ratio(estimate.value)}x [{_ratio(estimate.ci_low)}, {_ratio(estimate.ci_high)}]"


def _ratio(value: float) -> str:
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


QUANTITIES = {"s": seconds, "B": size, "J": joules}
