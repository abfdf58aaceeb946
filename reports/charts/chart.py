"""What a chart consists of: panels with a figure each, a legend, and a table of its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from reports.metrics.rows import Row
from reports.metrics.subjects import Subject, label_of, method_of

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a chart's table: texts, or numbers where there is a unit."""

    name: str
    values: Sequence[str | int | float | None]
    unit: str | None = None
    digits: int = 3


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One drawing: a Plotly figure as JSON, and a description for those who do not see it.

    An empty figure means that there is nothing to draw; the description then says why. ``title``
    is the subject's label; ``heading`` says what of the subject is drawn, where a chart has several
    panels of it.
    """

    title: str
    description: str
    figure: Json
    heading: str = ""


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of a chart's legend; without a colour it explains a symbol."""

    text: str
    glyph: str = "●"
    colour: str | None = None
    method: bool = False  # goes when the page's filter leaves the method out


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One question: a panel per target, and the same numbers as a table.

    The table is either of ``rows`` of the export or of ``columns`` of its own. A trace's ``meta``
    says what the page's filters and hover texts need: ``method`` and ``phase``, and of each point
    its ``rows`` or its line of the ``table``, and in ``over`` the row of its exact baseline. A
    panel's ``layout.meta`` has ``labels`` of its rows, and ``views``: the other axes it may have.
    """

    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[Key, ...] = ()
    rows: tuple[int, ...] = ()
    columns: tuple[Column, ...] = ()


def panel_of(
    title: str,
    traces: Sequence[Any],
    description: str,
    *,
    heading: str = "",
    height: int = 340,
    **layout: Any,
) -> Panel:
    """Frame the traces; text and grid colours follow the page's theme when it is drawn."""
    frame = go.Layout(
        height=height,
        autosize=True,
        margin={"l": 12, "r": 12, "t": 8, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        hoverlabel={"align": "left"},
        showlegend=False,  # the page has one legend for all panels of a chart
    )
    figure = go.Figure(data=list(traces), layout=frame)
    figure.update_xaxes(automargin=True, zeroline=False, title_standoff=8)
    figure.update_yaxes(automargin=True, zeroline=False, title_standoff=8)
    figure.update_layout(**layout)
    figure.layout.template = None  # the library's own look would double the size of each figure
    encoded: Json = json.loads(figure.to_json())
    return Panel(title=title, description=description, figure=encoded, heading=heading)


def empty_panel(subject: Subject, metric: str) -> Panel:
    """Return a panel that says why there is nothing to draw."""
    reasons = (row.reason for row in subject.rows if row.metric == metric and row.reason)
    return Panel(title=subject.label, description=next(reasons, "not measured"), figure={})


def trace_meta(subject: Subject, rows: Sequence[Row]) -> Json:
    """Return which rows a trace draws, and the rows of their exact baselines."""
    indices = subject.places
    over: list[int | None] = []
    for row in rows:
        base = subject.baselines.get(row)
        over.append(None if base is None else indices[base])
    return {
        "method": label_of(method_of(rows[0])),
        "phase": rows[0].phase,
        "rows": [indices[row] for row in rows],
        "over": over,
    }


def row_indices(subjects: Iterable[Subject], rows: Iterable[Row]) -> tuple[int, ...]:
    """Return the rows' numbers among all rows of the page."""
    indices: dict[Row, int] = {}
    for subject in subjects:
        indices.update(subject.places)
    return tuple(indices[row] for row in rows)
