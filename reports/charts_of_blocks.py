"""The charts of how it was measured: drift, pairs, spread and warm-up. Pure.

They are drawn from the raw blocks, so that a reader can see whether to believe the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from reports.baseline import EXACT, baseline_of, latencies_s
from reports.chart_style import (
    Chart,
    Colours,
    Column,
    Json,
    Key,
    Method,
    Panel,
    Subject,
    Views,
    first_axis,
    label_of,
    legend_of,
    level_at,
    log_axis,
    method_of_case,
    offsets,
    panel,
    plain,
    rows_axis,
    rows_height,
    rows_meta,
    shared_range,
    short,
    time_axis,
    workload_of_case,
    zero_axis,
)
from reports.comparison import cases_of
from reports.records import BlockRecord
from reports.wording import TIMES
from workloads.messages import Case

WARMUP_SHOWN = 40
SENTINEL_COLOUR = "#a67c00"
BOX = {"lowerfence": 1, "q1": 25, "median": 50, "q3": 75, "upperfence": 99}
Point = tuple[BlockRecord, float, float]  # block, seconds per step, over the median of its case
Boxes = Mapping[Case, tuple[int, dict[str, float]]]  # iterations, cuts of the box


def drift_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw each block's step over its case's median, in the order in which they ran."""
    points = [(subject, point) for subject in subjects for point in _points(subject)]
    words = "sentinel, the same small case once a round"
    watched = any(subject.target.sentinels for subject in subjects)
    sentinel = (Key(text=words, glyph="━", colour=SENTINEL_COLOUR),) if watched else ()
    return Chart(
        id="drift",
        title="Blocks in the order they ran",
        caption="One dot is one block (a process of its own): its step over the median of its "
        "case. A slope or a jump in all methods alike means that the machine drifted; pairs in "
        "one round share it, so it cancels in the speedup.",
        legend=(*legend_of(colours), *sentinel),
        panels=tuple(_drift(subject, points, colours) for subject in subjects),
        columns=_drift_columns(points),
    )


def _drift_columns(points: Sequence[tuple[Subject, Point]]) -> tuple[Column, ...]:
    blocks = [(subject, block) for subject, (block, _, _) in points]
    return (
        Column(name="target", values=[subject.label for subject, _ in blocks]),
        Column(name="block", values=[str(block.order) for _, block in blocks]),
        Column(name="round", values=[str(block.round + 1) for _, block in blocks]),
        Column(name="workload", values=[_workload(*pair) for pair in blocks]),
        Column(name="method", values=[label_of(method_of_case(b.case)) for _, b in blocks]),
        Column(name="step", values=[step_s for _, (_, step_s, _) in points], unit="s"),
        Column(name="over median", values=[r for _, (*_, r) in points], unit="1", digits=4),
    )


def _workload(subject: Subject, block: BlockRecord) -> str:
    return subject.workloads[workload_of_case(block.case)]


def _points(subject: Subject) -> list[Point]:
    points = []
    for case in cases_of(subject.run, subject.target):
        medians = latencies_s(subject.target, case, "step")
        centre = float(np.median(list(medians.values()))) if medians else 1.0
        for block in subject.target.blocks_of(case, "timing"):
            if block.status == "ok" and block.round in medians:
                points.append((block, medians[block.round], medians[block.round] / centre))
    return sorted(points, key=lambda point: point[0].order)


def _drift(subject: Subject, points: Sequence[tuple[Subject, Point]], colours: Colours) -> Panel:
    starts_s = {b.order: start_s(b) for owner, (b, _, _) in points if owner is subject}
    start = min(starts_s.values(), default=0.0)
    scale, axis = time_axis(max(starts_s.values(), default=0.0) - start)
    traces = _sentinel_line(subject, start, scale)
    for method in colours:
        mine = [
            (place, block, ratio)
            for place, (owner, (block, _, ratio)) in enumerate(points)
            if owner is subject and method_of_case(block.case) == method
        ]
        if mine:
            traces.append(
                go.Scatter(
                    x=short((starts_s[block.order] - start) / scale for _, block, _ in mine),
                    y=short(ratio for *_, ratio in mine),
                    mode="markers",
                    name=plain(label_of(method)),
                    marker={"color": colours[method], "size": 8, "opacity": 0.85},
                    hoverinfo="text",
                    meta={"method": label_of(method), "table": [place for place, *_ in mine]},
                )
            )
    return panel(
        subject,
        traces,
        f"step of each block over its case's median, in run order, on {subject.label}",
        xaxis=axis,
        yaxis={
            "title": {"text": "step / median of its case"},
            "range": shared_range((ratio for _, (*_, ratio) in points), 0.97, 1.03),
        },
    )


def _sentinel_line(subject: Subject, start: float, scale: float) -> list[go.Scatter]:
    """Return the sentinel's blocks over their median: what the machine itself did."""
    pairs = [
        (b, t) for b in subject.target.sentinels if b.status == "ok" for t in b.timing.values()
    ]
    known = [(start_s(block), timing.median_s) for block, timing in pairs if timing.median_s]
    if not known:
        return []
    middle = float(np.median([median_s for _, median_s in known]))
    return [
        go.Scatter(
            x=short((at - start) / scale for at, _ in known),
            y=short(median_s / middle for _, median_s in known),
            mode="lines+markers",
            line={"color": SENTINEL_COLOUR, "width": 1.5},
            marker={"color": SENTINEL_COLOUR, "size": 4},
            name="sentinel",
            hovertemplate="sentinel: %{y:.4g} of its median<extra></extra>",
        )
    ]


def rounds_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw the speedup of the step inside each round: the pairs behind the estimate."""
    pairs = [
        (subject, name, method, round_, ratio)
        for subject in subjects
        for name, method, ratios in _pairs(subject)
        for round_, ratio in ratios.items()
    ]
    reach = shared_range((ratio for *_, ratio in pairs), 1.0)
    return Chart(
        id="rounds",
        title="Every pair",
        caption="The speedup of the step inside each round, one line per workload. The estimate "
        "and its interval come from these; flat lines mean that the pairs agree.",
        legend=legend_of(colours, exact=False),
        panels=tuple(_rounds(subject, colours, reach) for subject in subjects),
        columns=(
            Column(name="target", values=[subject.label for subject, *_ in pairs]),
            Column(name="workload", values=[name for _, name, *_ in pairs]),
            Column(name="method", values=[label_of(method) for _, _, method, *_ in pairs]),
            Column(name="round", values=[str(round_ + 1) for *_, round_, _ in pairs]),
            Column(name="speedup of the step", values=[r for *_, r in pairs], unit=TIMES),
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


def _rounds(subject: Subject, colours: Colours, reach: list[float]) -> Panel:
    """Draw all workloads of a method as one broken line: thousands of traces would be slow."""
    lines: dict[Method, tuple[list[float | None], list[float | None], list[str]]] = {}
    for name, method, ratios in _pairs(subject):
        xs, ys, names = lines.setdefault(method, ([], [], []))
        xs += [*(round_ + 1 for round_ in ratios), None]
        ys += [*short(ratios.values()), None]
        names += [plain(name)] * len(ratios) + [""]
    traces = [
        go.Scatter(
            **_line_style(method, colours, "lines+markers"),
            x=lines[method][0],
            y=lines[method][1],
            meta={"method": label_of(method), "texts": _indexed(lines[method][2])},
            hovertemplate=f"%{{text}}, round %{{x}}: %{{y:.3g}}{TIMES}<extra></extra>",
        )
        for method in colours
        if method in lines
    ]
    return panel(
        subject,
        traces,
        f"speedup of the step in each round on {subject.label}",
        xaxis={"title": {"text": "round"}, "dtick": max(1, (subject.run.header.rounds or 1) // 10)},
        yaxis={"title": {"text": f"speedup of the step ({TIMES})"}, "range": reach},
        shapes=[level_at(1)],
    )


def _indexed(texts: Sequence[str]) -> dict[str, list[str] | list[int]]:
    """Return the different texts once, and which of them each point has."""
    words = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return {"words": list(words), "at": [words[text] for text in texts]}


def _line_style(method: Method, colours: Colours, mode: str) -> Json:
    return {
        "mode": mode,
        "name": plain(label_of(method)),
        "line": {"color": colours[method], "width": 1.3},
        "marker": {"color": colours[method], "size": 6},
    }


def spread_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw the raw iteration times of the step as boxes."""
    boxes = {subject.label: _boxes(subject) for subject in subjects}
    return Chart(
        id="spread",
        title="Raw iteration times",
        caption="All iterations of the step in all blocks, none dropped. The box holds the middle "
        "half, the line in it is the median, and the whiskers reach from the 1st to the 99th "
        "percentile.",
        legend=legend_of(colours),
        panels=tuple(_spread(subject, boxes[subject.label], colours) for subject in subjects),
        columns=_spread_columns(subjects, boxes),
    )


def _spread_columns(subjects: Sequence[Subject], boxes: Mapping[str, Boxes]) -> tuple[Column, ...]:
    rows = [(subject, case) for subject in subjects for case in boxes[subject.label]]
    found = [boxes[subject.label][case] for subject, case in rows]
    return (
        Column(name="target", values=[subject.label for subject, _ in rows]),
        Column(name="workload", values=[s.workloads[workload_of_case(case)] for s, case in rows]),
        Column(name="method", values=[label_of(method_of_case(case)) for _, case in rows]),
        Column(name="iterations", values=[str(count) for count, _ in found]),
        *(
            Column(name=name, values=[cuts[cut] for _, cuts in found], unit="s")
            for cut, name in zip(BOX, ("1 %", "25 %", "median", "75 %", "99 %"), strict=True)
        ),
    )


def _boxes(subject: Subject) -> Boxes:
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


def _spread(subject: Subject, boxes: Boxes, colours: Colours) -> Panel:
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
                **{cut: short(boxes[case][1][cut] for case in mine) for cut in BOX},
                width=0.6 / len(methods),
                name=plain(label_of(method)),
                marker={"color": colours[method]},
                line={"width": 1.5},
                hoverinfo="x",
                meta={"method": label_of(method)},
            )
        )
    ends = [cut for _, cuts in boxes.values() for cut in cuts.values()]
    axis = Views(
        views={
            "absolute-log": log_axis("time per step, logarithmic", ends, "s"),
            "absolute-linear": zero_axis(ends, "s", "time per step"),
        }
    )
    return panel(
        subject,
        traces,
        f"spread of the iteration times of the step on {subject.label}",
        height=rows_height(len(labels), len(methods)),
        yaxis=rows_axis(list(labels.values())),
        xaxis=first_axis(axis),
        meta=rows_meta(list(labels.values()), len(methods), axis),
    )


def warmup_chart(subjects: Sequence[Subject], colours: Colours) -> Chart:
    """Draw the first iterations of a block, warm-up included, over the block's median."""
    curves = [
        (subject.label, label_of(method), iteration, ratio)
        for subject in subjects
        for method, ratios in _warmups(subject, colours).items()
        for iteration, ratio in enumerate(ratios, 1)
    ]
    return Chart(
        id="warmup",
        title="Warm-up",
        caption="The first iterations of the step over the median of their block, as the median "
        "over all blocks of a method. The warm-up is recorded but does not count.",
        legend=legend_of(colours),
        panels=tuple(_warmup(subject, colours) for subject in subjects),
        columns=(
            Column(name="target", values=[label for label, *_ in curves]),
            Column(name="method", values=[method for _, method, *_ in curves]),
            Column(name="iteration", values=[str(place) for *_, place, _ in curves]),
            Column(name="over median", values=[ratio for *_, ratio in curves], unit="1"),
        ),
    )


def _warmups(subject: Subject, colours: Colours) -> dict[Method, list[float]]:
    """Return the first iterations over their block's median, by method."""
    curves: dict[Method, list[list[float]]] = {}
    for block in subject.target.blocks:
        timing = block.timing.get("step")
        if block.status == "ok" and timing and timing.median_s:
            first = (*timing.warmup_s, *timing.times_s)[:WARMUP_SHOWN]
            curve = [time / timing.median_s for time in first]
            curves.setdefault(method_of_case(block.case), []).append(curve)
    return {method: _middle(curves[method]) for method in colours if method in curves}


def _warmup(subject: Subject, colours: Colours) -> Panel:
    traces = [
        go.Scatter(
            **_line_style(method, colours, "lines"),
            x=list(range(1, len(ys) + 1)),
            y=short(ys),
            meta={"method": label_of(method)},
            hovertemplate=f"iteration %{{x}}, {plain(label_of(method))}: %{{y:.3g}}{TIMES}"
            "<extra></extra>",
        )
        for method, ys in _warmups(subject, colours).items()
    ]
    return panel(
        subject,
        traces,
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
