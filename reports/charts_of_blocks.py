"""The charts of how it was measured: drift, pairs, spread and warm-up. Pure.

They are drawn from the raw blocks, so that a reader can see whether to believe the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from reports.baseline import EXACT, baseline_of, latencies_s
from reports.chart_style import (
    Cell,
    Chart,
    Colours,
    Method,
    Panel,
    Subject,
    label_of,
    legend_of,
    log_axis,
    method_of_case,
    offsets,
    panel,
    plain,
    rows_axis,
    rows_height,
    time_axis,
    workload_of_case,
)
from reports.comparison import cases_of
from reports.records import BlockRecord
from reports.wording import TIMES, quantity, significant, times
from workloads.messages import Case

WARMUP_SHOWN = 40
BOX = {"lowerfence": 1, "q1": 25, "median": 50, "q3": 75, "upperfence": 99}
Point = tuple[BlockRecord, float, float]  # block, seconds per step, over the median of its case


def drift_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw each block's step over its case's median, in the order in which they ran."""
    points = {subject.label: _points(subject) for subject in subjects}
    return Chart(
        id="drift",
        title="Blocks in the order they ran",
        caption="One dot is one block (a process of its own): its step over the median of its "
        "case. A slope or a jump that all methods share is the machine drifting; pairs in one "
        "round share it, so it cancels in the speedup.",
        legend=legend_of(colours),
        panels=tuple(_drift(subject, points[subject.label], colours) for subject in subjects),
        header=("target", "block", "round", "workload", "method", "step", "over median"),
        table=tuple(
            (
                Cell(text=subject.label),
                Cell(text=str(block.order)),
                Cell(text=str(block.round + 1)),
                Cell(text=subject.workloads[workload_of_case(block.case)]),
                Cell(text=label_of(method_of_case(block.case))),
                Cell(text=quantity(step_s, "s"), value=step_s),
                Cell(text=significant(ratio, 4), value=ratio),
            )
            for subject in subjects
            for block, step_s, ratio in points[subject.label]
        ),
    )


def _points(subject: Subject) -> list[Point]:
    points = []
    for case in cases_of(subject.run, subject.target):
        medians = latencies_s(subject.target, case, "step")
        centre = float(np.median(list(medians.values()))) if medians else 1.0
        for block in subject.target.blocks_of(case, "timing"):
            if block.status == "ok" and block.round in medians:
                points.append((block, medians[block.round], medians[block.round] / centre))
    return sorted(points, key=lambda point: point[0].order)


def _drift(subject: Subject, points: Sequence[Point], colours: Colours) -> Panel:
    start = min((start_s(block) for block, _, _ in points), default=0.0)
    last = max((start_s(block) for block, _, _ in points), default=0.0)
    scale, axis = time_axis(last - start)
    traces = []
    for method in colours:
        mine = [point for point in points if method_of_case(point[0].case) == method]
        if mine:
            traces.append(
                go.Scatter(
                    x=[(start_s(block) - start) / scale for block, _, _ in mine],
                    y=[ratio for _, _, ratio in mine],
                    mode="markers",
                    name=plain(label_of(method)),
                    marker={"color": colours[method], "size": 8, "opacity": 0.85},
                    hoverinfo="text",
                    hovertext=[plain(_block_words(block, s)) for block, s, _ in mine],
                )
            )
    return panel(
        subject,
        traces,
        f"step of each block over its case's median, in run order, on {subject.label}",
        xaxis=axis,
        yaxis={"title": {"text": "step / median of its case"}},
    )


def _block_words(block: BlockRecord, step_s: float) -> str:
    name = f"{block.case.layer.name} · {label_of(method_of_case(block.case))}"
    return f"block {block.order}, round {block.round + 1}: {name}: {quantity(step_s, 's')}"


def rounds_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw the speedup of the step inside each round: the pairs behind the estimate."""
    return Chart(
        id="rounds",
        title="Every pair",
        caption="The speedup of the step inside each round, one line per workload. The estimate "
        "and its interval come from these; flat lines mean that the pairs agree.",
        legend=legend_of(colours, exact=False),
        panels=tuple(_rounds(subject, colours) for subject in subjects),
        header=("target", "workload", "method", "round", "speedup of the step"),
        table=tuple(
            (
                Cell(text=subject.label),
                Cell(text=name),
                Cell(text=label_of(method)),
                Cell(text=str(round_ + 1)),
                Cell(text=times(ratio), value=ratio),
            )
            for subject in subjects
            for name, method, ratios in _pairs(subject)
            for round_, ratio in ratios.items()
        ),
    )


def _pairs(subject: Subject) -> Iterator[tuple[str, Method, dict[int, float]]]:
    """Yield workload, method and the speedup of the step by round."""
    for case in cases_of(subject.run, subject.target):
        if case.method == EXACT:
            continue
        exact = latencies_s(subject.target, baseline_of(subject.target, case, "step"), "step")
        own = latencies_s(subject.target, case, "step")
        ratios = {r: exact[r] / own[r] for r in sorted(exact.keys() & own.keys())}
        yield subject.workloads[workload_of_case(case)], method_of_case(case), ratios


def _rounds(subject: Subject, colours: Colours) -> Panel:
    lines = [
        (
            f"{name}, round ",
            method,
            [round_ + 1 for round_ in ratios],
            list(ratios.values()),
        )
        for name, method, ratios in _pairs(subject)
    ]
    return panel(
        subject,
        _lines(lines, colours, mode="lines+markers"),
        f"speedup of the step in each round on {subject.label}",
        xaxis={"title": {"text": "round"}, "dtick": max(1, (subject.run.header.rounds or 1) // 10)},
        yaxis={"title": {"text": f"speedup of the step ({TIMES})"}},
    )


def _lines(
    lines: Sequence[tuple[str, Method, Sequence[int], Sequence[float]]],
    colours: Colours,
    mode: str,
) -> list[go.Scatter]:
    """Draw one line per workload and method; a method has one entry in the legend."""
    shown: set[Method] = set()
    traces = []
    for words, method, xs, ys in lines:
        if not xs:
            continue
        traces.append(
            go.Scatter(
                x=list(xs),
                y=list(ys),
                mode=mode,
                name=plain(label_of(method)),
                legendgroup=plain(label_of(method)),
                showlegend=method not in shown,
                line={"color": colours[method], "width": 1.3},
                marker={"color": colours[method], "size": 6},
                hoverinfo="text",
                hovertext=[
                    plain(f"{words}{x}, {label_of(method)}: {times(y)}")
                    for x, y in zip(xs, ys, strict=True)
                ],
            )
        )
        shown.add(method)
    return traces


def spread_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw the raw iteration times of the step as boxes."""
    boxes = {subject.label: _boxes(subject) for subject in subjects}
    return Chart(
        id="spread",
        title="Raw iteration times",
        caption="All iterations of the step of all blocks, nothing dropped. The box holds the "
        "middle half, the line in it is the median, the whiskers reach from the 1st to the 99th "
        "percentile.",
        legend=legend_of(colours),
        panels=tuple(_spread(subject, boxes[subject.label], colours) for subject in subjects),
        header=(
            *("target", "workload", "method", "iterations"),
            *("1 %", "25 %", "median", "75 %", "99 %"),
        ),
        table=tuple(
            (
                Cell(text=subject.label),
                Cell(text=subject.workloads[workload_of_case(case)]),
                Cell(text=label_of(method_of_case(case))),
                Cell(text=str(count)),
                *(Cell(text=quantity(cut, "s"), value=cut) for cut in cuts.values()),
            )
            for subject in subjects
            for case, (count, cuts) in boxes[subject.label].items()
        ),
    )


def _boxes(subject: Subject) -> dict[Case, tuple[int, dict[str, float]]]:
    """Return the number of iterations and the cuts of the box, by case."""
    found = {}
    for case in cases_of(subject.run, subject.target):
        blocks = subject.target.blocks_of(case, "timing")
        timings = (block.timing.get("step") for block in blocks if block.status == "ok")
        times_s = [time for timing in timings if timing for time in timing.times_s]
        if times_s:
            cuts = np.percentile(times_s, list(BOX.values()))
            found[case] = len(times_s), dict(zip(BOX, map(float, cuts), strict=True))
    return found


def _spread(
    subject: Subject, boxes: Mapping[Case, tuple[int, dict[str, float]]], colours: Colours
) -> Panel:
    labels = subject.workloads
    places = {key: place for place, key in enumerate(labels)}
    methods = [m for m in colours if any(method_of_case(case) == m for case in boxes)]
    traces = []
    for method, line in zip(methods, offsets(len(methods)), strict=True):
        mine = [case for case in boxes if method_of_case(case) == method]
        traces.append(
            go.Box(
                orientation="h",
                y=[places[workload_of_case(case)] + line for case in mine],
                **{cut: [boxes[case][1][cut] for case in mine] for cut in BOX},
                width=0.6 / len(methods),
                name=plain(label_of(method)),
                marker={"color": colours[method]},
                line={"width": 1.5},
                hoverinfo="x",
            )
        )
    return panel(
        subject,
        traces,
        f"spread of the iteration times of the step on {subject.label}",
        height=rows_height(len(labels), len(methods)),
        yaxis=rows_axis(list(labels.values())),
        xaxis=log_axis(
            "time per step, logarithmic",
            [cut for _, cuts in boxes.values() for cut in cuts.values()],
            "s",
        ),
    )


def warmup_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw the first iterations of a block, warm-up included, over the block's median."""
    return Chart(
        id="warmup",
        title="Warm-up",
        caption="The first iterations of the step over the median of their block: the median over "
        "all blocks of a method. The warm-up is recorded but does not count.",
        legend=legend_of(colours),
        panels=tuple(_warmup(subject, colours) for subject in subjects),
    )


def _warmup(subject: Subject, colours: Colours) -> Panel:
    curves: dict[Method, list[list[float]]] = {}
    for block in subject.target.blocks:
        timing = block.timing.get("step")
        if block.status == "ok" and timing and timing.median_s:
            first = (*timing.warmup_s, *timing.times_s)[:WARMUP_SHOWN]
            curve = [time / timing.median_s for time in first]
            curves.setdefault(method_of_case(block.case), []).append(curve)
    middle = {method: _middle(curves[method]) for method in colours if method in curves}
    lines = [("iteration ", m, range(1, len(ys) + 1), ys) for m, ys in middle.items()]
    return panel(
        subject,
        _lines(lines, colours, mode="lines"),
        f"first iterations of the step on {subject.label}",
        xaxis={"title": {"text": "iteration of the block, warm-up included"}},
        yaxis={"title": {"text": "step / median of its block"}},
    )


def _middle(curves: Sequence[Sequence[float]]) -> list[float]:
    """Return the median of the curves at each place that all of them have."""
    length = min(len(curve) for curve in curves)
    return [float(np.median([curve[place] for curve in curves])) for place in range(length)]


def start_s(block: BlockRecord) -> float:
    """Return when the block began on the board's clock, 0 where it did not say."""
    if block.window_s:
        return block.window_s[0]
    state = block.state_after
    return state.t_s if state and state.t_s is not None else 0.0
