"""The charts of energy: per iteration, and by phase with its idle share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.charts.axes import (
    Views,
    log_axis,
    method_rows_meta,
    ratio_views,
    rows_axis,
    rows_height,
    zero_axis,
)
from reports.charts.chart import Chart, Column, Json, Key, Panel, panel_of, row_indices
from reports.charts.context import Context
from reports.charts.dots import dot_panels
from reports.charts.style import NEUTRAL_COLOUR, PHASE_COLOUR, legend_of, plain, rounded
from reports.energy.by_round import energies_of, net_figures, over_rounds
from reports.metrics.rows import Row, row_case
from reports.metrics.subjects import (
    Method,
    RowCase,
    Subject,
    Workload,
    label_of,
    method_of,
    workload_of,
)
from reports.text.wording import quantity

PHASES = ("forward", "backward", "step")


def energy_chart(context: Context) -> Chart | None:
    """Draw the joules of an iteration where any were measured."""
    subjects = [subject for subject in context.subjects if subject.target.power]
    rows = [row for subject in subjects for row in subject.rows if row.metric == "energy_j"]
    measured = [row for row in rows if row.value is not None]
    if not measured:
        return None
    phases = tuple(dict.fromkeys(row.phase for row in measured))
    ends = [end for row in rows for end in (row.value, row.ci_high) if end is not None]
    axis = Views(
        views={
            "absolute-linear": zero_axis(ends, "J", "energy per iteration"),
            "absolute-log": log_axis("energy per iteration, logarithmic", ends, "J"),
            **ratio_views(subjects, rows, "energy"),
        }
    )
    return Chart(
        title="Energy per iteration",
        caption="The joules of one iteration, idle power included. A bar covers the scatter "
        "between rounds and the sensor's tolerance; the tolerance cancels between "
        'methods on one target. Further left is less. "Energy: how it was measured", '
        "below, says which part of the machine the sensor measures.",
        legend=legend_of(context.colours, phases),
        panels=dot_panels(subjects, context.colours, "energy_j", phases, axis),
        rows=row_indices(context.subjects, rows),
    )


@dataclass(frozen=True, kw_only=True)
class Total:
    """Joules of one iteration of each of several workloads, added up."""

    method: Method
    phase: str
    gross_j: float
    low_j: float
    high_j: float
    net_j: float | None

    @property
    def above_idle_j(self) -> float:
        """The net energy, or all of it where the idle power is unknown."""
        return self.gross_j if self.net_j is None else self.net_j

    @property
    def idle_j(self) -> float | None:
        """What the idle machine would have taken in the same time."""
        return None if self.net_j is None else self.gross_j - self.net_j


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The totals of a subject by phase and method, and over how many workloads they are."""

    subject: Subject
    totals: tuple[Total, ...]
    workloads: int


def parts_chart(context: Context) -> Chart | None:
    """Draw the joules by phase, and a step's with the share that an idle machine takes."""
    measured = [totals for totals in map(totals_of, context.subjects) if totals.totals]
    if not measured:
        return None
    return Chart(
        title="Energy by phase, and above idle",
        caption="One iteration of every workload that was measured with all methods, added up. "
        "Each method has two bars: the upper one stacks its forward and its backward; "
        "the lower one is the whole step, split into what the idle machine would have "
        "used in that time and the rest (net).",
        legend=(
            Key(text="forward", glyph="■", colour=PHASE_COLOUR["forward"]),
            Key(text="backward", glyph="■", colour=PHASE_COLOUR["backward"]),
            Key(text="step, above idle (net)", glyph="■", colour=PHASE_COLOUR["step"]),
            Key(text="step, idle share", glyph="■", colour=NEUTRAL_COLOUR),
        ),
        panels=tuple(_parts_panel(totals) for totals in measured),
        columns=_parts_columns(measured),
    )


def totals_of(subject: Subject) -> Totals:
    """Add up the joules by method and phase over the workloads that all methods have.

    A phase in which no workload has them all is left out.
    """
    rows = []
    for row in subject.rows:
        is_energy = row.metric == "energy_j" and row.value is not None
        if is_energy and workload_of(row) in subject.added_up:
            rows.append(row)
    nets_j = _net_joules(subject) if rows else {}
    totals = []
    most = 0
    for phase in PHASES:
        measured = {(method_of(row), workload_of(row)): row for row in rows if row.phase == phase}
        methods = list(dict.fromkeys(method for method, _ in measured))
        common: list[Workload] = []
        for workload in dict.fromkeys(workload for _, workload in measured):
            if all((method, workload) in measured for method in methods):
                common.append(workload)
        most = max(most, len(common))
        if common:
            for method in methods:
                totals.append(_total([measured[method, workload] for workload in common], nets_j))
    return Totals(subject=subject, totals=tuple(totals), workloads=most)


def _total(rows: Sequence[Row], nets_j: Mapping[tuple[RowCase, str], float]) -> Total:
    """Add up the rows of one method and phase."""
    known_j = [nets_j[row.case, row.phase] for row in rows if (row.case, row.phase) in nets_j]
    return Total(
        method=method_of(rows[0]),
        phase=rows[0].phase,
        gross_j=sum(row.value or 0.0 for row in rows),
        low_j=sum(row.ci_low or 0.0 for row in rows),
        high_j=sum(row.ci_high or 0.0 for row in rows),
        net_j=sum(known_j) if len(known_j) == len(rows) else None,
    )


def _net_joules(subject: Subject) -> dict[tuple[RowCase, str], float]:
    """Return the joules above idle by case and phase, as rows have them."""
    nets_j = {}
    for (case, phase), energies in energies_of(subject.target).items():
        net = over_rounds(tuple(net_figures(energies).values()))
        if net is not None:
            nets_j[row_case(subject.target.name, case), phase] = net.value
    return nets_j


@dataclass(frozen=True, kw_only=True)
class Part:
    """One bar of a method: which energy of which phase it shows, and where and how."""

    name: str
    phase: str
    joules: Callable[[Total], float | None]
    offset: float
    colour: str
    ends_stack: bool = False


PARTS = (
    Part(
        name="forward",
        phase="forward",
        joules=lambda total: total.gross_j,
        offset=-0.2,
        colour=PHASE_COLOUR["forward"],
    ),
    Part(
        name="backward",
        phase="backward",
        joules=lambda total: total.gross_j,
        offset=-0.2,
        colour=PHASE_COLOUR["backward"],
    ),
    Part(
        name="step, idle share",
        phase="step",
        joules=lambda total: total.idle_j,
        offset=0.2,
        colour=NEUTRAL_COLOUR,
    ),
    Part(
        name="step, above idle",
        phase="step",
        joules=lambda total: total.above_idle_j,
        offset=0.2,
        colour=PHASE_COLOUR["step"],
        ends_stack=True,
    ),
)


def _parts_panel(totals: Totals) -> Panel:
    methods = list(dict.fromkeys(total.method for total in totals.totals))
    traces = []
    for part in PARTS:
        chosen = [
            total
            for total in totals.totals
            if total.phase == part.phase and part.joules(total) is not None
        ]
        if chosen:
            traces.append(_bars(part, chosen, methods))
    count = totals.workloads
    ends_j = [total.high_j for total in totals.totals]
    return panel_of(
        totals.subject.label,
        traces,
        f"energy by phase, summed over {count} workloads, on {totals.subject.label}",
        height=rows_height(len(methods), 3),
        yaxis=rows_axis([label_of(method) for method in methods]),
        meta=method_rows_meta(methods, 3),
        xaxis=zero_axis(ends_j, "J", f"{count} workload{'s' * (count != 1)}, once each"),
        barmode="stack",
    )


def _bars(part: Part, totals: Sequence[Total], methods: Sequence[Method]) -> go.Bar:
    texts = []
    for total in totals:
        joules = quantity(part.joules(total), "J")
        texts.append(plain(f"{label_of(total.method)}, {part.name}: {joules}"))
    return go.Bar(
        orientation="h",
        x=rounded(part.joules(total) for total in totals),
        y=[methods.index(total.method) + part.offset for total in totals],
        width=0.34,
        name=part.name,
        marker={"color": part.colour},
        hoverinfo="text",
        hovertext=texts,
        **(_whiskers(totals) if part.ends_stack else {}),
    )


def _whiskers(totals: Sequence[Total]) -> Json:
    """Return the error bar at the end of a stack: the uncertainty of the whole."""
    bar = {
        "type": "data",
        "symmetric": False,
        "thickness": 1.5,
        "width": 3,
        "array": rounded(total.high_j - total.gross_j for total in totals),
        "arrayminus": rounded(total.gross_j - total.low_j for total in totals),
    }
    return {"error_x": bar, "meta": {"ink": True}}


def _parts_columns(measured: Sequence[Totals]) -> tuple[Column, ...]:
    targets, workloads, lines = [], [], []
    for totals in measured:
        for total in totals.totals:
            targets.append(totals.subject.label)
            workloads.append(str(totals.workloads))
            lines.append(total)
    return (
        Column(name="target", values=targets),
        Column(name="method", values=[label_of(total.method) for total in lines]),
        Column(name="phase", values=[total.phase for total in lines]),
        Column(name="workloads", values=workloads),
        Column(name="gross", values=[total.gross_j for total in lines], unit="J"),
        Column(name="at least", values=[total.low_j for total in lines], unit="J"),
        Column(name="at most", values=[total.high_j for total in lines], unit="J"),
        Column(name="net", values=[total.net_j for total in lines], unit="J"),
    )
