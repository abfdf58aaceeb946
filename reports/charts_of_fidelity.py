"""The charts of what speed costs: fidelity, energy, and fidelity by depth. Pure.

Each arrow leads from exact, which is 1 on every axis, to a method over all workloads of a
target; the small dots around its tip are the workloads. Numbers are rows of the export, medians
over them, or the headline's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from reports.chart_style import (
    Chart,
    Colours,
    Column,
    Json,
    Key,
    Method,
    Panel,
    Subject,
    Workload,
    empty_panel,
    label_of,
    legend_of,
    level_at,
    method_of,
    panel,
    plain,
    shared_range,
    short,
    workload_of,
)
from reports.charts import bars_of, meta_of, places_of
from reports.headline import Headline
from reports.rows import Row
from reports.stats import Effect
from reports.wording import TIMES, interval, percent, significant

GRADIENTS = {"cosine_gx": "input gradient g_x", "cosine_gw": "weight gradient g_w"}
Headlines = Mapping[str, Sequence[Headline]]
STROKES = (("cosine_gx", "circle", "solid"), ("cosine_gw", "diamond-open", "dot"))
NAMED = 12  # workloads whose names fit under an axis


def fidelity_charts(
    subjects: Sequence[Subject], colours: Colours, found: Headlines
) -> tuple[Chart, ...]:
    """Draw the gradients' cosine with the exact ones against the speedup of the step."""
    charts = []
    for metric, name in GRADIENTS.items():
        rows = [row for s in subjects for row in s.rows if row.metric == metric]
        if any(row.value is not None for row in rows):
            pairs = [pair for s in subjects for pair in _pairs(s, metric)]
            ranges = (
                shared_range((cosine.value or 0.0 for cosine, _ in pairs), 1.0),
                shared_range((end for _, row in pairs for end in _ends(row)), 1.0),
            )
            charts.append(
                Chart(
                    id=f"fidelity-{metric[-2:]}",
                    title=f"Fidelity against speedup: {name}",
                    caption="What the speedup costs. Up is faster, right is closer to the exact "
                    "gradient (cosine, inputs with a 1/f spectrum). Arrows lead from exact to "
                    "each method over all workloads, dots are the workloads. The table has white "
                    "noise too.",
                    legend=legend_of(colours, exact=False),
                    panels=tuple(
                        _tradeoff(s, colours, metric, found.get(s.label, ()), ranges)
                        for s in subjects
                    ),
                    rows=places_of(subjects, rows),
                )
            )
    return tuple(charts)


def _tradeoff(
    subject: Subject,
    colours: Colours,
    metric: str,
    found: Sequence[Headline],
    ranges: tuple[list[float], list[float]],
) -> Panel:
    name = GRADIENTS[metric]
    points = _pairs(subject, metric)
    if not points:
        return empty_panel(subject, metric)
    traces = [_exact_mark(colours)]
    for method in colours:
        mine = [pair for pair in points if method_of(pair[1]) == method]
        if mine:
            traces.append(_cloud(subject, mine, colours[method]))
    arrows = []
    for h in found:
        spread = h.cosine_gx if metric == "cosine_gx" else h.cosine_gw
        if h.step is not None and spread is not None:
            arrows.append(_arrow(h, spread.median, h.step.ratio, colours))
    return panel(
        subject,
        traces,
        f"speedup of the step against the cosine of the {name} on {subject.label}",
        height=380,
        xaxis={"title": {"text": f"cosine of the {name} with the exact one"}, "range": ranges[0]},
        yaxis={
            "title": {"text": f"speedup of the step ({TIMES})"},
            "ticksuffix": TIMES,
            "range": ranges[1],
        },
        annotations=arrows,
        shapes=[level_at(1)],
    )


def _pairs(subject: Subject, metric: str) -> list[tuple[Row, Row]]:
    """Return the rows of cosine and of the step's speedup of each case that has both."""
    cosines = {row.case: row for row in subject.rows if row.metric == metric and row.phase == ""}
    speeds = [r for r in subject.rows if (r.metric, r.phase) == ("speedup", "step")]
    pairs = [(cosines.get(row.case), row) for row in speeds if row.value is not None]
    return [(cosine, row) for cosine, row in pairs if cosine and cosine.value is not None]


def _ends(row: Row) -> list[float]:
    return [end for end in (row.value, row.ci_low, row.ci_high) if end is not None]


def _exact_mark(colours: Colours, position: str = "bottom left") -> go.Scatter:
    return go.Scatter(
        x=[1], y=[1], mode="markers+text", text=["exact"], textposition=position,
        marker={"color": colours.get(("exact", None, "torch")), "size": 11, "symbol": "x"},
        showlegend=False, hoverinfo="skip", cliponaxis=False,
    )  # fmt: skip


def _arrow(h: Headline, x: float, y: float, colours: Colours, words: str = "") -> Json:
    """Return the arrow from exact to a method."""
    method: Method = (h.method, h.patch_size, h.kernel)
    colour = colours.get(method, "#7d8590")
    return {
        "name": label_of(method), "x": x, "y": y, "ax": 1, "ay": 1, "axref": "x", "ayref": "y",
        "xref": "x", "yref": "y", "showarrow": True, "arrowhead": 2, "arrowsize": 1.2,
        "arrowwidth": 2.2, "arrowcolor": colour, "standoff": 7, "text": plain(words),
    }  # fmt: skip


def _cloud(subject: Subject, points: Sequence[tuple[Row, Row]], colour: str) -> go.Scatter:
    speeds = [speed for _, speed in points]
    return go.Scatter(
        x=[cosine.value for cosine, _ in points],
        y=[speed.value for speed in speeds],
        mode="markers",
        name=plain(label_of(method_of(speeds[0]))),
        marker={"color": colour, "size": 8},
        error_y={
            "type": "data", "symmetric": False, "color": colour, "thickness": 1.2, "width": 3,
            **bars_of(speeds),
        },
        hoverinfo="text",
        meta={
            "method": meta_of(subject, speeds)["method"],
            "rows": [[subject.places[row] for row in pair] for pair in points],
        },
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Costs:
    """One method on one target: what is left of time and energy, and the fidelity."""

    subject: Subject
    headline: Headline
    time: Effect
    energy: Effect


def pareto_chart(subjects: Sequence[Subject], colours: Colours, found: Headlines) -> Chart | None:
    """Draw time against energy of a step, both over exact's, with the fidelity beside."""
    costs = [c for s in subjects for c in _costs(s, found.get(s.label, ()))]
    if not costs:
        return None
    drawn = [s for s in subjects if any(c.subject is s for c in costs)]
    return Chart(
        id="pareto",
        title="Speed, energy and fidelity",
        caption="A step's time and energy over those of exact, over all workloads, with 95 % "
        "intervals: further to the lower left is faster and takes less. The cosines at each tip "
        "say what that costs in fidelity.",
        legend=legend_of(colours, exact=False),
        panels=tuple(_pareto(s, [c for c in costs if c.subject is s], colours) for s in drawn),
        columns=(
            Column(name="target", values=[c.subject.label for c in costs]),
            Column(name="method", values=[_label(c.headline) for c in costs]),
            Column(name="time over exact", values=[c.time.ratio for c in costs], unit="1"),
            Column(name="95 % interval of time", values=[_span(c.time) for c in costs]),
            Column(name="energy over exact", values=[c.energy.ratio for c in costs], unit="1"),
            Column(name="95 % interval of energy", values=[_span(c.energy) for c in costs]),
            Column(name="cosine of g_x", values=[_cosine(c, "cosine_gx") for c in costs], unit="1"),
            Column(name="cosine of g_w", values=[_cosine(c, "cosine_gw") for c in costs], unit="1"),
        ),
    )


def _costs(subject: Subject, found: Sequence[Headline]) -> Iterator[Costs]:
    for h in found:
        if h.step is not None and h.energy is not None:
            time = Effect(
                ratio=1 / h.step.ratio,
                ci_low=None if h.step.ci_high is None else 1 / h.step.ci_high,
                ci_high=None if h.step.ci_low is None else 1 / h.step.ci_low,
                n=h.step.n,
            )
            yield Costs(subject=subject, headline=h, time=time, energy=h.energy)


def _pareto(subject: Subject, costs: Sequence[Costs], colours: Colours) -> Panel:
    traces = [_exact_mark(colours, "top center")]
    arrows = []
    for one in costs:
        h = one.headline
        colour = colours.get((h.method, h.patch_size, h.kernel), "#7d8590")
        words = f"{_label(h)}: {percent(one.time.ratio)} of the time, "
        words += f"{percent(one.energy.ratio)} of the energy, {_fidelity(one)}"
        traces.append(
            go.Scatter(
                x=[one.time.ratio], y=[one.energy.ratio], mode="markers+text",
                text=["\u00a0" + plain(_fidelity(one))], textposition="bottom right",
                marker={"color": colour, "size": 12}, name=plain(_label(h)),
                error_x=_arms(one.time, colour), error_y=_arms(one.energy, colour),
                hoverinfo="text", hovertext=[plain(words)], meta={"method": _label(h)},
                cliponaxis=False,
            )
        )  # fmt: skip
        arrows.append(_arrow(h, one.time.ratio, one.energy.ratio, colours))
    return panel(
        subject,
        traces,
        f"time and energy of a step over exact's, {len(costs)} methods, on {subject.label}",
        height=380,
        xaxis=_share_axis("time of a step, as a share of exact's", [c.time for c in costs]),
        yaxis=_share_axis("energy of a step, as a share of exact's", [c.energy for c in costs]),
        annotations=arrows,
    )


def _share_axis(title: str, effects: Sequence[Effect]) -> Json:
    highest = max([1.0, *(e.ci_high or e.ratio for e in effects)])
    return {"title": {"text": title}, "tickformat": ".0%", "range": [0, highest * 1.15]}


def _arms(effect: Effect, colour: str) -> Json:
    return {
        "type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 3,
        "visible": effect.ci_high is not None,
        "array": short([(effect.ci_high or effect.ratio) - effect.ratio]),
        "arrayminus": short([effect.ratio - (effect.ci_low or effect.ratio)]),
    }  # fmt: skip


def _label(h: Headline) -> str:
    return label_of((h.method, h.patch_size, h.kernel))


def _span(effect: Effect) -> str:
    return interval(effect.ci_low, effect.ci_high, "1")


def _cosine(one: Costs, name: str) -> float | None:
    spread = getattr(one.headline, name)
    return None if spread is None else spread.median


def _fidelity(one: Costs) -> str:
    pairs = [
        (words, _cosine(one, name)) for name, words in (("cosine_gx", "g_x"), ("cosine_gw", "g_w"))
    ]
    known = [f"{significant(value)} ({words})" for words, value in pairs if value is not None]
    return f"cosine {', '.join(known)}" if known else "fidelity not measured"


def depth_chart(subjects: Sequence[Subject], colours: Colours) -> Chart | None:
    """Draw the cosines by workload in the order of the suite, which is depth for a network."""
    rows = [
        row for s in subjects for row in s.rows
        if row.metric in GRADIENTS and row.phase == "" and row.value is not None
    ]  # fmt: skip
    if max((len(s.workloads) for s in subjects), default=0) < 2 or not rows:
        return None
    return Chart(
        id="depth",
        title="Fidelity by depth",
        caption="The cosines with the exact gradients (1/f spectrum) by workload, in the order of "
        "the suite; for the layers of a network that is their depth. 1 is equality.",
        legend=(
            *legend_of(colours, exact=False),
            Key(text="g_x, input gradient", glyph="●"),
            Key(text="g_w, weight gradient", glyph="◇"),
        ),
        panels=tuple(_depth(s, colours) for s in subjects),
        rows=places_of(subjects, rows),
    )


def _depth(subject: Subject, colours: Colours) -> Panel:
    order: dict[Workload, int] = {key: place for place, key in enumerate(subject.workloads)}
    traces = []
    for method in colours:
        for metric, symbol, dash in (
            ("cosine_gx", "circle", "solid"),
            ("cosine_gw", "diamond-open", "dot"),
        ):
            mine = [
                row for row in subject.rows
                if row.metric == metric and row.phase == "" and row.value is not None
                and method_of(row) == method
            ]  # fmt: skip
            if mine:
                mine.sort(key=lambda row: order[workload_of(row)])
                traces.append(
                    go.Scatter(
                        x=[order[workload_of(row)] for row in mine],
                        y=short(row.value for row in mine),
                        mode="lines+markers",
                        line={"color": colours[method], "width": 1.5, "dash": dash},
                        marker={"color": colours[method], "size": 7, "symbol": symbol},
                        name=plain(f"{label_of(method)}, {GRADIENTS[metric]}"),
                        hoverinfo="text",
                        meta={
                            "method": label_of(method),
                            "rows": [subject.places[row] for row in mine],
                        },
                    )
                )
    if not traces:
        return empty_panel(subject, "cosine_gx")
    labels = list(subject.workloads.values())
    named = len(labels) <= NAMED
    axis: Json = {"title": {"text": "" if named else "place in the suite"}, "dtick": None}
    if named:
        axis = {
            "tickvals": list(range(len(labels))),
            "ticktext": [plain(_brief(one)) for one in labels],
        }
    lowest = min(float(np.min([y for y in trace.y if y is not None])) for trace in traces)
    return panel(
        subject,
        traces,
        f"cosines of the gradients by workload on {subject.label}",
        xaxis={**axis, "showgrid": False},
        yaxis={
            "title": {"text": "cosine with the exact gradient"},
            "range": [min(0.0, lowest), 1.03],
        },
    )


def _brief(label: str) -> str:
    return label if len(label) <= 16 else f"{label[:15]}…"
