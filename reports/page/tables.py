"""The tables behind the figures for readers without scripts: the same numbers as text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.charts.style import Chart, Column
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


def plain_tables(subjects: Sequence[Subject], charts: Sequence[Chart]) -> dict[str, PlainTable]:
    """Return the table of each chart that has one, by the chart's id."""
    owners = {row: subject for subject in subjects for row in subject.rows}
    rows = {place: row for subject in subjects for row, place in subject.places.items()}
    return {
        chart.id: _cut(
            _pivot([(owners[rows[place]], rows[place]) for place in chart.rows])
            if chart.rows
            else _columns(chart.columns)
        )
        for chart in charts
    }


def _cut(table: PlainTable) -> PlainTable:
    left_out = max(0, len(table.lines) - MAX_LINES)
    return PlainTable(head=table.head, lines=table.lines[:MAX_LINES], left_out=left_out)


def _pivot(rows: Sequence[tuple[Subject, Row]]) -> PlainTable:
    """Return a line per case with a column per metric and phase."""
    several = len({row.metric for _, row in rows}) > 1
    columns = dict.fromkeys(_column_of(row, several) for _, row in rows)
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for subject, row in rows:
        key = (subject.label, subject.workloads[workload_of(row)], label_of(method_of(row)))
        lines.setdefault(key, {})[_column_of(row, several)] = _words(row)
    return PlainTable(
        head=("target", "workload", "method", *columns),
        lines=tuple(
            (*key, *(cells.get(name, "") for name in columns)) for key, cells in lines.items()
        ),
    )


def _column_of(row: Row, several: bool) -> str:
    phase = row.phase.replace("_", " ")
    if several or not phase:
        return " ".join(part for part in (metric_label(row.metric), phase) if part)
    return phase


def _words(row: Row) -> str:
    if row.value is None:
        return f"{row.status}: {row.reason}" if row.reason else row.status
    span = interval(row.ci_low, row.ci_high, row.unit)
    return quantity(row.value, row.unit) + (f" ({span})" if span else "")


def _columns(columns: Sequence[Column]) -> PlainTable:
    cells = [[_cell(column, value) for value in column.values] for column in columns]
    return PlainTable(
        head=tuple(column.name for column in columns), lines=tuple(zip(*cells, strict=True))
    )


def _cell(column: Column, value: str | int | float | None) -> str:
    if column.unit is None or not isinstance(value, (int, float)):
        return "—" if column.unit is not None else str(value if value is not None else "")
    scale, symbol = scale_of(value, column.unit)
    return significant(value / scale, column.digits) + symbol
