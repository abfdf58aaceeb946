"""The numbers of the page as data: each once, for the tables, the figures' hover texts and all.

Texts stand once in ``words`` and are named by their place; rows are arrays. The script of the
page writes the tables from them, with the words of ``reports.text.wording``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.charts.style import Chart, Colours, Column
from reports.metrics.rows import Row, row_case_label
from reports.metrics.subjects import Subject, label_of, method_of, workload_of
from reports.metrics.table import metric_label
from reports.page.commands import end_of_repeat, start_of_repeat
from reports.text.wording import PREFIXES, SYMBOLS

Json = dict[str, Any]


class Words:
    """Texts by number, each once."""

    def __init__(self) -> None:
        """Start without any."""
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Return the number of a text."""
        return self._places.setdefault(text, len(self._places))

    def all(self) -> list[str]:
        """Return all texts by number."""
        return list(self._places)


def page_data(subjects: Sequence[Subject], charts: Sequence[Chart], colours: Colours) -> Json:
    """Return all rows of the export, and the tables of the charts, as one JSON object.

    ``rows`` are (case, metric, phase, value, low, high, n, status, reason), in the order of the
    export; ``subjects`` are (first, end) of each subject's.
    """
    words = Words()
    cases: dict[tuple[object, ...], list[int]] = {}
    rows = []
    for subject in subjects:
        for row in subject.rows:
            key = (row.run_id, row.case)
            if key not in cases:
                cases[key] = [len(cases), *_case(subject, row, colours, words)]
            rows.append([cases[key][0], *_figures(row, words)])
    tables = {chart.id: _table(chart, words) for chart in charts if chart.rows or chart.columns}
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
        "words": words.all(),
    }


def _case(subject: Subject, row: Row, colours: Colours, words: Words) -> list[int]:
    """Return what the page knows of a case, as numbers of words.

    Label, colour and method; the attributes of the table's body; then what the filters go by,
    target and workload as the figures have them, and how the command that repeats it ends.
    """
    method = method_of(row)
    texts = (
        *(row_case_label(row), colours.get(method, ""), label_of(method)),
        *(row.run_id, row.target, row.workload, row.method),
        *("" if row.patch_size is None else str(row.patch_size), row.kernel, row.device),
        *(row.dtype, str(row.batch)),
        *(subject.label, subject.workloads[workload_of(row)], end_of_repeat(subject.run, row)),
    )
    return [words.place(text) for text in texts]


def _figures(row: Row, words: Words) -> list[int | float | None]:
    return [
        *(words.place(row.metric), words.place(row.phase)),
        *(row.value, row.ci_low, row.ci_high, row.n),
        *(words.place(row.status), words.place(row.reason)),
    ]


def _table(chart: Chart, words: Words) -> Json | list[int]:
    """Return the places of a chart's rows, or its columns."""
    return list(chart.rows) or {"columns": [_column(column, words) for column in chart.columns]}


def _column(column: Column, words: Words) -> Json:
    if column.unit is None:
        texts = [words.place("" if value is None else str(value)) for value in column.values]
        return {"name": column.name, "words": texts}
    digits = {} if column.digits == 3 else {"digits": column.digits}
    return {"name": column.name, "unit": column.unit, "values": list(column.values), **digits}
