"""The charts of how near a case is to what the machine gives. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from reports.charts.chart import Chart, Column, Json, Panel, panel_of, row_indices
from reports.charts.context import Context
from reports.charts.dots import dot_panels
from reports.charts.style import NEUTRAL_COLOUR, Colours, legend_of, plain, vertical_line
from reports.metrics.of_run import cases_of
from reports.metrics.subjects import Method, Subject, label_of, method_of_case, workload_of_case
from reports.metrics.values import latencies_s
from reports.results.discounted import has_floor
from workloads.spec.costs import Rates, traffic
from workloads.spec.messages import Case

GIGA = 1e9


def floor_chart(context: Context) -> Chart | None:
    """Draw the share of the floor that each backward reaches, where rates were measured."""
    subjects, colours = context.subjects, context.colours
    rows = context.rows("floor_fraction")
    if all(row.value is None for row in rows):
        return None
    phases = ("backward",)
    axis = {"title": {"text": "floor over measured time"}, "rangemode": "tozero"}
    return Chart(
        title="How close to the machine's floor",
        caption="The floor of a backward is the time to read or write each tensor once at this "
        "machine's bandwidth, plus the time of the multiplications at its rate, both "
        "measured in the same round. At 1 a backward takes no longer than its floor; "
        "exact may exceed 1 where its algorithm saves multiplications (Winograd).",
        legend=legend_of(colours, phases),
        panels=dot_panels(subjects, colours, "floor_fraction", phases, axis, [vertical_line(1)]),
        rows=row_indices(subjects, rows),
    )


@dataclass(frozen=True, kw_only=True)
class Point:
    """The backward of one case: its operations per byte, and how many a second it did."""

    subject: Subject
    case: Case
    per_byte: float
    per_second: float

    @property
    def method(self) -> Method:
        """The method of the case."""
        return method_of_case(self.case)


def roofline_chart(context: Context) -> Chart | None:
    """Draw operations per second of each backward under the roofs that were measured."""
    points: list[Point] = []
    panels = []
    for subject in context.subjects:
        rates = subject.target.rates
        of_subject = _points(subject)
        if rates is not None and of_subject:
            panels.append(_panel(subject, rates, of_subject, context.colours, len(points)))
            points += of_subject
    if not points:
        return None
    return Chart(
        title="Roofline of the backward",
        caption="Operations per second against operations per byte, counting the fewest bytes "
        "and operations that each backward needs. The line is what this machine reached "
        "(medians of the rounds): the slope is the bandwidth of reads that no cache "
        "holds, the flat part the rate of large products.",
        legend=legend_of(context.colours),
        panels=tuple(panels),
        columns=(
            Column(name="target", values=[point.subject.label for point in points]),
            Column(
                name="workload",
                values=[point.subject.workloads[workload_of_case(point.case)] for point in points],
            ),
            Column(name="method", values=[label_of(point.method) for point in points]),
            Column(
                name="operations per byte", values=[point.per_byte for point in points], unit="1"
            ),
            Column(
                name="operations per second",
                values=[point.per_second for point in points],
                unit="1",
            ),
        ),
    )


def _points(subject: Subject) -> list[Point]:
    """Return the point of each case whose backward was timed and has a floor."""
    points = []
    for case in cases_of(subject.run, subject.target):
        medians_s = list(latencies_s(subject.target, case, "backward").values())
        if medians_s and has_floor(case):
            least = traffic(case, "backward")
            points.append(
                Point(
                    subject=subject,
                    case=case,
                    per_byte=least.flops / (least.read_bytes + least.written_bytes),
                    per_second=least.flops / float(np.median(medians_s)),
                )
            )
    return points


def _panel(
    subject: Subject, rates: Rates, points: Sequence[Point], colours: Colours, first_line: int
) -> Panel:
    """Draw one subject's points, which are in the chart's table from ``first_line`` on."""
    bandwidth = rates.bandwidths[-1].read
    ridge = rates.flops_per_s / bandwidth
    lowest = min([ridge / 10, *(point.per_byte / 2 for point in points)])
    highest = max([ridge * 10, *(point.per_byte * 2 for point in points)])
    slowest = min(point.per_second for point in points)
    roof = go.Scatter(
        x=[lowest, ridge, highest],
        y=[lowest * bandwidth, rates.flops_per_s, rates.flops_per_s],
        mode="lines",
        line={"width": 2, "color": NEUTRAL_COLOUR},
        name="roof",
        hoverinfo="skip",
    )
    traces = [roof]
    for method in colours:
        chosen = [index for index, point in enumerate(points) if point.method == method]
        if chosen:
            traces.append(
                go.Scatter(
                    x=[points[index].per_byte for index in chosen],
                    y=[points[index].per_second for index in chosen],
                    mode="markers",
                    marker={"color": colours[method], "size": 9},
                    name=plain(label_of(method)),
                    hoverinfo="text",
                    meta={
                        "method": label_of(method),
                        "table": [first_line + index for index in chosen],
                    },
                )
            )
    return panel_of(
        subject.label,
        traces,
        f"roofline with {len(points)} backwards on {subject.label}",
        height=380,
        xaxis={"title": {"text": "operations per byte"}, **_powers_axis(lowest, highest)},
        yaxis={
            "title": {"text": "operations per second"},
            **_powers_axis(slowest / 2, rates.flops_per_s * 2, scale=GIGA, suffix=" G"),
        },
    )


def _powers_axis(low: float, high: float, *, scale: float = 1.0, suffix: str = "") -> Json:
    """Return a logarithmic axis with a tick at each power of ten."""
    exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    ticks = [10.0**exponent for exponent in exponents]
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [f"{tick / scale:g}{suffix}" for tick in ticks],
    }
