"""The charts of what speed costs: fidelity, energy, and fidelity by depth. Pure.

Each arrow leads from exact, which is 1 on every axis, to a method over all workloads of a
target; the small dots around its tip are the workloads. Numbers are rows of the export, medians
over them, or the headline's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.charts.axes import shared_range
from reports.charts.chart import (
    Chart,
    Column,
    Json,
    Key,
    Panel,
    empty_panel,
    panel_of,
    row_indices,
)
from reports.charts.context import Context, headline_label, method_of_headline
from reports.charts.style import (
    EXACT_COLOUR,
    Colours,
    effect_intervals,
    error_bars,
    horizontal_line,
    legend_of,
    plain,
    rounded,
    shortened,
)
from reports.metrics.headlines import Headline, Spread
from reports.metrics.rows import Row
from reports.metrics.subjects import Method, Subject, label_of, method_of, workload_of
from reports.stats.intervals import Effect
from reports.text.wording import TIMES, interval, percent, significant
from workloads.spec.methods import BASELINE, METHODS

MAX_NAMES = 12  # of workloads that fit under an axis


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """One of the two gradients, and how the chart by depth draws it."""

    metric: str
    name: str
    symbol: str
    dash: str

    def spread_of(self, headline: Headline) -> Spread | None:
        """Return the gradient's cosine over the workloads of a headline."""
        return headline.cosine_gx if self.metric == "cosine_gx" else headline.cosine_gw


INPUT = Gradient(metric="cosine_gx", name="input gradient g_x", symbol="circle", dash="solid")
WEIGHT = Gradient(metric="cosine_gw", name="weight gradient g_w", symbol="diamond-open", dash="dot")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A case that has both a cosine and a speedup of its step."""

    cosine: Row
    speedup: Row


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """The ranges of both axes, the same for all panels of a chart."""

    x: list[float]
    y: list[float]


def input_chart(context: Context) -> Chart | None:
    """Draw the speedup of the step against the cosine of the input gradient."""
    return _tradeoff_chart(context, INPUT)


def weight_chart(context: Context) -> Chart | None:
    """Draw the speedup of the step against the cosine of the weight gradient."""
    return _tradeoff_chart(context, WEIGHT)


def _tradeoff_chart(context: Context, gradient: Gradient) -> Chart | None:
    rows = context.rows(gradient.metric)
    if all(row.value is None for row in rows):
        return None
    cosines, speedups = [], []
    for subject in context.subjects:
        for point in _points(subject, gradient):
            row = point.speedup
            cosines.append(point.cosine.value or 0.0)
            speedups += [end for end in (row.value, row.ci_low, row.ci_high) if end is not None]
    ranges = Ranges(x=shared_range(cosines, 1.0), y=shared_range(speedups, 1.0))
    measured = {method_of(row) for row in rows}
    colours = {method: context.colours[method] for method in context.colours if method in measured}
    return Chart(
        title=f"Fidelity against speedup: {gradient.name}",
        caption="What the speedup costs: further up is faster, further right is closer to the "
        "exact gradient (cosine, on inputs with a 1/f spectrum). Each arrow leads from "
        "exact to a method over all layers; the dots are the workloads. The cosine of a "
        "network is that of the gradients of all its trained weights together. The table "
        "also has the cosines on white noise.",
        legend=legend_of(colours, exact=False),
        panels=tuple(
            _tradeoff_panel(context, subject, gradient, ranges) for subject in context.subjects
        ),
        rows=row_indices(context.subjects, rows),
    )


def _tradeoff_panel(
    context: Context, subject: Subject, gradient: Gradient, ranges: Ranges
) -> Panel:
    points = _points(subject, gradient)
    if not points:
        return empty_panel(subject, gradient.metric)
    traces = [_exact_mark(context.colours, "bottom left")]
    for method, colour in context.colours.items():
        chosen = [point for point in points if method_of(point.speedup) == method]
        if chosen:
            traces.append(_cloud(subject, chosen, colour))
    arrows = []
    for headline in context.headlines_of(subject):
        spread = gradient.spread_of(headline)
        if headline.step is not None and spread is not None and not headline.network:
            arrows.append(_arrow(headline, spread.median, headline.step.ratio, context.colours))
    return panel_of(
        subject.label,
        traces,
        f"speedup of the step against the cosine of the {gradient.name} on {subject.label}",
        height=380,
        xaxis={
            "title": {"text": f"cosine of the {gradient.name} with the exact one"},
            "range": ranges.x,
        },
        yaxis={
            "title": {"text": f"speedup of the step ({TIMES})"},
            "ticksuffix": TIMES,
            "range": ranges.y,
        },
        annotations=arrows,
        shapes=[horizontal_line(1)],
    )


def _points(subject: Subject, gradient: Gradient) -> list[Point]:
    """Return each case that has both figures, in the order of the speedups."""
    cosines = {row.case: row for row in _cosines(subject, gradient)}
    points = []
    for row in subject.rows:
        if row.metric == "speedup" and row.phase == "step" and row.value is not None:
            cosine = cosines.get(row.case)
            if cosine is not None:
                points.append(Point(cosine=cosine, speedup=row))
    return points


def _cosines(subject: Subject, gradient: Gradient) -> list[Row]:
    """Return the measured cosines on the 1/f spectrum; those on white noise have a phase."""
    rows = [row for row in subject.rows if row.metric == gradient.metric and row.phase == ""]
    return [row for row in rows if row.value is not None]


def _exact_mark(colours: Colours, text_position: str) -> go.Scatter:
    return go.Scatter(
        x=[1],
        y=[1],
        mode="markers+text",
        text=[METHODS[BASELINE].label],
        textposition=text_position,
        marker={"color": colours.get((BASELINE, None, "torch")), "size": 11, "symbol": "x"},
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
    )


def _arrow(headline: Headline, x: float, y: float, colours: Colours) -> Json:
    """Return the arrow from exact to a method."""
    return {
        "name": headline_label(headline),
        "x": x, "y": y, "xref": "x", "yref": "y",
        "ax": 1, "ay": 1, "axref": "x", "ayref": "y",
        "showarrow": True, "arrowhead": 2, "arrowsize": 1.2, "arrowwidth": 2.2,
        "arrowcolor": colours.get(method_of_headline(headline), EXACT_COLOUR),
        "standoff": 7, "text": "",
    }  # fmt: skip


def _cloud(subject: Subject, points: Sequence[Point], colour: str) -> go.Scatter:
    """Draw the workloads of one method."""
    speedups = [point.speedup for point in points]
    bars = error_bars(
        [row.value or 0.0 for row in speedups],
        [row.ci_low for row in speedups],
        [row.ci_high for row in speedups],
        colour,
    )
    label = label_of(method_of(speedups[0]))
    indices = subject.places
    return go.Scatter(
        x=[point.cosine.value for point in points],
        y=[row.value for row in speedups],
        mode="markers",
        name=plain(label),
        marker={"color": colour, "size": 8},
        error_y={**bars, "thickness": 1.2},
        hoverinfo="text",
        meta={
            "method": label,
            "rows": [[indices[point.cosine], indices[point.speedup]] for point in points],
        },
    )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One method on one target: what is left of time and energy, and the fidelity."""

    subject: Subject
    headline: Headline
    time: Effect
    energy: Effect

    @property
    def label(self) -> str:
        """The method in words."""
        return headline_label(self.headline)

    @property
    def workloads(self) -> str:
        """What the figures are of."""
        return self.headline.network or "all layers"

    @property
    def cosine_gx(self) -> float | None:
        """The median cosine of the input gradient."""
        spread = self.headline.cosine_gx
        return None if spread is None else spread.median

    @property
    def cosine_gw(self) -> float | None:
        """The median cosine of the weight gradient."""
        spread = self.headline.cosine_gw
        return None if spread is None else spread.median

    @property
    def fidelity(self) -> str:
        """Both cosines in words."""
        known = []
        if self.cosine_gx is not None:
            known.append(f"{significant(self.cosine_gx)} (g_x)")
        if self.cosine_gw is not None:
            known.append(f"{significant(self.cosine_gw)} (g_w)")
        return f"cosine {', '.join(known)}" if known else "fidelity not measured"


def pareto_chart(context: Context) -> Chart | None:
    """Draw time against energy of a step, both over exact's, with the fidelity beside."""
    costs: list[Cost] = []
    panels = []
    for subject in context.subjects:
        of_subject = _costs(context, subject)
        if of_subject:
            costs += of_subject
            panels.append(_pareto_panel(subject, of_subject, context.colours))
    if not costs:
        return None
    return Chart(
        title="Speed, energy and fidelity",
        caption="Time and energy of a step as shares of those of exact, over all layers, with "
        "95 % intervals: towards the lower left is faster and takes less energy. The "
        "cosines at the tip of each arrow say what that costs in fidelity.",
        legend=legend_of(context.colours, exact=False),
        panels=tuple(panels),
        columns=(
            Column(name="target", values=[cost.subject.label for cost in costs]),
            Column(name="workloads", values=[cost.workloads for cost in costs]),
            Column(name="method", values=[cost.label for cost in costs]),
            Column(name="time over exact", values=[cost.time.ratio for cost in costs], unit="1"),
            Column(name="95 % interval of time", values=[_interval(c.time) for c in costs]),
            Column(
                name="energy over exact", values=[cost.energy.ratio for cost in costs], unit="1"
            ),
            Column(name="95 % interval of energy", values=[_interval(c.energy) for c in costs]),
            Column(name="cosine of g_x", values=[cost.cosine_gx for cost in costs], unit="1"),
            Column(name="cosine of g_w", values=[cost.cosine_gw for cost in costs], unit="1"),
        ),
    )


def _interval(effect: Effect) -> str:
    return interval(effect.ci_low, effect.ci_high, "1")


def _costs(context: Context, subject: Subject) -> list[Cost]:
    costs = []
    for headline in context.headlines_of(subject):
        speedup, energy = headline.step, headline.energy
        if speedup is not None and energy is not None:
            time = Effect(
                ratio=1 / speedup.ratio,
                ci_low=None if speedup.ci_high is None else 1 / speedup.ci_high,
                ci_high=None if speedup.ci_low is None else 1 / speedup.ci_low,
                n=speedup.n,
            )
            costs.append(Cost(subject=subject, headline=headline, time=time, energy=energy))
    return costs


def _pareto_panel(subject: Subject, costs: Sequence[Cost], colours: Colours) -> Panel:
    traces = [_exact_mark(colours, "top center")]
    arrows = []
    for cost in costs:
        colour = colours.get(method_of_headline(cost.headline), EXACT_COLOUR)
        time, energy = cost.time.ratio, cost.energy.ratio
        text = f"{cost.workloads}, {cost.label}: {percent(time)} of the time, "
        text += f"{percent(energy)} of the energy, "
        traces.append(
            go.Scatter(
                x=[time],
                y=[energy],
                mode="markers+text",
                text=["\N{NO-BREAK SPACE}" + plain(cost.fidelity)],
                textposition="bottom right",
                marker={"color": colour, "size": 12},
                name=plain(cost.label),
                error_x=effect_intervals([cost.time], colour),
                error_y=effect_intervals([cost.energy], colour),
                hoverinfo="text",
                hovertext=[plain(text + cost.fidelity)],
                meta={"method": cost.label},
                cliponaxis=False,
            )
        )
        arrows.append(_arrow(cost.headline, time, energy, colours))
    return panel_of(
        subject.label,
        traces,
        f"time and energy of a step over exact's, {len(costs)} methods, on {subject.label}",
        height=380,
        xaxis=_share_axis("time of a step, as a share of exact's", [cost.time for cost in costs]),
        yaxis=_share_axis(
            "energy of a step, as a share of exact's", [cost.energy for cost in costs]
        ),
        annotations=arrows,
    )


def _share_axis(title: str, effects: Sequence[Effect]) -> Json:
    highest = max([1.0, *(effect.ci_high or effect.ratio for effect in effects)])
    return {"title": {"text": title}, "tickformat": ".0%", "range": [0, highest * 1.15]}


def depth_chart(context: Context) -> Chart | None:
    """Draw the cosines by workload in the order of the suite, which is depth for a network."""
    measured = []
    for subject in context.subjects:
        for gradient in (INPUT, WEIGHT):
            measured += _cosines_by_depth(subject, gradient)
    if len({workload_of(row) for row in measured}) < 2:
        return None
    return Chart(
        title="Fidelity by depth",
        caption="The cosines of the gradients with the exact ones (on inputs with a 1/f "
        "spectrum) by workload, in the order of the suite; for the layers of a network, "
        "that is their depth. 1 is equality.",
        legend=(
            *legend_of(context.colours, exact=False),
            Key(text="g_x, input gradient", glyph="●"),
            Key(text="g_w, weight gradient", glyph="◇"),
        ),
        panels=tuple(_depth_panel(subject, context.colours) for subject in context.subjects),
        rows=row_indices(context.subjects, measured),
    )


def _cosines_by_depth(subject: Subject, gradient: Gradient) -> list[Row]:
    """Return the measured cosines of layers; a network's layers have a chart of their own."""
    rows = _cosines(subject, gradient)
    return [row for row in rows if workload_of(row) not in subject.networks]


def _depth_panel(subject: Subject, colours: Colours) -> Panel:
    traces = []
    lowest = 0.0
    for method, colour in colours.items():
        for gradient in (INPUT, WEIGHT):
            cosines = _cosines_by_depth(subject, gradient)
            rows = [row for row in cosines if method_of(row) == method]
            if rows:
                traces.append(_depth_line(subject, gradient, rows, colour))
                lowest = min(lowest, *(y for y in traces[-1].y if y is not None))
    if not traces:
        return empty_panel(subject, INPUT.metric)
    labels = [
        label for workload, label in subject.workloads.items() if workload not in subject.networks
    ]
    axis: Json = {"title": {"text": "place in the suite"}, "dtick": None}
    if len(labels) <= MAX_NAMES:
        axis = {
            "tickvals": list(range(len(labels))),
            "ticktext": [plain(shortened(label, 16)) for label in labels],
        }
    return panel_of(
        subject.label,
        traces,
        f"cosines of the gradients by workload on {subject.label}",
        xaxis={**axis, "showgrid": False},
        yaxis={"title": {"text": "cosine with the exact gradient"}, "range": [lowest, 1.03]},
    )


def _depth_line(
    subject: Subject, gradient: Gradient, rows: Sequence[Row], colour: str
) -> go.Scatter:
    """Draw one gradient of one method over the workloads."""
    layers = [workload for workload in subject.workloads if workload not in subject.networks]
    position = {workload: index for index, workload in enumerate(layers)}
    in_order = sorted(rows, key=lambda row: position[workload_of(row)])
    method: Method = method_of(rows[0])
    return go.Scatter(
        x=[position[workload_of(row)] for row in in_order],
        y=rounded(row.value for row in in_order),
        mode="lines+markers",
        line={"color": colour, "width": 1.5, "dash": gradient.dash},
        marker={"color": colour, "size": 7, "symbol": gradient.symbol},
        name=plain(f"{label_of(method)}, {gradient.name}"),
        hoverinfo="text",
        meta={
            "method": label_of(method),
            "rows": [subject.places[row] for row in in_order],
        },
    )
