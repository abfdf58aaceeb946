"""The forest plots: ratios with their intervals, against 1 and the machine's noise. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.charts.axes import (
    Views,
    ends_of,
    log_axis,
    offsets,
    rows_axis,
    rows_height,
    rows_meta,
    zero_axis,
)
from reports.charts.chart import Chart, Column, Json, Key, Panel, panel_of, row_indices
from reports.charts.context import Context, method_of_headline
from reports.charts.dots import dot_panels
from reports.charts.style import (
    PHASE_SYMBOL,
    Colours,
    effect_intervals,
    legend_of,
    phases_of,
    plain,
    vertical_line,
)
from reports.gate.causes import sentinel_of
from reports.metrics.headlines import Headline
from reports.metrics.subjects import Method, Subject, label_of
from reports.stats.intervals import Effect
from reports.text.wording import TIMES, interval, times
from workloads.spec.methods import BASELINE

PHASES = ("backward", "step")
NOISE_COLOUR = "#7d8590"


@dataclass(frozen=True, kw_only=True)
class Total:
    """The speedup of a method in a phase over all layers of a subject."""

    subject: Subject
    headline: Headline
    phase: str
    effect: Effect

    @property
    def method(self) -> Method:
        """The method that is compared with exact."""
        return method_of_headline(self.headline)


def _totals(context: Context, subject: Subject) -> list[Total]:
    totals = []
    for headline in context.headlines_of(subject):
        for phase, effect in (("backward", headline.backward), ("step", headline.step)):
            if effect is not None and not headline.network:
                totals.append(Total(subject=subject, headline=headline, phase=phase, effect=effect))
    return totals


def speedup_chart(context: Context) -> Chart:
    """Draw exact / method for backward and step, per workload and over all, with intervals."""
    subjects, colours = context.subjects, context.colours
    rows = context.rows("speedup")
    axis = _ratio_axis("speedup over exact", [end for row in rows for end in ends_of(row)])
    phases = phases_of(rows)
    panels = dot_panels(subjects, colours, "speedup", phases, axis, [vertical_line(1)])
    legend = legend_of(colours, phases, exact=False)
    for subject, panel in zip(subjects, panels, strict=True):
        if panel.figure:
            _add_totals(panel, _totals(context, subject), colours)
            _add_noise(panel, _sentinel_moved(subject))
    if any(_sentinel_moved(subject) for subject in subjects):
        text = "noise: how far the sentinel strayed from its median in this run"
        legend += (Key(text=text, glyph="▒", colour=NOISE_COLOUR),)
    return Chart(
        title="Speedup per workload",
        caption="The time of exact divided by the method's, paired within each round; bars are "
        "95 % intervals over rounds. Right of the dashed line the method is faster than "
        "exact; an interval that crosses the line decides nothing. The last row is the "
        "figure over all workloads; the summary says how it is made, under What the numbers mean.",
        legend=legend,
        panels=panels,
        rows=row_indices(subjects, rows),
    )


def _add_totals(panel: Panel, totals: Sequence[Total], colours: Colours) -> None:
    """Add a last row with the totals over all workloads, if there are several workloads."""
    layout = panel.figure["layout"]
    labels = [*layout["meta"]["labels"], _all_words(totals)]
    methods = [method for method in colours if method[0] != BASELINE]
    line_of = dict(zip(methods, offsets(len(methods)), strict=True))
    known = [total for total in totals if total.method in line_of]
    if len(labels) <= 2 or not known:
        return
    layout["meta"] = {**layout["meta"], "labels": labels, "total": True}
    layout["yaxis"].update(rows_axis(labels))
    layout["height"] = rows_height(len(labels), layout["meta"]["lines"])
    for total in known:
        y = len(labels) - 1 + line_of[total.method]
        panel.figure["data"].append(_total_mark(total, y, colours[total.method]).to_plotly_json())


def _all_words(totals: Sequence[Total]) -> str:
    """Say what a total is over: a network is never part of it."""
    has_networks = any(total.subject.networks for total in totals)
    return "all layers" if has_networks else "all workloads"


def _total_mark(total: Total, y: float, colour: str) -> go.Scatter:
    effect, label = total.effect, label_of(total.method)
    text = f"all {total.headline.workloads} workloads · {label} · {total.phase}: "
    text += times(effect.ratio)
    span = interval(effect.ci_low, effect.ci_high, "1")
    if span:
        text += f" (95 %: {span})"
    return go.Scatter(
        x=[effect.ratio],
        y=[y],
        mode="markers",
        name=plain(f"all workloads, {label}, {total.phase}"),
        marker=_mark(colour, total.phase, size=13, width=2),
        error_x=effect_intervals([effect], colour),
        hoverinfo="text",
        hovertext=[plain(text)],
        meta={"method": label, "phase": total.phase, "total": True},
    )


def _mark(colour: str, phase: str, *, size: int, width: float) -> Json:
    line = {"color": colour, "width": width}
    return {"color": colour, "size": size, "symbol": PHASE_SYMBOL[phase], "line": line}


def _add_noise(panel: Panel, moved: float) -> None:
    """Draw, behind everything else, the strip of ratios that the machine's noise alone gives."""
    if moved:
        strip = {
            "type": "rect", "name": "noise", "layer": "below",
            "x0": 1 / (1 + moved), "x1": 1 + moved, "yref": "paper", "y0": 0, "y1": 1,
            "line": {"width": 0}, "fillcolor": NOISE_COLOUR, "opacity": 0.22,
        }  # fmt: skip
        layout = panel.figure["layout"]
        layout["shapes"] = [strip, *layout["shapes"]]


def _sentinel_moved(subject: Subject) -> float:
    """Return by what fraction the sentinel moved in the run; 0 where none was measured."""
    sentinel = sentinel_of(subject.target, None)
    return math.expm1(sentinel.moved) if sentinel else 0.0


def _ratio_axis(title: str, ends: Sequence[float]) -> Views:
    """Return axes of ratios that show 1."""
    shown = [*ends, 0.9, 1.1]
    return Views(
        views={
            "absolute-log": log_axis(f"{title}, logarithmic", shown, TIMES),
            "absolute-linear": zero_axis(shown, TIMES, title),
        }
    )


def targets_chart(context: Context) -> Chart | None:
    """Draw the speedups over all workloads of every target below each other, if several."""
    subjects: list[Subject] = []
    totals: list[Total] = []
    ends: list[float] = []
    for subject in context.subjects:
        own_totals = _totals(context, subject)
        if own_totals:
            subjects.append(subject)
            totals += own_totals
    if len(subjects) < 2:
        return None
    for total in totals:
        effect = total.effect
        ends += [end for end in (effect.ratio, effect.ci_low, effect.ci_high) if end]
    labels = [subject.label for subject in subjects]
    measured = {total.method for total in totals}
    colours = {method: colour for method, colour in context.colours.items() if method in measured}
    traces = []
    for method, offset in zip(colours, offsets(len(colours)), strict=True):
        for phase in PHASES:
            lines = [  # of the chart's table
                line
                for line, total in enumerate(totals)
                if total.method == method and total.phase == phase
            ]
            if lines:
                ys = [labels.index(totals[line].subject.label) + offset for line in lines]
                traces.append(_diamonds(totals, lines, ys, colours[method]))
    axis = _ratio_axis("speedup over exact, all workloads", ends)
    panel = panel_of(
        "",
        traces,
        f"speedup over all workloads of {len(subjects)} targets",
        height=rows_height(len(labels), len(colours)),
        yaxis=rows_axis(labels),
        xaxis=axis.first,
        shapes=[vertical_line(1)],
        meta={**rows_meta(labels, len(colours), axis), "of": "target"},
    )
    return Chart(
        title="All targets",
        caption="The speedup over exact, as the geometric mean over each target's workloads with "
        "its 95 % interval. Targets stand side by side; their results are never pooled.",
        legend=legend_of(colours, PHASES, exact=False),
        panels=(panel,),
        columns=_target_columns(totals),
    )


def _diamonds(
    totals: Sequence[Total], lines: Sequence[int], ys: Sequence[float], colour: str
) -> go.Scatter:
    """Draw one method's totals of one phase; ``lines`` are their places in the chart's table."""
    chosen = [totals[line] for line in lines]
    label, phase = label_of(chosen[0].method), chosen[0].phase
    effects = [total.effect for total in chosen]
    return go.Scatter(
        x=[effect.ratio for effect in effects],
        y=ys,
        mode="markers",
        name=plain(f"{label}, {phase}"),
        marker=_mark(colour, phase, size=10, width=1.5),
        error_x=effect_intervals(effects, colour),
        hoverinfo="text",
        meta={"method": label, "phase": phase, "table": lines},
    )


def _target_columns(totals: Sequence[Total]) -> tuple[Column, ...]:
    effects = [total.effect for total in totals]
    counts = [(total.headline.workloads, total.headline.workloads_planned) for total in totals]
    return (
        Column(name="target", values=[total.subject.label for total in totals]),
        Column(name="method", values=[label_of(total.method) for total in totals]),
        Column(name="phase", values=[total.phase for total in totals]),
        Column(name="speedup", values=[effect.ratio for effect in effects], unit=TIMES),
        Column(
            name="95 % interval",
            values=[interval(effect.ci_low, effect.ci_high, "1") for effect in effects],
        ),
        Column(name="workloads", values=[f"{count} of {planned}" for count, planned in counts]),
    )
