"""Panels with a row per workload, in it a line per method, and a symbol per phase. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from reports.charts.axes import Axes, first_axis, offsets, rows_axis, rows_height, rows_meta
from reports.charts.chart import Json, Panel, empty_panel, panel_of, trace_meta
from reports.charts.style import PHASE_SYMBOL, Colours, plain, row_intervals
from reports.metrics.rows import Row
from reports.metrics.subjects import Subject, label_of, method_of, workload_of
from reports.metrics.table import metric_label


def dot_panels(
    subjects: Sequence[Subject],
    colours: Colours,
    metric: str,
    phases: Sequence[str],
    axis: Axes,
    shapes: Sequence[Json] = (),
) -> tuple[Panel, ...]:
    """Draw the rows of a metric with their intervals, a panel per subject."""
    return tuple(_panel(subject, colours, metric, phases, axis, shapes) for subject in subjects)


def _panel(
    subject: Subject,
    colours: Colours,
    metric: str,
    phases: Sequence[str],
    axis: Axes,
    shapes: Sequence[Json],
) -> Panel:
    rows = [row for row in subject.rows if row.metric == metric and row.value is not None]
    if not rows:
        return empty_panel(subject, metric)
    measured = {method_of(row) for row in rows}
    methods = [method for method in colours if method in measured]
    labels = list(subject.workloads.values())
    traces = []
    for method, offset in zip(methods, offsets(len(methods)), strict=True):
        for phase in phases:
            chosen = [row for row in rows if method_of(row) == method and row.phase == phase]
            if chosen:
                traces.append(_dots(subject, chosen, offset, colours[method]))
    return panel_of(
        subject.label,
        traces,
        f"{metric_label(metric)} of {len(labels)} workloads on {subject.label}",
        height=rows_height(len(labels), len(methods)),
        yaxis=rows_axis(labels),
        xaxis=first_axis(axis),
        shapes=list(shapes),
        meta=rows_meta(labels, len(methods), axis),
    )


def _dots(subject: Subject, rows: Sequence[Row], offset: float, colour: str) -> go.Scatter:
    """Draw the rows of one method and phase, ``offset`` from the middle of their workloads."""
    row_of = {workload: index for index, workload in enumerate(subject.workloads)}
    phase = rows[0].phase
    name = label_of(method_of(rows[0]))
    if phase:
        name += f", {phase}"
    return go.Scatter(
        x=[row.value or 0.0 for row in rows],
        y=[row_of[workload_of(row)] + offset for row in rows],
        mode="markers",
        name=plain(name),
        marker={
            "color": colour,
            "size": 9,
            "symbol": PHASE_SYMBOL.get(phase, "circle"),
            "line": {"color": colour, "width": 1.5},
        },
        error_x=row_intervals(rows, colour),
        hoverinfo="text",
        meta=trace_meta(subject, rows),
    )
