"""The forest plots: ratios with their intervals, against 1 and the machine's noise. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go

from reports.causes import sentinel_of
from reports.chart_style import (
    PHASE_SYMBOL,
    Chart,
    Colours,
    Column,
    Json,
    Key,
    Method,
    Panel,
    Subject,
    Views,
    first_axis,
    label_of,
    legend_of,
    line_at,
    log_axis,
    offsets,
    panel,
    plain,
    rows_axis,
    rows_height,
    rows_meta,
    short,
    zero_axis,
)
from reports.charts import dot_panels, places_of
from reports.headline import Headline
from reports.stats import Effect
from reports.wording import TIMES, interval, times

PHASES = ("backward", "step")
NOISE_COLOUR = "#7d8590"
Headlines = Mapping[str, Sequence[Headline]]


def speedup_chart(subjects: Sequence[Subject], colours: Colours, found: Headlines) -> Chart:
    """Draw exact / method for backward and step, per workload and over all, with intervals."""
    rows = [row for subject in subjects for row in subject.rows if row.metric == "speedup"]
    ends = [end for row in rows for end in (row.value, row.ci_low, row.ci_high) if end]
    axis = _ratio_axis("speedup over exact", ends)
    panels = dot_panels(subjects, colours, "speedup", PHASES, axis, [line_at(1)])
    words = "noise: how far the sentinel moved in the run"
    noise = (Key(text=words, glyph="▒", colour=NOISE_COLOUR),) if any(map(_moved, subjects)) else ()
    return Chart(
        id="speedup",
        title="Speedup per workload",
        caption="Exact time divided by the method's, paired round by round; bars are 95 % "
        "intervals over rounds. Right of the dashed line is faster than exact; an interval that "
        "crosses it decides nothing. The last row is the geometric mean over all workloads.",
        legend=(*legend_of(colours, PHASES, exact=False), *noise),
        panels=tuple(
            _with_total(panel, found.get(subject.label, ()), colours, _moved(subject))
            for panel, subject in zip(panels, subjects, strict=True)
        ),
        rows=places_of(subjects, rows),
    )


def targets_chart(subjects: Sequence[Subject], colours: Colours, found: Headlines) -> Chart | None:
    """Draw the speedups over all workloads of every target below each other, if several."""
    shown = [s for s in subjects if any(h.step or h.backward for h in found.get(s.label, ()))]
    if len(shown) < 2:
        return None
    points = [(s, h, phase, effect) for s in shown for h, phase, effect in _effects(found[s.label])]
    labels = [subject.label for subject in shown]
    axis = _ratio_axis("speedup over exact, all workloads", _ends(e for *_, e in points))
    methods = [m for m in colours if any(_method(h) == m for _, h, *_ in points)]
    traces = []
    for method, line in zip(methods, offsets(len(methods)), strict=True):
        for phase in PHASES:
            mine = [p for p in points if _method(p[1]) == method and p[2] == phase]
            places = [labels.index(subject.label) + line for subject, *_ in mine]
            if mine:
                traces.append(_diamonds(places, mine, colours[method], points))
    drawn = panel(
        shown[0],
        traces,
        f"speedup over all workloads of {len(shown)} targets",
        height=rows_height(len(labels), len(methods)),
        yaxis=rows_axis(labels),
        xaxis=first_axis(axis),
        shapes=[line_at(1)],
        meta={**rows_meta(labels, len(methods), axis), "of": "target"},
    )
    return Chart(
        id="targets",
        title="All targets",
        caption="The geometric mean over each target's workloads, with its 95 % interval. "
        "Targets are compared, never pooled.",
        legend=legend_of({m: c for m, c in colours.items() if m in methods}, PHASES, exact=False),
        panels=(Panel(title="", description=drawn.description, figure=drawn.figure),),
        columns=(
            Column(name="target", values=[s.label for s, *_ in points]),
            Column(name="method", values=[label_of(_method(h)) for _, h, *_ in points]),
            Column(name="phase", values=[phase for *_, phase, _ in points]),
            Column(name="speedup", values=[e.ratio for *_, e in points], unit=TIMES),
            Column(
                name="95 % interval",
                values=[interval(e.ci_low, e.ci_high, "1") for *_, e in points],
            ),
            Column(
                name="workloads",
                values=[f"{h.workloads} of {h.workloads_planned}" for _, h, *_ in points],
            ),
        ),
    )


Point = tuple[Subject, Headline, str, Effect]


def _diamonds(
    places: Sequence[float], mine: Sequence[Point], colour: str, points: Sequence[Point]
) -> go.Scatter:
    phase, effects = mine[0][2], [effect for *_, effect in mine]
    method = label_of(_method(mine[0][1]))
    return go.Scatter(
        x=[effect.ratio for effect in effects],
        y=places,
        mode="markers",
        name=plain(f"{method}, {phase}"),
        marker={"color": colour, "size": 10, "symbol": PHASE_SYMBOL[phase],
                "line": {"color": colour, "width": 1.5}},
        error_x=_error(effects, colour),
        hoverinfo="text",
        meta={"method": method, "phase": phase, "table": [points.index(point) for point in mine]},
    )  # fmt: skip


def _with_total(drawn: Panel, found: Sequence[Headline], colours: Colours, moved: float) -> Panel:
    """Add the row over all workloads below the workloads, and the noise behind them."""
    if not drawn.figure:
        return drawn
    layout = drawn.figure["layout"]
    labels = [*layout["meta"]["labels"], "all workloads"]
    lines = layout["meta"]["lines"]
    methods = [m for m in colours if m[0] != "exact"]
    places = dict(zip(methods, offsets(len(methods)), strict=True))
    totals = [
        _total(h, phase, effect, len(labels) - 1 + places[_method(h)], colours[_method(h)])
        for h, phase, effect in _effects(found)
        if _method(h) in places
    ]
    if len(labels) > 2 and totals:
        layout["meta"] = {**layout["meta"], "labels": labels, "total": True}
        layout["yaxis"].update(rows_axis(labels))
        layout["height"] = rows_height(len(labels), lines)
        drawn.figure["data"] += [trace.to_plotly_json() for trace in totals]
    if moved:
        layout["shapes"] = [_band(moved), *layout["shapes"]]
    return drawn


def _total(h: Headline, phase: str, effect: Effect, place: float, colour: str) -> go.Scatter:
    words = f"all {h.workloads} workloads · {label_of(_method(h))} · {phase}: {times(effect.ratio)}"
    span = interval(effect.ci_low, effect.ci_high, "1")
    return go.Scatter(
        x=[effect.ratio],
        y=[place],
        mode="markers",
        name=plain(f"all workloads, {label_of(_method(h))}, {phase}"),
        marker={"color": colour, "size": 13, "symbol": PHASE_SYMBOL[phase],
                "line": {"color": colour, "width": 2}},
        error_x=_error([effect], colour),
        hoverinfo="text",
        hovertext=[plain(words + (f" (95 %: {span})" if span else ""))],
        meta={"method": label_of(_method(h)), "phase": phase, "total": True},
    )  # fmt: skip


def _error(effects: Sequence[Effect], colour: str) -> Json:
    return {
        "visible": any(effect.ci_high is not None for effect in effects),
        "type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 3,
        "array": short(0.0 if e.ci_high is None else e.ci_high - e.ratio for e in effects),
        "arrayminus": short(0.0 if e.ci_low is None else e.ratio - e.ci_low for e in effects),
    }  # fmt: skip


def _effects(found: Sequence[Headline]) -> list[tuple[Headline, str, Effect]]:
    pairs = [(h, phase, getattr(h, phase)) for h in found for phase in PHASES]
    return [(h, phase, effect) for h, phase, effect in pairs if effect is not None]


def _method(h: Headline) -> Method:
    return h.method, h.patch_size, h.kernel


def _ends(effects: Iterable[Effect]) -> list[float]:
    return [
        end for effect in effects for end in (effect.ratio, effect.ci_low, effect.ci_high) if end
    ]


def _ratio_axis(title: str, ends: Sequence[float]) -> Views:
    """Return axes of ratios that hold 1."""
    held = [*ends, 0.9, 1.1]
    return Views(
        views={
            "absolute-log": log_axis(f"{title}, logarithmic", held, TIMES),
            "absolute-linear": zero_axis(held, TIMES, title),
        }
    )


def _moved(subject: Subject) -> float:
    """Return by what fraction the sentinel moved in the run; 0 where there is none."""
    sentinel = sentinel_of(subject.target, None)
    return math.expm1(sentinel.moved) if sentinel else 0.0


def _band(fraction: float) -> Json:
    """Return the strip of ratios that the machine makes by itself."""
    return {
        "type": "rect", "name": "noise", "yref": "paper", "y0": 0, "y1": 1, "layer": "below",
        "x0": 1 / (1 + fraction), "x1": 1 + fraction,
        "line": {"width": 0}, "fillcolor": NOISE_COLOUR, "opacity": 0.22,
    }  # fmt: skip
