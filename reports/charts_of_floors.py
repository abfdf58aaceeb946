"""The charts of how near a case is to what the machine gives. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go

from reports.baseline import latencies_s
from reports.chart_style import (
    Chart,
    Colours,
    Column,
    Json,
    Panel,
    Subject,
    label_of,
    legend_of,
    line_at,
    method_of_case,
    panel,
    plain,
    workload_of_case,
)
from reports.charts import dot_panels, places_of
from reports.comparison import cases_of
from reports.discounted import has_floor
from workloads.costs import Rates, traffic
from workloads.messages import Case

ROOF = "#9aa0a6"


def floor_chart(subjects: Sequence[Subject], colours: Colours) -> Chart | None:
    """Draw the share of the floor that each backward reaches, where rates were measured."""
    rows = [row for subject in subjects for row in subject.rows if row.metric == "floor_fraction"]
    if not any(row.value is not None for row in rows):
        return None
    axis = {"title": {"text": "floor over measured time"}, "rangemode": "tozero"}
    return Chart(
        id="floor",
        title="How close to the machine's floor",
        caption="The floor of a backward is the time to read or write each tensor once at this "
        "machine's bandwidth, plus that of the products at its rate, both measured in the same "
        "round. 1 is the floor; exact may beat it where its algorithm saves multiplications "
        "(Winograd).",
        legend=legend_of(colours, ("backward",)),
        panels=dot_panels(subjects, colours, "floor_fraction", ("backward",), axis, [line_at(1)]),
        rows=places_of(subjects, rows),
    )


def roofline_chart(subjects: Sequence[Subject], colours: Colours) -> Chart | None:
    """Draw operations per second of each backward under the roofs that were measured."""
    points = [(subject, *point) for subject in subjects for point in _points(subject)]
    if not points:
        return None
    return Chart(
        id="roofline",
        title="Roofline of the backward",
        caption="Operations per second against operations per byte, from the fewest bytes and "
        "operations that each backward needs. The line is what this machine reached (medians of "
        "the rounds): the bandwidth of reads past the caches, then the rate of large products.",
        legend=legend_of(colours),
        panels=tuple(
            _panel(s, s.target.rates, colours, [one for one, *_ in points].index(s))
            for s in subjects
            if s.target.rates and any(one is s for one, *_ in points)
        ),
        columns=(
            Column(name="target", values=[subject.label for subject, *_ in points]),
            Column(
                name="workload",
                values=[s.workloads[workload_of_case(case)] for s, case, *_ in points],
            ),
            Column(
                name="method", values=[label_of(method_of_case(case)) for _, case, *_ in points]
            ),
            Column(name="operations per byte", values=[x for *_, x, _ in points], unit="1"),
            Column(name="operations per second", values=[y for *_, y in points], unit="1"),
        ),
    )


def _points(subject: Subject) -> Iterator[tuple[Case, float, float]]:
    """Yield case, operations per byte and operations per second."""
    if subject.target.rates is None:
        return
    for case in cases_of(subject.run, subject.target):
        medians = list(latencies_s(subject.target, case, "backward").values())
        if medians and has_floor(case):
            least = traffic(case, "backward")
            intensity = least.flops / (least.read_bytes + least.written_bytes)
            yield case, intensity, least.flops / float(np.median(medians))


def _panel(subject: Subject, rates: Rates, colours: Colours, first: int) -> Panel:
    """Draw one target's; its points stand from ``first`` on in the table."""
    points = list(_points(subject))
    places = range(len(points))
    bandwidth = rates.bandwidths[-1].read
    ridge = rates.flops_per_s / bandwidth
    lowest = min([ridge / 10, *(x / 2 for _, x, _ in points)])
    highest = max([ridge * 10, *(x * 2 for _, x, _ in points)])
    traces = [
        go.Scatter(
            x=[lowest, ridge, highest],
            y=[lowest * bandwidth, rates.flops_per_s, rates.flops_per_s],
            mode="lines",
            line={"width": 2, "color": ROOF},
            name="roof",
            hoverinfo="skip",
        )
    ]
    for method in colours:
        mine = [p for p in places if method_of_case(points[p][0]) == method]
        if mine:
            traces.append(
                go.Scatter(
                    x=[points[p][1] for p in mine],
                    y=[points[p][2] for p in mine],
                    mode="markers",
                    marker={"color": colours[method], "size": 9},
                    name=plain(label_of(method)),
                    hoverinfo="text",
                    meta={"method": label_of(method), "table": [first + p for p in mine]},
                )
            )
    return panel(
        subject,
        traces,
        f"roofline with {len(points)} backwards on {subject.label}",
        height=380,
        xaxis={"title": {"text": "operations per byte"}, **_powers(lowest, highest)},
        yaxis={
            "title": {"text": "operations per second"},
            **_powers(min([y for *_, y in points]) / 2, rates.flops_per_s * 2, "G"),
        },
    )


def _powers(low: float, high: float, prefix: str = "") -> Json:
    """Return a logarithmic axis with a tick at each power of ten, in the prefix given."""
    scale, suffix = (1e9, " G") if prefix == "G" else (1.0, "")
    exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": [10.0**exponent for exponent in exponents],
        "ticktext": [f"{10.0**exponent / scale:g}{suffix}" for exponent in exponents],
    }
