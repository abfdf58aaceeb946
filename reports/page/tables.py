"""The tables behind the figures for readers without scripts: the same numbers as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.charts.chart import Chart, Column
from reports.metrics.rows import Row
from reports.metrics.subjects import Subject, label_of, method_of, workload_of
from reports.metrics.table import metric_label
from reports.text.wording import interval, quantity, scale_of, significant

MAX_LINES = 300


@dataclass(frozen=True, kw_only=True)
class PlainTable:
    """Texts by line, and how many lines are left out."""

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class RowOfSubject:
    """A row of the page and the subject that it belongs to."""

    subject: Subject
    row: Row


def plain_tables(subjects: Sequence[Subject], charts: Mapping[str, Chart]) -> dict[str, PlainTable]:
    """Return the table of each chart, by the chart's id."""
    cells: dict[int, RowOfSubject] = {}
    for subject in subjects:
        for row, number in subject.places.items():
            cells[number] = RowOfSubject(subject=subject, row=row)
    tables = {}
    for name, chart in charts.items():
        if chart.rows:
            table = _pivot([cells[number] for number in chart.rows])
        else:
            table = _columns(chart.columns)
        tables[name] = _cut(table)
    return tables


def _cut(table: PlainTable) -> PlainTable:
    left_out = max(0, len(table.lines) - MAX_LINES)
    return PlainTable(head=table.head, lines=table.lines[:MAX_LINES], left_out=left_out)


def _pivot(rows: Sequence[RowOfSubject]) -> PlainTable:
    """Return a line per case with a column per metric and phase."""
    several = len({cell.row.metric for cell in rows}) > 1
    columns: dict[str, None] = {}
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for cell in rows:
        row, subject = cell.row, cell.subject
        name = _column_of(row, several)
        columns[name] = None
        case = (subject.label, subject.workloads[workload_of(row)], label_of(method_of(row)))
        lines.setdefault(case, {})[name] = _text(row)
    return PlainTable(
        head=("target", "workload", "method", *columns),
        lines=tuple(
            (*case, *(line.get(name, "") for name in columns)) for case, line in lines.items()
        ),
    )


def _column_of(row: Row, several: bool) -> str:
    phase = row.phase.replace("_", " ")
    if several or not phase:
        return " ".join(part for part in (metric_label(row.metric), phase) if part)
    return phase


def _text(row: Row) -> str:
    if row.value is None:
        return f"{row.status}: {row.reason}" if row.reason else row.status
    text = quantity(row.value, row.unit)
    span = interval(row.ci_low, row.ci_high, row.unit)
    return f"{text} ({span})" if span else text


def _columns(columns: Sequence[Column]) -> PlainTable:
    cells = [[_cell(column, value) for value in column.values] for column in columns]
    return PlainTable(
        head=tuple(column.name for column in columns), lines=tuple(zip(*cells, strict=True))
    )


def _cell(column: Column, value: str | int | float | None) -> str:
    if column.unit is None:
        return "" if value is None else str(value)
    if not isinstance(value, (int, float)):
        return "—"
    scale, symbol = scale_of(value, column.unit)
    return significant(value / scale, column.digits) + symbol
