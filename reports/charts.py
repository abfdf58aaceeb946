"""The charts of what was found: speedup, latency, memory, fidelity. Pure.

Every number drawn here is a row of the export. Targets stand side by side, never pooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from reports.chart_style import (
    PHASE_SYMBOL,
    Chart,
    Colours,
    Panel,
    Subject,
    Workload,
    empty_panel,
    label_of,
    legend_of,
    line_at,
    log_axis,
    method_of,
    offsets,
    panel,
    plain,
    rows_axis,
    rows_height,
    short,
    workload_of,
    zero_axis,
)
from reports.rows import Row
from reports.wording import METRICS, TIMES


def speedup_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw exact / method for backward and step, per workload, with intervals."""
    rows = [row for subject in subjects for row in subject.rows if row.metric == "speedup"]
    ends = [end for row in rows for end in (row.value, row.ci_low, row.ci_high) if end is not None]
    span = [min(0.9, *ends) * 0.95, max(1.1, *ends) * 1.05] if ends else [0.5, 2]
    return Chart(
        id="speedup",
        title="Speedup per workload",
        caption="Exact time divided by the method's, paired round by round; bars are 95 % "
        "intervals over rounds. Right of the dashed line is faster than exact.",
        legend=legend_of(colours, ("backward", "step"), exact=False),
        panels=dot_panels(
            subjects, colours, "speedup", ("backward", "step"),
            {"title": {"text": f"speedup over exact ({TIMES})"}, "range": span}, [line_at(1)],
        ),
        rows=places_of(subjects, rows),
    )  # fmt: skip


def latency_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw the seconds per iteration of each phase on a logarithmic axis."""
    phases = ("forward", "backward", "step")
    rows = [row for subject in subjects for row in subject.rows if row.metric == "latency_s"]
    ends = [end for row in rows for end in (row.value, row.ci_low, row.ci_high) if end]
    axis = log_axis("time per iteration, logarithmic", ends, "s")
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
        axis = zero_axis(values, "B")
        if values:
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
    "parameter): the memory that the method is about.",
    "peak_rss_bytes": "The process's high-water mark over its baseline before any data, in a block "
    "of its own: what the system has to provide.",
    "cuda_peak_bytes": "The high-water mark of torch's CUDA allocator, in a block of its own.",
    "system_dip_bytes": "How far the system's available memory fell during the block: all that the "
    "block took from the machine, the GPU's part included where it shares the memory.",
}


def fidelity_charts(subjects: Sequence[Subject], colours: Colours) -> tuple[Chart, ...]:
    """Draw the gradients' cosine with the exact ones against the speedup of the step."""
    charts = []
    for metric, name in (("cosine_gx", "input gradient g_x"), ("cosine_gw", "weight gradient g_w")):
        rows = [row for s in subjects for row in s.rows if row.metric == metric]
        if any(row.value is not None for row in rows):
            charts.append(
                Chart(
                    id=f"fidelity-{metric[-2:]}",
                    title=f"Fidelity against speedup: {name}",
                    caption="What the speedup costs. Up is faster, right is closer to the exact "
                    "gradient (cosine, inputs with a 1/f spectrum); each line leads from exact "
                    "through one workload's methods. The table has white noise too.",
                    legend=legend_of(colours, exact=False),
                    panels=tuple(_tradeoff(s, colours, metric, name) for s in subjects),
                    rows=places_of(subjects, rows),
                )
            )
    return tuple(charts)


def dot_panels(
    subjects: Sequence[Subject],
    colours: Colours,
    metric: str,
    phases: Sequence[str],
    axis: dict[str, Any],
    shapes: list[Any],
) -> tuple[Panel, ...]:
    """One row per workload, one line in it per method, one symbol per phase."""
    return tuple(_dot_panel(s, colours, metric, phases, axis, shapes) for s in subjects)


def _dot_panel(
    subject: Subject,
    colours: Colours,
    metric: str,
    phases: Sequence[str],
    axis: dict[str, Any],
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
        xaxis=axis,
        shapes=shapes,
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
            **_bars_of(rows),
        },
        hoverinfo="text",
        meta={"rows": [subject.places[row] for row in rows]},
    )  # fmt: skip


def _bars(subject: Subject, colours: Colours, metric: str, axis: dict[str, Any]) -> Panel:
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
                meta={"rows": [subject.places[row] for row in mine]},
            )
        )
    return panel(
        subject,
        traces,
        f"{METRICS[metric]} of {len(workloads)} workloads on {subject.label}",
        height=rows_height(len(workloads), len(methods)),
        yaxis=rows_axis(list(subject.workloads.values())),
        xaxis=axis,
        barmode="overlay",
    )


def _tradeoff(subject: Subject, colours: Colours, metric: str, name: str) -> Panel:
    cosines = {row.case: row for row in subject.rows if row.metric == metric and row.phase == ""}
    points: dict[Workload, list[tuple[Row, Row]]] = {}
    for row in subject.rows:
        cosine = cosines.get(row.case)
        if (row.metric, row.phase) != ("speedup", "step") or row.value is None:
            continue
        if cosine is not None and cosine.value is not None:
            points.setdefault(workload_of(row), []).append((cosine, row))
    if not points:
        return empty_panel(subject, metric)
    traces = [_path(pairs) for pairs in points.values()]
    traces.append(
        go.Scatter(
            x=[1], y=[1], mode="markers+text", text=["exact"], textposition="bottom center",
            marker={"color": colours.get(("exact", None, "torch")), "size": 11, "symbol": "x"},
            showlegend=False, hoverinfo="skip", cliponaxis=False,
        )
    )  # fmt: skip
    for method in colours:
        mine = [
            (cosine, speed)
            for pairs in points.values()
            for cosine, speed in pairs
            if method_of(speed) == method
        ]
        if mine:
            traces.append(_cloud(subject, mine, colours[method]))
    return panel(
        subject,
        traces,
        f"speedup of the step against the cosine of the {name} on {subject.label}",
        height=380,
        xaxis={"title": {"text": f"cosine of the {name} with the exact one"}},
        yaxis={"title": {"text": f"speedup of the step ({TIMES})"}},
    )


def _path(pairs: Sequence[tuple[Row, Row]]) -> go.Scatter:
    ordered = sorted(pairs, key=lambda pair: pair[1].patch_size or 0)
    return go.Scatter(
        x=[1, *(cosine.value for cosine, _ in ordered)],
        y=[1, *(speed.value for _, speed in ordered)],
        mode="lines", line={"width": 1, "dash": "dot", "color": "#9aa0a6"},
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _cloud(subject: Subject, points: Sequence[tuple[Row, Row]], colour: str) -> go.Scatter:
    speeds = [speed for _, speed in points]
    return go.Scatter(
        x=[cosine.value for cosine, _ in points],
        y=[speed.value for speed in speeds],
        mode="markers",
        name=plain(label_of(method_of(speeds[0]))),
        marker={"color": colour, "size": 10},
        error_y={
            "type": "data", "symmetric": False, "color": colour, "thickness": 1.2, "width": 3,
            **_bars_of(speeds),
        },
        hoverinfo="text",
        meta={"rows": [[subject.places[row] for row in pair] for pair in points]},
    )  # fmt: skip


def _bars_of(rows: Sequence[Row]) -> dict[str, list[float | None]]:
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
