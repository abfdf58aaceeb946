"""The charts of the machine over the run: temperature and clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from reports.chart_style import (
    Chart,
    Key,
    Panel,
    Subject,
    panel,
    short,
    time_axis,
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
        "fall while the temperature rises are throttling.",
        legend=(
            Key(text="hottest zone", glyph="■", colour=HEAT),
            Key(text="slowest core", glyph="■", colour=CLOCK),
        ),
        panels=panels,
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
