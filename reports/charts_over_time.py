"""The charts of the machine over the run: temperature, clock and power."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from reports.chart_style import (
    Chart,
    Colours,
    Key,
    Method,
    Panel,
    Subject,
    label_of,
    legend_of,
    method_of_case,
    panel,
    plain,
    short,
    time_axis,
)
from reports.charts_of_blocks import start_s
from reports.comparison import hottest_c
from reports.power_trace import FloatArray, total_power
from reports.reading import read_trace
from reports.records import BlockRecord

MAX_POINTS = 2000
HEAT, CLOCK, POWER = "#c9435c", "#1f7fc4", "#a67c00"


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
            t_s, values = thinned(
                *(np.array(axis_values) for axis_values in zip(*known, strict=True))
            )
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


def power_chart(subjects: Sequence[Subject], colours: Colours) -> Chart | None:
    """Draw the total power over time with the blocks marked, where there is a trace."""
    panels = tuple(drawn for s in subjects if (drawn := _power(s, colours)) is not None)
    if not panels:
        return None
    return Chart(
        id="power",
        title="Power over the run",
        caption="The sensor's total over time; the strip below says which method was measured. "
        "Long traces are drawn by the lowest and highest reading of each stretch.",
        legend=(Key(text="total power", glyph="■", colour=POWER), *legend_of(colours)),
        panels=panels,
    )


def _power(subject: Subject, colours: Colours) -> Panel | None:
    rails = subject.target.power
    trace = read_trace(subject.target) if rails else None
    series = total_power(trace, rails) if trace and rails else None
    if rails is None or series is None or not len(series[0]):
        return None
    t_s, power_w = thinned(*series)
    blocks = [block for block in subject.target.blocks if block.window_s]
    start = min((start_s(block) for block in blocks), default=float(t_s[0]))
    scale, axis_x = time_axis(float(t_s[-1]) - start)
    line = go.Scatter(
        x=np.round((t_s - start) / scale, 4).tolist(),
        y=np.round(power_w, 4).tolist(),
        mode="lines",
        line={"width": 1, "color": POWER},
        name=plain(f"{' + '.join(rails.total)} ({rails.scope})"),
        hovertemplate="%{y:.2f} W<extra></extra>",
    )
    return panel(
        subject,
        [line, *_block_strip(blocks, start, scale, colours)],
        f"power over the run on {subject.label}",
        xaxis={**axis_x, "anchor": "y2"},
        yaxis={"title": {"text": "W"}, "domain": [0.14, 1], "rangemode": "tozero"},
        yaxis2={"domain": [0, 0.08], "visible": False, "range": [0, 1], "fixedrange": True},
    )


def _block_strip(
    blocks: Sequence[BlockRecord], start: float, scale: float, colours: Colours
) -> list[go.Scatter]:
    """Return one broken thick line per method: where its blocks were."""
    spans: dict[Method, list[float | None]] = {}
    for block in blocks:
        if block.window_s:
            first, last = ((t_s - start) / scale for t_s in block.window_s)
            spans.setdefault(method_of_case(block.case), []).extend((first, last, None))
    return [
        go.Scatter(
            x=spans[method],
            y=[None if x is None else 0.5 for x in spans[method]],
            mode="lines",
            line={"width": 9, "color": colours[method]},
            name=plain(label_of(method)),
            yaxis="y2",
            hoverinfo="name",
        )
        for method in colours
        if method in spans
    ]


def thinned(
    t_s: FloatArray, values: FloatArray, points: int = MAX_POINTS
) -> tuple[FloatArray, FloatArray]:
    """Keep the lowest and the highest value of each of ``points / 2`` stretches."""
    if len(t_s) <= points:
        return t_s, values
    kept: set[int] = set()
    for stretch in np.array_split(np.arange(len(t_s)), points // 2):
        kept |= {int(stretch[np.argmin(values[stretch])]), int(stretch[np.argmax(values[stretch])])}
    chosen = np.array(sorted(kept))
    return t_s[chosen], values[chosen]
