"""Markdown: a table for each target, and the reasons for missing figures."""

from __future__ import annotations

from collections.abc import Sequence

from reports.exports.source import CaseSource, ExportSource
from reports.gate.recorded import gates_of
from reports.gate.words import change_words, margin_words
from reports.metrics.baseline import slow_baseline
from reports.metrics.metric import Column, Metric
from reports.metrics.rows import Row
from reports.metrics.table import columns_of
from reports.text.markdown import escape, table
from reports.text.wording import case_label, cut, quantity, significant, times

VERDICT_HEADERS = ("verdict", "target", "case", "of", "change [97.5 % interval]", "margin")


def to_markdown(source: ExportSource) -> str:
    """Return the run's figures for a README or an issue."""
    lines = [f"# gfbench {escape(source.run.run_id)}", ""]
    cases = source.cases()
    columns = columns_of(lambda metric: metric.markdown)
    headers = ("case", *(column.heading for _, column in columns))
    for target in dict.fromkeys(case.target.name for case in cases):
        own = [case for case in cases if case.target.name == target]
        platform = own[0].target.platform
        lines += [f"## {escape(target)}" + (f" ({escape(platform)})" if platform else ""), ""]
        cells = [_cells(case, columns) for case in own]
        lines += [*table(headers, cells), "", *_missing(own), *_notes_on_exact(own)]
    lines.append(
        "Medians over blocks with 95 % intervals where there are six rounds or more; speedups are "
        "over exact, paired by round. — is not measured."
    )
    lines += _verdicts(source)
    return "\n".join(lines) + "\n"


def _verdicts(source: ExportSource) -> list[str]:
    """Return the lines of the run's verdicts; none for a run without a gate."""
    gates, notes = gates_of([source.run])
    lines: list[str] = []
    for gate in gates.values():
        rows = []
        for verdict in gate.verdicts:
            case, question = case_label(verdict.new), verdict.question
            change, margin = change_words(verdict.effect), margin_words(verdict.margin)
            cells = (verdict.status, verdict.target, case, question, change, margin)
            rows.append([escape(cell) for cell in cells])
        title = f"## Verdicts: {escape(gate.new)} against {escape(gate.base)}: {gate.status}"
        lines += ["", title, "", *table(VERDICT_HEADERS, rows)]
    for note in notes:
        lines += ["", f"- note: {escape(note)}"]
    return lines


def _cells(case: CaseSource, columns: Sequence[tuple[Metric, Column]]) -> list[str]:
    cells = [escape(case.name)]
    for metric, column in columns:
        row = case.row(metric.name, column.phase)
        if row is None or row.value is None:
            cells.append("—")
        elif metric.speed_over:
            cells.append(_ratio(row, row.value))
        elif metric.unit == "1":
            cells.append(significant(row.value))
        else:
            cells.append(f"{quantity(row.value, row.unit)}{_spread(row)}")
    return cells


def _spread(row: Row) -> str:
    """Return the longer arm of the interval, relative to the value."""
    if not row.value or row.ci_low is None or row.ci_high is None:
        return ""
    arm = max(row.ci_high - row.value, row.value - row.ci_low) / abs(row.value)
    return f" ± {significant(100 * arm, 2)} %"


def _ratio(row: Row, value: float) -> str:
    if row.ci_low is None or row.ci_high is None:
        return times(value)
    return f"{times(value)} ({significant(row.ci_low)} to {significant(row.ci_high)})"


def _missing(cases: Sequence[CaseSource]) -> list[str]:
    """Return a line for each reason why cases have no latency, or lack some rounds."""
    names_by_reason: dict[str, list[str]] = {}
    for case in cases:
        row = case.row("latency_s", "step") or case.rows[0]
        if row.status != "ok":
            reason = f"{row.status}: {cut(row.reason, 200)}"
            names_by_reason.setdefault(reason, []).append(case.name)
    lines = [f"- {escape(reason)}: {_names(names)}" for reason, names in names_by_reason.items()]
    return [*lines, ""] if lines else []


def _notes_on_exact(cases: Sequence[CaseSource]) -> list[str]:
    """Return what a reader of the speedups has to know of exact."""
    notes = dict.fromkeys(slow_baseline(case.target, case.case.device) for case in cases)
    lines = [f"- {escape(note)}" for note in notes if note]
    return [*lines, ""] if lines else []


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(escape(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
