"""The charts of how it was measured: drift, pairs, spread and warm-up. Pure.

They are drawn from the raw blocks, so that a reader can see whether to believe the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go

from reports.charts.axes import (
    Views,
    log_axis,
    offsets,
    rows_axis,
    rows_height,
    rows_meta,
    shared_range,
    start_s,
    time_axis,
    zero_axis,
)
from reports.charts.chart import Chart, Column, Json, Key, Panel, panel_of
from reports.charts.context import Context
from reports.charts.style import Colours, horizontal_line, legend_of, plain, rounded
from reports.metrics.baseline import baseline_of
from reports.metrics.of_run import cases_of
from reports.metrics.subjects import Method, Subject, label_of, method_of_case, workload_of_case
from reports.metrics.values import latencies_s
from reports.results.records import BlockRecord
from reports.text.wording import TIMES
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE

WARMUP_SHOWN = 40
SENTINEL_COLOUR = "#a67c00"
# The percentiles that a box and its whiskers are drawn from, by their names in Plotly.
PERCENTILES = {"lowerfence": 1, "q1": 25, "median": 50, "q3": 75, "upperfence": 99}


@dataclass(frozen=True, kw_only=True)
class TimedBlock:
    """A block with the time of its step, and that over the median of its case."""

    subject: Subject
    block: BlockRecord
    step_s: float
    over_median: float

    @property
    def method(self) -> Method:
        """The method that the block measured."""
        return method_of_case(self.block.case)

    @property
    def workload(self) -> str:
        """The label of the workload that the block measured."""
        return self.subject.workloads[workload_of_case(self.block.case)]


def drift_chart(context: Context) -> Chart:
    """Draw each block's step over its case's median, in the order in which they ran."""
    subjects, colours = context.subjects, context.colours
    timed = [block for subject in subjects for block in _timed_blocks(subject)]
    legend = legend_of(colours)
    if any(subject.target.sentinels for subject in subjects):
        text = "sentinel: the same small case, measured once a round"
        legend += (Key(text=text, glyph="━", colour=SENTINEL_COLOUR),)
    return Chart(
        title="Blocks in the order they ran",
        caption="Each dot is one block (a process of its own): its step over the median of its "
        "case. A slope or a jump that all methods share means that the machine drifted; "
        "what is measured in one round shares it, so it cancels in the speedup.",
        legend=legend,
        panels=tuple(_drift_panel(subject, timed, colours) for subject in subjects),
        columns=(
            Column(name="target", values=[item.subject.label for item in timed]),
            Column(name="block", values=[str(item.block.order) for item in timed]),
            Column(name="round", values=[str(item.block.round + 1) for item in timed]),
            Column(name="workload", values=[item.workload for item in timed]),
            Column(name="method", values=[label_of(item.method) for item in timed]),
            Column(name="step", values=[item.step_s for item in timed], unit="s"),
            Column(
                name="over median",
                values=[item.over_median for item in timed],
                unit="1",
                digits=4,
            ),
        ),
    )


def _timed_blocks(subject: Subject) -> list[TimedBlock]:
    """Return the blocks that timed a step, in the order in which they ran."""
    timed = []
    for case in cases_of(subject.run, subject.target):
        medians_s = latencies_s(subject.target, case, "step")
        if not medians_s:
            continue
        middle_s = float(np.median(list(medians_s.values())))
        for block in subject.target.blocks_of(case, "timing"):
            if block.status == "ok" and block.round in medians_s:
                step_s = medians_s[block.round]
                timed.append(
                    TimedBlock(
                        subject=subject, block=block, step_s=step_s, over_median=step_s / middle_s
                    )
                )
    return sorted(timed, key=lambda item: item.block.order)


def _drift_panel(subject: Subject, timed: Sequence[TimedBlock], colours: Colours) -> Panel:
    starts_s = [start_s(item.block) for item in timed if item.subject is subject]
    first_s = min(starts_s, default=0.0)
    scale, axis = time_axis(max(starts_s, default=0.0) - first_s)
    traces = _sentinel_line(subject, first_s, scale)
    for method in colours:
        lines = [  # of the chart's table
            line
            for line, item in enumerate(timed)
            if item.subject is subject and item.method == method
        ]
        if lines:
            chosen = [timed[line] for line in lines]
            traces.append(
                go.Scatter(
                    x=rounded((start_s(item.block) - first_s) / scale for item in chosen),
                    y=rounded(item.over_median for item in chosen),
                    mode="markers",
                    name=plain(label_of(method)),
                    marker={"color": colours[method], "size": 8, "opacity": 0.85},
                    hoverinfo="text",
                    meta={"method": label_of(method), "table": lines},
                )
            )
    return panel_of(
        subject.label,
        traces,
        f"step of each block over its case's median, in run order, on {subject.label}",
        xaxis=axis,
        yaxis={
            "title": {"text": "step / median of its case"},
            "range": shared_range((item.over_median for item in timed), 0.97, 1.03),
        },
    )


def _sentinel_line(subject: Subject, first_s: float, scale: float) -> list[go.Scatter]:
    """Return the sentinel's blocks over their median: what the machine itself did."""
    starts_s, medians_s = [], []
    for block in subject.target.sentinels:
        for timing in block.timing.values():
            if block.status == "ok" and timing.median_s:
                starts_s.append(start_s(block))
                medians_s.append(timing.median_s)
    if not medians_s:
        return []
    middle_s = float(np.median(medians_s))
    return [
        go.Scatter(
            x=rounded((at_s - first_s) / scale for at_s in starts_s),
            y=rounded(median_s / middle_s for median_s in medians_s),
            mode="lines+markers",
            line={"color": SENTINEL_COLOUR, "width": 1.5},
            marker={"color": SENTINEL_COLOUR, "size": 4},
            name="sentinel",
            hovertemplate="sentinel: %{y:.4g} of its median<extra></extra>",
        )
    ]


@dataclass(frozen=True, kw_only=True)
class PairedCase:
    """A case of a method with the speedup of its step by round: exact over method."""

    subject: Subject
    workload: str
    method: Method
    speedups: dict[int, float]


def rounds_chart(context: Context) -> Chart:
    """Draw the speedup of the step inside each round: the pairs behind the estimate."""
    paired = [case for subject in context.subjects for case in _paired_cases(subject)]
    lines = [(case, round_) for case in paired for round_ in case.speedups]
    speedups = [case.speedups[round_] for case, round_ in lines]
    reach = shared_range(speedups, 1.0)
    return Chart(
        title="Every pair",
        caption="The speedup of the step within each round, one line per workload. The estimate "
        "and its interval are computed from these; where the lines are flat, the rounds "
        "agree.",
        legend=legend_of(context.colours, exact=False),
        panels=tuple(
            _rounds_panel(subject, paired, context.colours, reach) for subject in context.subjects
        ),
        columns=(
            Column(name="target", values=[case.subject.label for case, _ in lines]),
            Column(name="workload", values=[case.workload for case, _ in lines]),
            Column(name="method", values=[label_of(case.method) for case, _ in lines]),
            Column(name="round", values=[str(round_ + 1) for _, round_ in lines]),
            Column(name="speedup of the step", values=speedups, unit=TIMES),
        ),
    )


def _paired_cases(subject: Subject) -> list[PairedCase]:
    paired = []
    for case in cases_of(subject.run, subject.target):
        if case.method == BASELINE:
            continue
        exact_s = latencies_s(subject.target, baseline_of(subject.target, case, "step"), "step")
        own_s = latencies_s(subject.target, case, "step")
        rounds = sorted(exact_s.keys() & own_s.keys())
        paired.append(
            PairedCase(
                subject=subject,
                workload=subject.workloads[workload_of_case(case)],
                method=method_of_case(case),
                speedups={round_: exact_s[round_] / own_s[round_] for round_ in rounds},
            )
        )
    return paired


@dataclass(kw_only=True)
class BrokenLine:
    """Several lines drawn as one, with a gap after each: thousands of traces would be slow."""

    xs: list[float | None] = field(default_factory=list)
    ys: list[float | None] = field(default_factory=list)
    workloads: list[str] = field(default_factory=list)  # of each point

    def add(self, case: PairedCase) -> None:
        """Append the rounds of a case, and a gap."""
        self.xs += [*(round_ + 1 for round_ in case.speedups), None]
        self.ys += [*rounded(case.speedups.values()), None]
        self.workloads += [plain(case.workload)] * len(case.speedups) + [""]


def _rounds_panel(
    subject: Subject, paired: Sequence[PairedCase], colours: Colours, reach: list[float]
) -> Panel:
    by_method: dict[Method, BrokenLine] = {}
    for case in paired:
        if case.subject is subject:
            by_method.setdefault(case.method, BrokenLine()).add(case)
    traces = []
    for method in colours:
        if method in by_method:
            line = by_method[method]
            traces.append(
                go.Scatter(
                    **_line_style(method, colours, "lines+markers"),
                    x=line.xs,
                    y=line.ys,
                    meta={"method": label_of(method), "texts": _each_text_once(line.workloads)},
                    hovertemplate=f"%{{text}}, round %{{x}}: %{{y:.3g}}{TIMES}<extra></extra>",
                )
            )
    return panel_of(
        subject.label,
        traces,
        f"speedup of the step in each round on {subject.label}",
        xaxis={"title": {"text": "round"}, "dtick": max(1, (subject.run.header.rounds or 1) // 10)},
        yaxis={"title": {"text": f"speedup of the step ({TIMES})"}, "range": reach},
        shapes=[horizontal_line(1)],
    )


def _each_text_once(texts: Sequence[str]) -> dict[str, list[str] | list[int]]:
    """Return the different texts, and which of them each point has."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return {"words": list(numbers), "at": [numbers[text] for text in texts]}


def _line_style(method: Method, colours: Colours, mode: str) -> Json:
    return {
        "mode": mode,
        "name": plain(label_of(method)),
        "line": {"color": colours[method], "width": 1.3},
        "marker": {"color": colours[method], "size": 6},
    }


@dataclass(frozen=True, kw_only=True)
class Box:
    """All iterations of a case's step: how many there are, and the percentiles of their times."""

    subject: Subject
    case: Case
    iterations: int
    percentiles_s: dict[str, float]  # by the keys of PERCENTILES

    @property
    def method(self) -> Method:
        """The method of the case."""
        return method_of_case(self.case)


def spread_chart(context: Context) -> Chart:
    """Draw the raw iteration times of the step as boxes."""
    boxes = {subject.label: _boxes(subject) for subject in context.subjects}
    lines = [box for subject in context.subjects for box in boxes[subject.label]]
    columns = [
        Column(name="target", values=[box.subject.label for box in lines]),
        Column(
            name="workload",
            values=[box.subject.workloads[workload_of_case(box.case)] for box in lines],
        ),
        Column(name="method", values=[label_of(box.method) for box in lines]),
        Column(name="iterations", values=[str(box.iterations) for box in lines]),
    ]
    for key, percentile in PERCENTILES.items():
        name = "median" if percentile == 50 else f"{percentile} %"
        columns.append(
            Column(name=name, values=[box.percentiles_s[key] for box in lines], unit="s")
        )
    return Chart(
        title="Raw iteration times",
        caption="All iterations of the step in all blocks, with none dropped. The box holds the "
        "middle half and the line in it is the median; the whiskers reach from the 1st "
        "to the 99th percentile.",
        legend=legend_of(context.colours),
        panels=tuple(
            _spread_panel(subject, boxes[subject.label], context.colours)
            for subject in context.subjects
        ),
        columns=tuple(columns),
    )


def _boxes(subject: Subject) -> list[Box]:
    """Return the box of each case that has iterations."""
    boxes = []
    for case in cases_of(subject.run, subject.target):
        times_s: list[float] = []
        for block in subject.target.blocks_of(case, "timing"):
            timing = block.timing.get("step")
            if block.status == "ok" and timing:
                times_s += timing.times_s
        if times_s:
            cuts_s = np.percentile(times_s, list(PERCENTILES.values()))
            boxes.append(
                Box(
                    subject=subject,
                    case=case,
                    iterations=len(times_s),
                    percentiles_s=dict(zip(PERCENTILES, map(float, cuts_s), strict=True)),
                )
            )
    return boxes


def _spread_panel(subject: Subject, boxes: Sequence[Box], colours: Colours) -> Panel:
    labels = list(subject.workloads.values())
    row_of = {workload: index for index, workload in enumerate(subject.workloads)}
    measured = {box.method for box in boxes}
    methods = [method for method in colours if method in measured]
    traces = []
    for method, offset in zip(methods, offsets(len(methods)), strict=True):
        chosen = [box for box in boxes if box.method == method]
        percentiles_s = {
            key: rounded(box.percentiles_s[key] for box in chosen) for key in PERCENTILES
        }
        traces.append(
            go.Box(
                orientation="h",
                y=[row_of[workload_of_case(box.case)] + offset for box in chosen],
                **percentiles_s,
                width=0.6 / len(methods),
                name=plain(label_of(method)),
                marker={"color": colours[method]},
                line={"width": 1.5},
                hoverinfo="x",
                meta={"method": label_of(method)},
            )
        )
    ends_s = [end_s for box in boxes for end_s in box.percentiles_s.values()]
    axis = Views(
        views={
            "absolute-log": log_axis("time per step, logarithmic", ends_s, "s"),
            "absolute-linear": zero_axis(ends_s, "s", "time per step"),
        }
    )
    return panel_of(
        subject.label,
        traces,
        f"spread of the iteration times of the step on {subject.label}",
        height=rows_height(len(labels), len(methods)),
        yaxis=rows_axis(labels),
        xaxis=axis.first,
        meta=rows_meta(labels, len(methods), axis),
    )


@dataclass(frozen=True, kw_only=True)
class WarmupPoint:
    """One iteration of a method's blocks over the median of its block."""

    subject: Subject
    method: Method
    iteration: int
    over_median: float


def warmup_chart(context: Context) -> Chart:
    """Draw the first iterations of a block, warm-up included, over the block's median."""
    subjects, colours = context.subjects, context.colours
    points = [point for subject in subjects for point in _warmup_points(subject, colours)]
    return Chart(
        title="Warm-up",
        caption="The first iterations of the step over the median of their block, as the median "
        "over all blocks of a method. The warm-up is recorded but does not count.",
        legend=legend_of(colours),
        panels=tuple(_warmup_panel(subject, points, colours) for subject in subjects),
        columns=(
            Column(name="target", values=[point.subject.label for point in points]),
            Column(name="method", values=[label_of(point.method) for point in points]),
            Column(name="iteration", values=[str(point.iteration) for point in points]),
            Column(name="over median", values=[point.over_median for point in points], unit="1"),
        ),
    )


def _warmup_points(subject: Subject, colours: Colours) -> list[WarmupPoint]:
    """Return the first iterations by method: the median over all blocks that have so many."""
    curves: dict[Method, list[list[float]]] = {}
    for block in subject.target.blocks:
        timing = block.timing.get("step")
        if block.status == "ok" and timing and timing.median_s:
            first_s = (*timing.warmup_s, *timing.times_s)[:WARMUP_SHOWN]
            curve = [time_s / timing.median_s for time_s in first_s]
            curves.setdefault(method_of_case(block.case), []).append(curve)
    points = []
    for method in colours:
        if method in curves:
            # The shortest block ends the line.
            for iteration, ratios in enumerate(zip(*curves[method], strict=False), 1):
                points.append(
                    WarmupPoint(
                        subject=subject,
                        method=method,
                        iteration=iteration,
                        over_median=float(np.median(ratios)),
                    )
                )
    return points


def _warmup_panel(subject: Subject, points: Sequence[WarmupPoint], colours: Colours) -> Panel:
    by_method: dict[Method, list[WarmupPoint]] = {}
    for point in points:
        if point.subject is subject:
            by_method.setdefault(point.method, []).append(point)
    traces = []
    for method, chosen in by_method.items():
        label = label_of(method)
        traces.append(
            go.Scatter(
                **_line_style(method, colours, "lines"),
                x=[point.iteration for point in chosen],
                y=rounded(point.over_median for point in chosen),
                meta={"method": label},
                hovertemplate=f"iteration %{{x}}, {plain(label)}: %{{y:.3g}}{TIMES}<extra></extra>",
            )
        )
    return panel_of(
        subject.label,
        traces,
        f"first iterations of the step on {subject.label}",
        xaxis={"title": {"text": "iteration of the block, warm-up included"}},
        yaxis={"title": {"text": "step / median of its block"}},
    )
