"""The charts of what was measured: latency and memory, and the rows of dots others use. Pure.

Every number drawn here is a row of the export. Targets stand side by side, never pooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from reports.chart_style import (
    PHASE_SYMBOL,
    Axes,
    Chart,
    Colours,
    Json,
    Panel,
    Subject,
    Views,
    Workload,
    empty_panel,
    first_axis,
    label_of,
    legend_of,
    log_axis,
    method_of,
    offsets,
    panel,
    plain,
    rows_axis,
    rows_height,
    rows_meta,
    short,
    workload_of,
    zero_axis,
)
from reports.rows import Row
from reports.wording import METRICS, TIMES


def latency_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw the seconds per iteration of each phase on a logarithmic axis."""
    phases = ("forward", "backward", "step")
    rows = [row for subject in subjects for row in subject.rows if row.metric == "latency_s"]
    ends = [end for row in rows for end in (row.value, row.ci_low, row.ci_high) if end]
    axis = Views(
        views={
            "absolute-log": log_axis("time per iteration, logarithmic", ends, "s"),
            "absolute-linear": zero_axis(ends, "s", "time per iteration"),
            **ratio_views(subjects, rows, "time"),
        }
    )
    return Chart(
        id="latency",
        title="Latency by phase",
        caption="Median over blocks of each block's median iteration, with its 95 % interval. "
        "Left is faster.",
        legend=legend_of(colours, phases),
        panels=dot_panels(subjects, colours, "latency_s", phases, axis, []),
        rows=places_of(subjects, rows),
    )


def memory_charts(subjects: Sequence[Subject], colours: Colours) -> tuple[Chart, ...]:
    """Draw each memory figure that was measured as bars by method."""
    charts = []
    for metric, caption in MEMORY_CAPTIONS.items():
        rows = [row for subject in subjects for row in subject.rows if row.metric == metric]
        values = [row.value for row in rows if row.value is not None]
        axis = Views(
            views={
                "absolute-linear": zero_axis(values, "B"),
                "ratio-linear": ratio_views(subjects, rows, "bytes")["ratio-linear"],
            }
        )
        if any(values):
            charts.append(
                Chart(
                    id=metric.replace("_bytes", "").replace("_", "-"),
                    title=METRICS[metric].capitalize().replace("cuda", "CUDA"),
                    caption=caption,
                    panels=tuple(_bars(s, colours, metric, axis) for s in subjects),
                    legend=legend_of(colours),
                    rows=places_of(subjects, rows),
                )
            )
    return tuple(charts)


MEMORY_CAPTIONS = {
    "saved_bytes": "What the forward keeps for the backward (tensors that share no storage with a "
    "parameter): the memory that the method saves.",
    "peak_rss_bytes": "The process's high-water mark above its baseline before any data, in a "
    "block of its own: what the system has to provide.",
    "cuda_peak_bytes": "The high-water mark of torch's CUDA allocator, in a block of its own.",
    "system_dip_bytes": "How far the system's available memory fell during the block: all that the "
    "block took from the machine, including the GPU's part where it shares the memory.",
}


def dot_panels(
    subjects: Sequence[Subject],
    colours: Colours,
    metric: str,
    phases: Sequence[str],
    axis: Axes,
    shapes: list[Any],
) -> tuple[Panel, ...]:
    """One row per workload, one line in it per method, one symbol per phase."""
    return tuple(_dot_panel(s, colours, metric, phases, axis, shapes) for s in subjects)


def _dot_panel(
    subject: Subject,
    colours: Colours,
    metric: str,
    phases: Sequence[str],
    axis: Axes,
    shapes: list[Any],
) -> Panel:
    rows = [row for row in subject.rows if row.metric == metric and row.value is not None]
    if not rows:
        return empty_panel(subject, metric)
    methods = [m for m in colours if any(method_of(row) == m for row in rows)]
    labels = subject.workloads
    places = {key: float(place) for place, key in enumerate(labels)}
    traces = []
    for method, line in zip(methods, offsets(len(methods)), strict=True):
        lines = {key: place + line for key, place in places.items()}
        for phase in phases:
            mine = [row for row in rows if method_of(row) == method and row.phase == phase]
            if mine:
                traces.append(_dots(subject, mine, lines, colours[method], phase))
    return panel(
        subject,
        traces,
        f"{METRICS[metric]} of {len(labels)} workloads on {subject.label}",
        height=rows_height(len(labels), len(methods)),
        yaxis=rows_axis(list(labels.values())),
        xaxis=first_axis(axis),
        shapes=shapes,
        meta=rows_meta(list(labels.values()), len(methods), axis),
    )


def _dots(
    subject: Subject, rows: Sequence[Row], lines: Mapping[Workload, float], colour: str, phase: str
) -> go.Scatter:
    values = [row.value or 0.0 for row in rows]
    name = label_of(method_of(rows[0])) + (f", {phase}" if phase else "")
    return go.Scatter(
        x=values,
        y=[lines[workload_of(row)] for row in rows],
        mode="markers",
        name=plain(name),
        marker={"color": colour, "size": 9, "symbol": PHASE_SYMBOL.get(phase, "circle"),
                "line": {"color": colour, "width": 1.5}},
        error_x={
            "visible": any(row.ci_high is not None for row in rows),
            "type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 3,
            **bars_of(rows),
        },
        hoverinfo="text",
        meta=meta_of(subject, rows),
    )  # fmt: skip


def _bars(subject: Subject, colours: Colours, metric: str, axis: Axes) -> Panel:
    rows = [row for row in subject.rows if row.metric == metric and row.value is not None]
    if not rows:
        return empty_panel(subject, metric)
    workloads = list(subject.workloads)
    methods = [m for m in colours if any(method_of(row) == m for row in rows)]
    traces = []
    for method, line in zip(methods, offsets(len(methods)), strict=True):
        mine = [row for row in rows if method_of(row) == method]
        traces.append(
            go.Bar(
                orientation="h",
                x=[row.value for row in mine],
                y=[workloads.index(workload_of(row)) + line for row in mine],
                width=0.7 / len(methods),
                name=plain(label_of(method)),
                marker={"color": colours[method]},
                hoverinfo="text",
                meta=meta_of(subject, mine),
            )
        )
    return panel(
        subject,
        traces,
        f"{METRICS[metric]} of {len(workloads)} workloads on {subject.label}",
        height=rows_height(len(workloads), len(methods)),
        yaxis=rows_axis(list(subject.workloads.values())),
        xaxis=first_axis(axis),
        barmode="overlay",
        meta=rows_meta(list(subject.workloads.values()), len(methods), axis),
    )


def meta_of(subject: Subject, rows: Sequence[Row]) -> Json:
    """Return whose rows a trace draws, and the rows of their exact baselines."""
    over = [subject.baselines.get(row) for row in rows]
    return {
        "method": label_of(method_of(rows[0])),
        "phase": rows[0].phase,
        "rows": [subject.places[row] for row in rows],
        "over": [None if row is None else subject.places[row] for row in over],
    }


def ratio_views(subjects: Sequence[Subject], rows: Sequence[Row], what: str) -> dict[str, Json]:
    """Return the axes of the rows' values over those of their exact baselines."""
    over = {row: base for subject in subjects for row, base in subject.baselines.items()}
    ratios = [
        end / base.value
        for row in rows
        if (base := over.get(row)) is not None and base.value
        for end in (row.value, row.ci_low, row.ci_high)
        if end
    ]
    title = f"{what} over that of exact"
    return {
        "ratio-linear": zero_axis([*ratios, 1.0], TIMES, title),
        "ratio-log": log_axis(f"{title}, logarithmic", [*ratios, 1.0], TIMES),
    }


def bars_of(rows: Sequence[Row]) -> dict[str, list[float | None]]:
    """Return the two arms of each row's error bar."""
    ends = [(row.value or 0.0, row.ci_low, row.ci_high) for row in rows]
    return {
        "array": short(0.0 if high is None else high - value for value, _, high in ends),
        "arrayminus": short(0.0 if low is None else value - low for value, low, _ in ends),
    }


def places_of(subjects: Sequence[Subject], rows: Sequence[Row]) -> tuple[int, ...]:
    """Return where the rows stand among those of the whole page."""
    places = {row: place for subject in subjects for row, place in subject.places.items()}
    return tuple(places[row] for row in rows)
