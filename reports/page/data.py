"""The numbers of the page as data: each once, for the tables, the figures' hover texts and all.

Every text stands once in ``words`` and is referred to by its number; rows are arrays. The script
of the page writes the tables from them, as ``reports.text.wording`` would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.charts.chart import Chart, Column
from reports.charts.style import Colours
from reports.metrics.rows import Row, row_case_label
from reports.metrics.subjects import Subject, label_of, method_of, workload_of
from reports.metrics.table import metric_label
from reports.page.commands import end_of_repeat, start_of_repeat
from reports.text.wording import PREFIXES, SYMBOLS

Json = dict[str, Any]


class Texts:
    """The texts of a page by number, each once."""

    def __init__(self) -> None:
        """Start without any."""
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of a text."""
        return self._numbers.setdefault(text, len(self._numbers))

    def all(self) -> list[str]:
        """Return all texts by number."""
        return list(self._numbers)


def page_data(subjects: Sequence[Subject], charts: Mapping[str, Chart], colours: Colours) -> Json:
    """Return all rows of the export, and the tables of the charts, as one JSON object.

    ``rows`` are (case, metric, phase, value, low, high, n, status, reason), in the order of the
    export; ``subjects`` are (first, end) of each subject's.
    """
    texts = Texts()
    cases: dict[tuple[object, ...], list[int]] = {}
    rows = []
    for subject in subjects:
        for row in subject.rows:
            key = (row.run_id, row.case)
            if key not in cases:
                cases[key] = [len(cases), *_case(subject, row, colours, texts)]
            rows.append([cases[key][0], *_figures(row, texts)])
    tables = {}
    for name, chart in charts.items():
        if chart.rows or chart.columns:
            tables[name] = _table(chart, texts)
    return {
        "prefixes": PREFIXES,
        "symbols": SYMBOLS,
        "metrics": {
            row.metric: [metric_label(row.metric), row.unit] for s in subjects for row in s.rows
        },
        "subjects": [[s.first_row, s.first_row + len(s.rows)] for s in subjects],
        "starts": {s.label: start_of_repeat(s.run, s.target.name) for s in subjects},
        "cases": [case[1:] for case in cases.values()],
        "rows": rows,
        "tables": tables,
        "words": texts.all(),
    }


def _case(subject: Subject, row: Row, colours: Colours, texts: Texts) -> list[int]:
    """Return what the page knows of a case, as numbers of texts."""
    method = method_of(row)
    shown = [row_case_label(row), colours.get(method, ""), label_of(method)]
    attributes = [  # of the table's body
        row.run_id,
        row.target,
        row.workload,
        row.method,
        "" if row.patch_size is None else str(row.patch_size),
        row.kernel,
        row.device,
        row.dtype,
        str(row.batch),
    ]
    filtered_by = [subject.label, subject.workloads[workload_of(row)]]  # as the figures have them
    repeated_by = [end_of_repeat(subject.run, row)]  # how the command ends
    return [texts.number(text) for text in shown + attributes + filtered_by + repeated_by]


def _figures(row: Row, texts: Texts) -> list[int | float | None]:
    return [
        texts.number(row.metric),
        texts.number(row.phase),
        row.value,
        row.ci_low,
        row.ci_high,
        row.n,
        texts.number(row.status),
        texts.number(row.reason),
    ]


def _table(chart: Chart, texts: Texts) -> Json | list[int]:
    """Return the numbers of a chart's rows, or its columns."""
    if chart.rows:
        return list(chart.rows)
    return {"columns": [_column(column, texts) for column in chart.columns]}


def _column(column: Column, texts: Texts) -> Json:
    if column.unit is None:
        cells = ["" if value is None else str(value) for value in column.values]
        return {"name": column.name, "words": [texts.number(cell) for cell in cells]}
    data: Json = {"name": column.name, "unit": column.unit, "values": list(column.values)}
    if column.digits != 3:
        data["digits"] = column.digits
    return data
