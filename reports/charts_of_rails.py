"""The chart of energy by rail. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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
    label_of,
    panel,
    plain,
    rows_axis,
    rows_height,
    short,
    zero_axis,
)
from reports.charts_of_energy import by_method
from reports.comparison import cases_of
from reports.energy import Energy, Figure
from reports.energy_table import energies_of
from reports.wording import quantity

RAIL_COLOURS = ("#1f7fc4", "#d1660f", "#0f9171", "#b665a8", "#a67c00", "#4f8f2f", "#c9435c")


def rails_chart(subjects: Sequence[Subject], colours: Colours) -> Chart | None:
    """Draw the joules of a step by rail: those of the total stacked, nested ones beside."""
    found = {s.label: rails_of(s, colours) for s in subjects}
    drawn = [s for s in subjects if len({rail for _, rail in found[s.label]}) > 1]
    if not drawn:
        return None
    rows = [(s, key, joules) for s in drawn for key, joules in found[s.label].items()]
    return Chart(
        id="energy-rails",
        title="Energy of a step by rail",
        caption="One step of every workload that all methods have, added up. The upper bar of a "
        "method stacks the rails that add up to the total; the outlined bars below it are rails "
        "that lie inside the total and are never added to it.",
        legend=tuple(
            Key(
                text=_rail_words(s, rail, several=len(drawn) > 1),
                glyph="■" if rail in s.target.power.total else "□",
                colour=_rail_colour(s, rail),
            )
            for s in drawn
            if s.target.power
            for rail in dict.fromkeys(rail for _, rail in found[s.label])
        ),
        panels=tuple(_rails_panel(s, found[s.label]) for s in drawn),
        columns=(
            Column(name="target", values=[s.label for s, _, _ in rows]),
            Column(name="method", values=[label_of(method) for _, (method, _), _ in rows]),
            Column(name="rail", values=[rail for _, (_, rail), _ in rows]),
            Column(name="part", values=[_part(s, rail) for s, (_, rail), _ in rows]),
            Column(name="energy", values=[joules.value for *_, joules in rows], unit="J"),
            Column(name="± 95 %", values=[joules.u95 for *_, joules in rows], unit="J"),
        ),
    )


def _part(subject: Subject, rail: str) -> str:
    power = subject.target.power
    return "of the total" if power and rail in power.total else "inside the total, not added"


def _rail_words(subject: Subject, rail: str, *, several: bool) -> str:
    words = f"{rail}, {_part(subject, rail)}"
    return f"{subject.label}: {words}" if several else words


def _rail_colour(subject: Subject, rail: str) -> str:
    names = [item.name for item in subject.target.power.rails] if subject.target.power else [rail]
    return RAIL_COLOURS[names.index(rail) % len(RAIL_COLOURS)]


def rails_of(subject: Subject, colours: Colours) -> dict[tuple[Method, str], Figure]:
    """Return the joules of a step by method and rail over the workloads that all methods have.

    A rail that is missing in one of them is left out: a partial sum is never shown. Uncertainties
    are added up as if they were all on one side.
    """
    by_case: dict[tuple[Method, Workload], dict[str, Figure]] = {}
    energies = energies_of(subject.target)
    for case in cases_of(subject.run, subject.target):
        joules = _rail_joules(tuple(energies.get((case, "step"), {}).values()))
        if joules:
            workload = (case.layer.name, case.batch, case.device, case.dtype)
            by_case[(case.method, case.patch_size, case.kernel_label), workload] = joules
    methods = [m for m in colours if any(method == m for method, _ in by_case)]
    workloads = dict.fromkeys(workload for _, workload in by_case)
    common = [w for w in workloads if all((m, w) in by_case for m in methods)]
    chosen = [by_case[m, w] for m in methods for w in common]
    rails = [rail for rail in (chosen[0] if chosen else ()) if all(rail in one for one in chosen)]
    return {
        (method, rail): _added([by_case[method, workload][rail] for workload in common])
        for method in methods
        for rail in rails
    }


def _added(figures: Sequence[Figure]) -> Figure:
    return Figure(
        value=sum(figure.value for figure in figures),
        random_u95=sum(figure.random_u95 for figure in figures),
        systematic_u95=sum(figure.systematic_u95 for figure in figures),
    )


def _rail_joules(energies: Sequence[Energy]) -> dict[str, Figure]:
    """Return the median joules per iteration of each rail over the rounds that are ok."""
    found: dict[str, list[Figure]] = {}
    for energy in energies:
        for rail in energy.rails if energy.status == "ok" and energy.iterations else ():
            if rail.energy_j is not None:
                found.setdefault(rail.name, []).append(rail.energy_j.times(1 / energy.iterations))
    return {name: _median(figures) for name, figures in found.items()}


def _median(figures: Sequence[Figure]) -> Figure:
    """Return the medians of the values and of what each window states."""

    def middle(parts: Iterable[float]) -> float:
        return float(np.median(list(parts)))

    return Figure(
        value=middle(figure.value for figure in figures),
        random_u95=middle(figure.random_u95 for figure in figures),
        systematic_u95=middle(figure.systematic_u95 for figure in figures),
    )


def _rails_panel(subject: Subject, found: Mapping[tuple[Method, str], Figure]) -> Panel:
    power = subject.target.power
    total = power.total if power else ()
    methods = list(dict.fromkeys(method for method, _ in found))
    rails = list(dict.fromkeys(rail for _, rail in found))
    nested = [rail for rail in rails if rail not in total]
    lines = 1 + len(nested)
    ends = [*nested, *[rail for rail in rails if rail in total][-1:]]  # of the bars; a stack's last
    traces = []
    for rail in rails:
        colour = _rail_colour(subject, rail)
        line = 0 if rail in total else 1 + nested.index(rail)
        offset = (line - (lines - 1) / 2) * 0.8 / lines
        inside = rail not in total
        traces.append(
            go.Bar(
                orientation="h",
                x=short(found[method, rail].value for method in methods),
                y=[place + offset for place, _ in enumerate(methods)],
                width=0.7 / lines,
                name=plain(rail),
                marker={
                    "color": "rgba(0,0,0,0)" if inside else colour,
                    "line": {"color": colour, "width": 1.5},
                },
                hoverinfo="text",
                hovertext=[
                    plain(f"{label_of(m)}, {rail} ({_part(subject, rail)}): ")
                    + f"{quantity(found[m, rail].value, 'J')} ± {quantity(found[m, rail].u95, 'J')}"
                    for m in methods
                ],
                **_whiskers(
                    [_end_u95(found, m, rail, total) for m in methods] if rail in ends else []
                ),
            )
        )
    return panel(
        subject,
        traces,
        f"energy of a step by rail on {subject.label}",
        height=rows_height(len(methods), lines + 1),
        yaxis=rows_axis([label_of(method) for method in methods]),
        meta=by_method(methods, lines + 1),
        xaxis=zero_axis(_stacked_j(found, total), "J", "energy of a step"),
        barmode="stack",
    )


def _end_u95(
    found: Mapping[tuple[Method, str], Figure], method: Method, rail: str, total: Sequence[str]
) -> float:
    """Return the uncertainty at the end of a bar: of a stack that of all its rails together."""
    rails = [one for one in total if (method, one) in found] if rail in total else [rail]
    return sum(found[method, one].u95 for one in rails)


def _whiskers(u95_j: Sequence[float]) -> Json:
    """Return the error bars at the ends of bars."""
    if not u95_j:
        return {}
    bar = {"type": "data", "thickness": 1.5, "width": 3, "array": short(u95_j)}
    return {"error_x": bar, "meta": {"ink": True}}


def _stacked_j(found: Mapping[tuple[Method, str], Figure], total: Sequence[str]) -> list[float]:
    """Return how long each method's bars are: the rails of the total together, others alone."""
    stacks: dict[Method, float] = {}
    ends = {key: joules.value + joules.u95 for key, joules in found.items()}
    for (method, rail), end in ends.items():
        if rail in total:
            stacks[method] = stacks.get(method, 0.0) + end
    return [*stacks.values(), *(end for (_, rail), end in ends.items() if rail not in total)]
