"""The charts of the machine over the run: temperature and clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from reports.chart_style import (
    Chart,
    Column,
    Key,
    Panel,
    Subject,
    label_of,
    method_of_case,
    panel,
    short,
    time_axis,
    workload_of_case,
)
from reports.charts_of_blocks import start_s
from reports.charts_of_power import thinned
from reports.comparison import hottest_c
from reports.records import BlockRecord

HEAT, CLOCK = "#c9435c", "#1f7fc4"


def machine_chart(subjects: Sequence[Subject]) -> Chart | None:
    """Draw the hottest zone and the slowest core after each block, where recorded."""
    panels = tuple(drawn for subject in subjects if (drawn := _strip(subject)) is not None)
    if not panels:
        return None
    return Chart(
        id="machine",
        title="Temperature and clock",
        caption="The hottest zone and the slowest core's clock right after each block. Clocks that "
        "fall while the temperature rises mean throttling.",
        legend=(
            Key(text="hottest zone", glyph="■", colour=HEAT),
            Key(text="slowest core", glyph="■", colour=CLOCK),
        ),
        panels=panels,
        columns=_columns(subjects),
    )


def _columns(subjects: Sequence[Subject]) -> tuple[Column, ...]:
    blocks = [(s, block) for s in subjects for block in s.target.blocks if block.state_after]
    clocks = [_slowest_mhz(block) for _, block in blocks]
    return (
        Column(name="target", values=[s.label for s, _ in blocks]),
        Column(name="block", values=[str(block.order) for _, block in blocks]),
        Column(name="workload", values=[s.workloads[workload_of_case(b.case)] for s, b in blocks]),
        Column(name="method", values=[label_of(method_of_case(b.case)) for _, b in blocks]),
        Column(name="hottest zone", values=[hottest_c(b) for _, b in blocks], unit="degC"),
        Column(name="slowest core", values=clocks, unit="MHz", digits=4),
    )


def _strip(subject: Subject) -> Panel | None:
    blocks = [block for block in subject.target.blocks if block.state_after]
    start = min((start_s(block) for block in blocks), default=0.0)
    scale, axis_x = time_axis(max((start_s(block) for block in blocks), default=0.0) - start)
    lines = (
        ("hottest zone", HEAT, "y", [(block, hottest_c(block)) for block in blocks]),
        ("slowest core", CLOCK, "y2", [(block, _slowest_mhz(block)) for block in blocks]),
    )
    traces = []
    for name, colour, axis, points in lines:
        known = [(start_s(block), value) for block, value in points if value is not None]
        if known:
            times, figures = np.array(known).T
            t_s, values = thinned(times, figures, 2000)
            traces.append(
                go.Scatter(
                    x=short((t_s - start) / scale),
                    y=short(values),
                    mode="lines+markers",
                    marker={"size": 4},
                    line={"width": 1.5, "color": colour},
                    name=name,
                    yaxis=axis,
                )
            )
    if not traces:
        return None
    return panel(
        subject,
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


def _slowest_mhz(block: BlockRecord) -> float | None:
    clocks = block.state_after.cpu_mhz if block.state_after else ()
    return min((mhz for mhz in clocks if mhz is not None), default=None)
