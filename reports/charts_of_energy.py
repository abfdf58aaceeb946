"""The charts of energy: per iteration, and by phase with its idle share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.chart_style import (
    PHASE_COLOUR,
    Chart,
    Colours,
    Column,
    Json,
    Key,
    Method,
    Panel,
    Subject,
    Views,
    Workload,
    label_of,
    legend_of,
    log_axis,
    method_of,
    panel,
    plain,
    rows_axis,
    rows_height,
    rows_meta,
    short,
    workload_of,
    zero_axis,
)
from reports.charts import dot_panels, places_of, ratio_views
from reports.energy_table import energies_of, net_figures, over_rounds
from reports.rows import Row, row_case
from reports.wording import quantity

IDLE_SHARE = "#9aa0a6"
PHASES = ("forward", "backward", "step")


@dataclass(frozen=True, kw_only=True)
class Total:
    """Joules of one iteration of each of several workloads, added up."""

    gross_j: float
    low_j: float
    high_j: float
    net_j: float | None


def energy_chart(subjects: Sequence[Subject], colours: Colours) -> Chart | None:
    """Draw the joules of an iteration where any were measured."""
    measured = [subject for subject in subjects if subject.target.power]
    rows = [row for subject in measured for row in subject.rows if row.metric == "energy_j"]
    if not any(row.value is not None for row in rows):
        return None
    phases = tuple(dict.fromkeys(row.phase for row in rows if row.value is not None))
    ends = [end for row in rows for end in (row.value, row.ci_high) if end is not None]
    axis = Views(
        views={
            "absolute-linear": zero_axis(ends, "J", "energy per iteration"),
            "absolute-log": log_axis("energy per iteration, logarithmic", ends, "J"),
            **ratio_views(measured, rows, "energy"),
        }
    )
    return Chart(
        id="energy",
        title="Energy per iteration",
        caption="Joules of one iteration, idle power included. A bar covers the scatter of the "
        "rounds and the sensor's tolerance; the tolerance cancels between methods on one "
        "target. Left is less. Which part of the machine the sensor sees is explained "
        'below, in "Energy: how it was measured".',
        legend=legend_of(colours, phases),
        panels=dot_panels(measured, colours, "energy_j", phases, axis, []),
        rows=places_of(subjects, rows),
    )


def parts_chart(subjects: Sequence[Subject]) -> Chart | None:
    """Draw the joules by phase, and a step's with the share that an idle machine takes."""
    found = {s.label: totals(s) for s in subjects}
    drawn = [s for s in subjects if found[s.label][0]]
    if not drawn:
        return None
    return Chart(
        id="energy-parts",
        title="Energy by phase, and above idle",
        caption="One iteration of every workload that all methods have, added up. The upper bar "
        "of a method stacks its forward and its backward; the lower one is the whole step, split "
        "into what the idle machine would have used in that time and the rest (net).",
        legend=(
            Key(text="forward", glyph="■", colour=PHASE_COLOUR["forward"]),
            Key(text="backward", glyph="■", colour=PHASE_COLOUR["backward"]),
            Key(text="step, above idle (net)", glyph="■", colour=PHASE_COLOUR["step"]),
            Key(text="step, idle share", glyph="■", colour=IDLE_SHARE),
        ),
        panels=tuple(_parts_panel(s, *found[s.label]) for s in drawn),
        columns=_parts_columns([(s, *found[s.label]) for s in drawn]),
    )


def totals(subject: Subject) -> tuple[dict[tuple[Method, str], Total], int]:
    """Return the joules by method and phase over the workloads that all methods have, and how many.

    A phase in which no workload has them all is left out.
    """
    rows = [row for row in subject.rows if row.metric == "energy_j"]
    nets = _nets(subject) if any(row.value is not None for row in rows) else {}
    found: dict[tuple[Method, str], Total] = {}
    counts = []
    for phase in PHASES:
        mine = {(method_of(row), workload_of(row)): row for row in rows if row.phase == phase}
        methods, common = _common({key: row for key, row in mine.items() if row.value is not None})
        counts.append(len(common))
        for method in methods if common else ():
            chosen = [mine[method, workload] for workload in common]
            found[method, phase] = _total(chosen, nets)
    return found, max(counts, default=0)


def _common(
    measured: Mapping[tuple[Method, Workload], Row],
) -> tuple[list[Method], list[Workload]]:
    methods = list(dict.fromkeys(method for method, _ in measured))
    workloads = dict.fromkeys(workload for _, workload in measured)
    return methods, [w for w in workloads if all((m, w) in measured for m in methods)]


def _total(rows: Sequence[Row], nets: Mapping[tuple[object, str], float]) -> Total:
    net_j = [nets.get((row.case, row.phase)) for row in rows]
    known = [value for value in net_j if value is not None]
    return Total(
        gross_j=sum(row.value or 0.0 for row in rows),
        low_j=sum(row.ci_low or 0.0 for row in rows),
        high_j=sum(row.ci_high or 0.0 for row in rows),
        net_j=sum(known) if len(known) == len(rows) else None,
    )


def _nets(subject: Subject) -> dict[tuple[object, str], float]:
    """Return the joules above idle by case of a row and phase."""
    name = subject.target.name
    found: dict[tuple[object, str], float] = {}
    for (case, phase), energies in energies_of(subject.target).items():
        net = over_rounds(tuple(net_figures(energies).values()))
        if net is not None:
            found[row_case(name, case), phase] = net.value
    return found


def _parts_panel(subject: Subject, found: Mapping[tuple[Method, str], Total], count: int) -> Panel:
    methods = list(dict.fromkeys(method for method, _ in found))
    places = {method: place for place, method in enumerate(methods)}
    bars: list[tuple[str, str, float, Callable[[Total], float | None], str]] = [
        ("forward", "forward", -0.2, lambda total: total.gross_j, PHASE_COLOUR["forward"]),
        ("backward", "backward", -0.2, lambda total: total.gross_j, PHASE_COLOUR["backward"]),
        ("step", "step, idle share", 0.2, _idle_share, IDLE_SHARE),
        ("step", "step, above idle", 0.2, _above_idle, PHASE_COLOUR["step"]),
    ]
    traces = []
    for phase, name, offset, share, colour in bars:
        mine = [m for m in methods if (m, phase) in found and share(found[m, phase]) is not None]
        if mine:
            traces.append(
                go.Bar(
                    orientation="h",
                    x=short(share(found[m, phase]) for m in mine),
                    y=[places[m] + offset for m in mine],
                    width=0.34,
                    name=name,
                    marker={"color": colour},
                    **_whiskers([found[m, phase] for m in mine] if "above" in name else []),
                    hoverinfo="text",
                    hovertext=[
                        plain(f"{label_of(m)}, {name}: {quantity(share(found[m, phase]), 'J')}")
                        for m in mine
                    ],
                )
            )
    return panel(
        subject,
        traces,
        f"energy by phase, summed over {count} workloads, on {subject.label}",
        height=rows_height(len(methods), 3),
        yaxis=rows_axis([label_of(method) for method in methods]),
        meta=by_method(methods, 3),
        xaxis=zero_axis(
            [total.high_j for total in found.values()],
            "J",
            f"{count} workload{'s' * (count != 1)}, once each",
        ),
        barmode="stack",
    )


def by_method(methods: Sequence[Method], lines: int) -> Json:
    """Return what the page needs of a chart whose rows are methods."""
    labels = [label_of(method) for method in methods]
    return {**rows_meta(labels, lines, {}), "of": "method"}


def _idle_share(total: Total) -> float | None:
    return None if total.net_j is None else total.gross_j - total.net_j


def _above_idle(total: Total) -> float:
    return total.gross_j if total.net_j is None else total.net_j


def _whiskers(found: Sequence[Total]) -> Json:
    """Return the error bar at the end of a stack: the uncertainty of the whole."""
    if not found:
        return {}
    arms = {
        "array": short(total.high_j - total.gross_j for total in found),
        "arrayminus": short(total.gross_j - total.low_j for total in found),
    }
    bar = {"type": "data", "symmetric": False, "thickness": 1.5, "width": 3, **arms}
    return {"error_x": bar, "meta": {"ink": True}}


def _parts_columns(
    found: Sequence[tuple[Subject, Mapping[tuple[Method, str], Total], int]],
) -> tuple[Column, ...]:
    rows = [
        (subject.label, method, phase, count, total)
        for subject, by_method, count in found
        for (method, phase), total in by_method.items()
    ]
    sums = [row[4] for row in rows]
    return (
        Column(name="target", values=[row[0] for row in rows]),
        Column(name="method", values=[label_of(row[1]) for row in rows]),
        Column(name="phase", values=[row[2] for row in rows]),
        Column(name="workloads", values=[str(row[3]) for row in rows]),
        Column(name="gross", values=[total.gross_j for total in sums], unit="J"),
        Column(name="at least", values=[total.low_j for total in sums], unit="J"),
        Column(name="at most", values=[total.high_j for total in sums], unit="J"),
        Column(name="net", values=[total.net_j for total in sums], unit="J"),
    )
