"""The chart of the machine over the run: temperature and clock. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from reports.charts.axes import start_s, time_axis
from reports.charts.chart import Chart, Column, Key, Panel, panel_of
from reports.charts.context import Context
from reports.charts.power import thinned
from reports.charts.style import rounded
from reports.metrics.subjects import Subject, label_of, method_of_case, workload_of_case
from reports.metrics.values import hottest_c
from reports.results.records import BlockRecord

MAX_POINTS = 2000


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What is drawn of the machine's state after a block, and on which of the two axes."""

    name: str
    colour: str
    axis: str
    value_of: Callable[[BlockRecord], float | None]


def _slowest_mhz(block: BlockRecord) -> float | None:
    clocks = block.state_after.cpu_mhz if block.state_after else ()
    return min((mhz for mhz in clocks if mhz is not None), default=None)


QUANTITIES = (
    Quantity(name="hottest zone", colour="#c9435c", axis="y", value_of=hottest_c),
    Quantity(name="slowest core", colour="#1f7fc4", axis="y2", value_of=_slowest_mhz),
)


def machine_chart(context: Context) -> Chart | None:
    """Draw the hottest zone and the slowest core after each block, where recorded."""
    panels = [_panel(subject) for subject in context.subjects]
    if not any(panels):
        return None
    return Chart(
        title="Temperature and clock",
        caption="The temperature of the hottest zone and the clock of the slowest core, right "
        "after each block. Clocks that fall while the temperature rises mean that the "
        "machine is throttling.",
        legend=tuple(Key(text=item.name, glyph="■", colour=item.colour) for item in QUANTITIES),
        panels=tuple(panel for panel in panels if panel is not None),
        columns=_columns(context.subjects),
    )


def _columns(subjects: Sequence[Subject]) -> tuple[Column, ...]:
    labels, workloads, blocks = [], [], []
    for subject in subjects:
        for block in subject.target.blocks:
            if block.state_after:
                labels.append(subject.label)
                workloads.append(subject.workloads[workload_of_case(block.case)])
                blocks.append(block)
    return (
        Column(name="target", values=labels),
        Column(name="block", values=[str(block.order) for block in blocks]),
        Column(name="workload", values=workloads),
        Column(name="method", values=[label_of(method_of_case(block.case)) for block in blocks]),
        Column(name="hottest zone", values=[hottest_c(block) for block in blocks], unit="degC"),
        Column(
            name="slowest core",
            values=[_slowest_mhz(block) for block in blocks],
            unit="MHz",
            digits=4,
        ),
    )


def _panel(subject: Subject) -> Panel | None:
    blocks = [block for block in subject.target.blocks if block.state_after]
    starts_s = [start_s(block) for block in blocks]
    first_s = min(starts_s, default=0.0)
    scale, axis_x = time_axis(max(starts_s, default=0.0) - first_s)
    traces = []
    for item in QUANTITIES:
        readings = [(start_s(block), item.value_of(block)) for block in blocks]
        known = [(at_s, value) for at_s, value in readings if value is not None]
        if known:
            times_s, values = np.array(known).T
            drawn_s, drawn = thinned(times_s, values, MAX_POINTS)
            traces.append(
                go.Scatter(
                    x=rounded((drawn_s - first_s) / scale),
                    y=rounded(drawn),
                    mode="lines+markers",
                    marker={"size": 4},
                    line={"width": 1.5, "color": item.colour},
                    name=item.name,
                    yaxis=item.axis,
                )
            )
    if not traces:
        return None
    return panel_of(
        subject.label,
        traces,
        f"temperature and clock over the run on {subject.label}",
        xaxis={**axis_x, "anchor": "y2"},
        yaxis={"title": {"text": "°C"}, "domain": [0.56, 1]},
        yaxis2={
            "title": {"text": "MHz", "standoff": 4},
            "domain": [0, 0.44],
            "rangemode": "tozero",
        },
    )
