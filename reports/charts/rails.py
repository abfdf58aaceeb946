"""The chart of energy by rail. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from reports.charts.axes import method_rows_meta, offsets, rows_axis, rows_height, zero_axis
from reports.charts.chart import Chart, Column, Json, Key, Panel, panel_of
from reports.charts.context import Context
from reports.charts.style import Colours, plain, rounded
from reports.energy.by_round import energies_of
from reports.energy.energy import Energy, UncertainValue
from reports.metrics.of_run import cases_of
from reports.metrics.subjects import (
    Method,
    Subject,
    Workload,
    label_of,
    method_of_case,
    workload_of_case,
)
from reports.text.wording import quantity

RAIL_COLOURS = ("#1f7fc4", "#d1660f", "#0f9171", "#b665a8", "#a67c00", "#4f8f2f", "#c9435c")
RailJoules = Mapping[tuple[Method, str], UncertainValue]  # by method and rail


def rails_chart(context: Context) -> Chart | None:
    """Draw the joules of a step by rail: those of the total stacked, nested ones beside."""
    measured: list[tuple[Subject, RailJoules]] = []
    for subject in context.subjects:
        by_rail = rails_of(subject, context.colours)
        if len(_rails(by_rail)) > 1:
            measured.append((subject, by_rail))
    if not measured:
        return None
    legend = []
    for subject, joules in measured:
        for rail in _rails(joules):
            text = f"{rail}, {_part(subject, rail)}"
            legend.append(
                Key(
                    text=f"{subject.label}: {text}" if len(measured) > 1 else text,
                    glyph="■" if _in_total(subject, rail) else "□",
                    colour=_rail_colour(subject, rail),
                )
            )
    return Chart(
        title="Energy of a step by rail",
        caption="One step of every workload that was measured with all methods, added up. The "
        "upper bar of a method stacks the rails that make up the total; the outlined "
        "bars below it are rails inside the total, which are never added to it.",
        legend=tuple(legend),
        panels=tuple(_panel(subject, joules) for subject, joules in measured),
        columns=_columns(measured),
    )


def _columns(measured: Sequence[tuple[Subject, RailJoules]]) -> tuple[Column, ...]:
    targets, methods, rails, parts, figures = [], [], [], [], []
    for subject, joules in measured:
        for (method, rail), figure in joules.items():
            targets.append(subject.label)
            methods.append(label_of(method))
            rails.append(rail)
            parts.append(_part(subject, rail))
            figures.append(figure)
    return (
        Column(name="target", values=targets),
        Column(name="method", values=methods),
        Column(name="rail", values=rails),
        Column(name="part", values=parts),
        Column(name="energy", values=[figure.value for figure in figures], unit="J"),
        Column(name="± 95 %", values=[figure.u95 for figure in figures], unit="J"),
    )


def _rails(joules: RailJoules) -> list[str]:
    return list(dict.fromkeys(rail for _, rail in joules))


def _in_total(subject: Subject, rail: str) -> bool:
    return subject.target.power is not None and rail in subject.target.power.total


def _part(subject: Subject, rail: str) -> str:
    return "of the total" if _in_total(subject, rail) else "inside the total, not added"


def _rail_colour(subject: Subject, rail: str) -> str:
    power = subject.target.power
    names = [item.name for item in power.rails] if power else [rail]
    return RAIL_COLOURS[names.index(rail) % len(RAIL_COLOURS)]


def rails_of(subject: Subject, colours: Colours) -> dict[tuple[Method, str], UncertainValue]:
    """Return the joules of a step by method and rail over the workloads that all methods have.

    A rail that is missing in one of them is left out: a partial sum is never shown. Uncertainties
    are added up as if they were all on one side.
    """
    measured: dict[tuple[Method, Workload], dict[str, UncertainValue]] = {}
    energies = energies_of(subject.target)
    for case in cases_of(subject.run, subject.target):
        joules = _rail_joules(tuple(energies.get((case, "step"), {}).values()))
        if joules and workload_of_case(case) in subject.added_up:
            measured[method_of_case(case), workload_of_case(case)] = joules
    known = {method for method, _ in measured}
    methods = [method for method in colours if method in known]
    common: list[Workload] = []
    for workload in dict.fromkeys(workload for _, workload in measured):
        if all((method, workload) in measured for method in methods):
            common.append(workload)
    by_rail = [measured[method, workload] for method in methods for workload in common]
    rails = []
    if by_rail:
        rails = [rail for rail in by_rail[0] if all(rail in joules for joules in by_rail)]
    sums = {}
    for method in methods:
        for rail in rails:
            figures = [measured[method, workload][rail] for workload in common]
            sums[method, rail] = UncertainValue(
                value=sum(figure.value for figure in figures),
                random_u95=sum(figure.random_u95 for figure in figures),
                systematic_u95=sum(figure.systematic_u95 for figure in figures),
            )
    return sums


def _rail_joules(energies: Sequence[Energy]) -> dict[str, UncertainValue]:
    """Return the joules per iteration of each rail: the medians over the rounds that are ok.

    Value and uncertainties have a median each.
    """
    by_rail: dict[str, list[UncertainValue]] = {}
    for energy in energies:
        if energy.status == "ok" and energy.iterations:
            for rail in energy.rails:
                if rail.energy_j is not None:
                    joules = rail.energy_j.times(1 / energy.iterations)
                    by_rail.setdefault(rail.name, []).append(joules)
    return {
        name: UncertainValue(
            value=float(np.median([figure.value for figure in figures])),
            random_u95=float(np.median([figure.random_u95 for figure in figures])),
            systematic_u95=float(np.median([figure.systematic_u95 for figure in figures])),
        )
        for name, figures in by_rail.items()
    }


def _panel(subject: Subject, joules: RailJoules) -> Panel:
    methods = list(dict.fromkeys(method for method, _ in joules))
    rails = _rails(joules)
    stacked = [rail for rail in rails if _in_total(subject, rail)]
    nested = [rail for rail in rails if rail not in stacked]
    lines = offsets(1 + len(nested))  # of each method: the stack, then the nested rails
    ends_j = []  # of the bars with their uncertainty
    stack_u95_j = []
    for method in methods:
        stack = [joules[method, rail] for rail in stacked]
        stack_u95_j.append(sum(figure.u95 for figure in stack))
        ends_j.append(sum(figure.value + figure.u95 for figure in stack))
        ends_j += [joules[method, rail].value + joules[method, rail].u95 for rail in nested]
    traces = []
    for rail in rails:
        colour = _rail_colour(subject, rail)
        bars = go.Bar(
            orientation="h",
            x=rounded(joules[method, rail].value for method in methods),
            width=0.7 / len(lines),
            name=plain(rail),
            hoverinfo="text",
            hovertext=[_text(subject, method, rail, joules[method, rail]) for method in methods],
        )
        if rail in stacked:
            bars.y = [row + lines[0] for row in range(len(methods))]
            bars.marker = {"color": colour, "line": {"color": colour, "width": 1.5}}
            if rail == stacked[-1]:
                bars.update(_whiskers(stack_u95_j))
        else:
            offset = lines[1 + nested.index(rail)]
            bars.y = [row + offset for row in range(len(methods))]
            bars.marker = {"color": "rgba(0,0,0,0)", "line": {"color": colour, "width": 1.5}}
            bars.update(_whiskers([joules[method, rail].u95 for method in methods]))
        traces.append(bars)
    return panel_of(
        subject.label,
        traces,
        f"energy of a step by rail on {subject.label}",
        height=rows_height(len(methods), len(lines) + 1),
        yaxis=rows_axis([label_of(method) for method in methods]),
        meta=method_rows_meta(methods, len(lines) + 1),
        xaxis=zero_axis(ends_j, "J", "energy of a step"),
        barmode="stack",
    )


def _text(subject: Subject, method: Method, rail: str, joules: UncertainValue) -> str:
    name = plain(f"{label_of(method)}, {rail} ({_part(subject, rail)})")
    return f"{name}: {quantity(joules.value, 'J')} ± {quantity(joules.u95, 'J')}"


def _whiskers(u95_j: Sequence[float]) -> Json:
    """Return the error bars at the ends of bars."""
    bar = {"type": "data", "thickness": 1.5, "width": 3, "array": rounded(u95_j)}
    return {"error_x": bar, "meta": {"ink": True}}
