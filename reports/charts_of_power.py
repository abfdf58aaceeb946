"""The charts of the power sensor: the trace by phase, and the profile of one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from reports.chart_style import (
    PHASE_COLOUR,
    Chart,
    Colours,
    Column,
    Json,
    Key,
    Method,
    Panel,
    Subject,
    Workload,
    label_of,
    legend_of,
    method_of_case,
    panel,
    plain,
    short,
    time_axis,
    workload_of_case,
)
from reports.charts_of_blocks import start_s
from reports.energy_estimators import steady_power
from reports.energy_table import WindowEnergy, trace_of, windows_of
from reports.power_profile import Profile, profile
from reports.power_trace import (
    FloatArray,
    NotMeasured,
    RailMap,
    Trace,
    Window,
    rail_series,
    total_power,
)
from reports.records import BlockRecord, TargetRun

MAX_POINTS = 6000
BETWEEN = "between windows"
IDLE = "idle"
LINE_COLOUR = {**PHASE_COLOUR, IDLE: "#0f9171", BETWEEN: "#9aa0a6"}


def power_chart(subjects: Sequence[Subject], colours: Colours) -> Chart | None:
    """Draw the total power over time by phase, blocks and idle power marked."""
    panels = tuple(drawn for s in subjects if (drawn := _power(s, colours)) is not None)
    if not panels:
        return None
    return Chart(
        id="power",
        title="Power over the run",
        caption="The sensor's total over time, coloured by what was measured; the strip below "
        "shows whose block it was, and the band is the idle power before and after the run. Of "
        "a long trace, the lowest and the highest reading of each stretch are drawn.",
        legend=(
            *(Key(text=name, glyph="━", colour=colour) for name, colour in LINE_COLOUR.items()),
            *legend_of(colours),
        ),
        panels=panels,
        columns=_power_columns(subjects),
    )


def _power_columns(subjects: Sequence[Subject]) -> tuple[Column, ...]:
    """Return what the readings in each phase's windows were; the trace itself is in the run."""
    names, rows = (BETWEEN, IDLE, *PHASE_COLOUR), []
    for subject in subjects:
        trace = trace_of(subject.target)
        series = (
            total_power(trace, subject.target.power) if trace and subject.target.power else None
        )
        labels = _labels(series[0], subject.target, names) if series else np.zeros(0)
        for place, name in enumerate(names):
            if series is not None and (labels == place).any():
                rows.append((subject.label, name, series[1][labels == place]))
    return (
        Column(name="target", values=[label for label, *_ in rows]),
        Column(name="phase", values=[name for _, name, _ in rows]),
        Column(name="readings", values=[str(len(watts)) for *_, watts in rows]),
        Column(name="lowest", values=[float(w.min()) for *_, w in rows], unit="W"),
        Column(name="median", values=[float(np.median(w)) for *_, w in rows], unit="W"),
        Column(name="highest", values=[float(w.max()) for *_, w in rows], unit="W"),
    )


def _power(subject: Subject, colours: Colours) -> Panel | None:
    target = subject.target
    trace = trace_of(target)
    series = total_power(trace, target.power) if trace and target.power else None
    if trace is None or target.power is None or series is None or not len(series[0]):
        return None
    t_s, power_w = thinned(*series)
    blocks = [block for block in target.blocks if block.window_s]
    start = min((start_s(block) for block in blocks), default=float(t_s[0]))
    scale, axis_x = time_axis(float(t_s[-1]) - start)
    names = (BETWEEN, IDLE, *PHASE_COLOUR)
    lines = _pieces((t_s - start) / scale, power_w, _labels(t_s, target, names))
    traces = [_line(names[label], *xy) for label, xy in sorted(lines.items())]
    return panel(
        subject,
        [*traces, *_block_strip(blocks, start, scale, colours)],
        f"power over the run on {subject.label}",
        xaxis={**axis_x, "anchor": "y2"},
        yaxis={"title": {"text": "W"}, "domain": [0.14, 1], "rangemode": "tozero"},
        yaxis2={"domain": [0, 0.08], "visible": False, "range": [0, 1], "fixedrange": True},
        shapes=_idle_band(trace, target.power, target.idle),
    )


def _line(name: str, xs: Sequence[float | None], ys: Sequence[float | None]) -> go.Scatter:
    return go.Scatter(
        x=xs,
        y=ys,
        mode="lines",
        line={"width": 1.2, "color": LINE_COLOUR[name]},
        name=name,
        meta={"phase": name} if name in PHASE_COLOUR else None,
        hovertemplate=f"{name}: %{{y:.2f}} W<extra></extra>",
    )


def _labels(t_s: FloatArray, target: TargetRun, names: Sequence[str]) -> NDArray[np.int64]:
    """Return which name's window each instant lies in; the first name's outside of all."""
    spans = [
        (*timing.window_s, names.index(phase))
        for block in target.blocks
        for phase, timing in block.timing.items()
        if timing.window_s and phase in names
    ]
    spans = sorted([*spans, *((*window, names.index(IDLE)) for window in target.idle)])
    labels = np.zeros(t_s.size, dtype=np.int64)
    if spans:
        begins, ends, which = (np.array(part) for part in zip(*spans, strict=True))
        place = np.searchsorted(begins, t_s, "right") - 1
        inside = (place >= 0) & (t_s <= ends[place])
        labels[inside] = which[place[inside]]
    return labels


def _pieces(
    xs: FloatArray, ys: FloatArray, labels: NDArray[np.int64]
) -> dict[int, tuple[list[float | None], list[float | None]]]:
    """Cut one line where its label changes; each piece reaches to where the next one begins."""
    x_texts, y_texts = short(xs, 6), short(ys, 4)
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    found: dict[int, tuple[list[float | None], list[float | None]]] = {}
    for begin, end in pairwise(edges):
        line = found.setdefault(int(labels[begin]), ([], []))
        line[0].extend([*x_texts[begin : end + 1], None])
        line[1].extend([*y_texts[begin : end + 1], None])
    return found


def _idle_band(trace: Trace, rail_map: RailMap, windows: Sequence[Window]) -> list[Json]:
    """Return the band that the idle power of all idle windows covers, uncertainty included."""
    ends = [end for window in windows for end in _idle_ends(trace, rail_map, window)]
    if not ends:
        return []
    return [
        {
            "type": "rect", "name": "idle", "xref": "paper", "x0": 0, "x1": 1,
            "y0": min(ends), "y1": max(ends), "layer": "below",
            "line": {"width": 1, "color": LINE_COLOUR[IDLE], "dash": "dot"},
            "fillcolor": LINE_COLOUR[IDLE], "opacity": 0.35,
        }
    ]  # fmt: skip


def _idle_ends(trace: Trace, rail_map: RailMap, window: Window) -> tuple[float, ...]:
    rails = [rail_map.rail(name) for name in rail_map.total]
    try:
        powers = [steady_power(rail_series(trace, rail, window), window) for rail in rails if rail]
    except NotMeasured:
        return ()
    known = [power for power in powers if power is not None]
    if not known or len(known) < len(rails):
        return ()
    middle, u95 = sum(power for power, _ in known), sum(u95 for _, u95 in known)
    return middle - u95, middle + u95


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
            x=short(spans[method]),
            y=[None if x is None else 0.5 for x in spans[method]],
            mode="lines",
            line={"width": 9, "color": colours[method]},
            name=plain(label_of(method)),
            yaxis="y2",
            hoverinfo="name",
            meta={"method": label_of(method)},
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


def profile_chart(subjects: Sequence[Subject], colours: Colours) -> Chart | None:
    """Draw the power over one step of the workload that takes the most energy, by method."""
    found = {subject.label: _profiles(subject) for subject in subjects}
    drawn = [subject for subject in subjects if found[subject.label] is not None]
    if not drawn:
        return None
    panels, columns = [], []
    for subject in drawn:
        workload, profiles, reason = found[subject.label] or (None, {}, "")
        if workload is None or not profiles:
            panels.append(Panel(title=subject.label, description=reason, figure={}))
            continue
        panels.append(_profile_panel(subject, workload, profiles, colours))
        columns += [(subject.label, workload, m, p) for m, p in profiles.items()]
    return Chart(
        id="profile",
        title="Power over one step",
        caption="All readings from the step's windows in all rounds, sorted by where in a step "
        "they fell: the mean power of each part of the step, for the workload whose exact step "
        "takes the most energy. The area under a line is the energy of the step.",
        legend=legend_of(colours),
        panels=tuple(panels),
        columns=_profile_columns(columns),
    )


def _profiles(
    subject: Subject,
) -> tuple[Workload | None, dict[Method, Profile], str] | None:
    """Return the workload, its profile by method, and why there is none; None without energy."""
    target = subject.target
    good = [w for w in windows_of(target) if w.phase == "step" and w.energy.status == "ok"]
    trace = trace_of(target)
    if not good or trace is None or target.power is None:
        return None
    workload = _hungriest(good)
    by_method: dict[Method, list[WindowEnergy]] = {}
    for window in good:
        if workload_of_case(window.block.case) == workload:
            by_method.setdefault(method_of_case(window.block.case), []).append(window)
    try:
        profiles = {m: profile(trace, target.power, mine) for m, mine in by_method.items()}
    except NotMeasured as problem:
        return workload, {}, f"the sensor does not resolve a step: {problem.reason}"
    return workload, profiles, ""


def _hungriest(windows: Sequence[WindowEnergy]) -> Workload:
    """Return the workload with the most joules per step among those of most methods."""
    methods: dict[Workload, set[Method]] = {}
    joules: dict[Workload, float] = {}
    for window in windows:
        key = workload_of_case(window.block.case)
        methods.setdefault(key, set()).add(method_of_case(window.block.case))
        energy_j = window.energy.per_iteration_j
        joules[key] = max(joules.get(key, 0.0), energy_j.value if energy_j else 0.0)
    return max(joules, key=lambda key: (len(methods[key]), joules[key]))


def _profile_panel(
    subject: Subject, workload: Workload, profiles: Mapping[Method, Profile], colours: Colours
) -> Panel:
    traces = []
    for method in [method for method in colours if method in profiles]:
        found = profiles[method]
        count = len(found.power_w)
        edges_ms = np.arange(count + 1) / count * found.iteration_s * 1e3
        traces.append(
            go.Scatter(
                x=short(edges_ms),
                y=short([*found.power_w, found.power_w[-1]], 4),
                mode="lines",
                line={"color": colours[method], "width": 1.8, "shape": "hv"},
                meta={"method": label_of(method)},
                name=plain(label_of(method)),
                hovertemplate=f"{plain(label_of(method))}, %{{x:.3g}} ms: %{{y:.2f}} W"
                "<extra></extra>",
            )
        )
    return panel(
        subject,
        traces,
        f"power over one step of {subject.workloads[workload]} on {subject.label}",
        xaxis={"title": {"text": f"ms into a step of {plain(subject.workloads[workload])}"}},
        yaxis={"title": {"text": "W"}, "rangemode": "tozero"},
    )


def _profile_columns(
    profiles: Sequence[tuple[str, Workload, Method, Profile]],
) -> tuple[Column, ...]:
    rows = [
        (label, workload[0], label_of(method), place, len(found.power_w), found, power_w)
        for label, workload, method, found in profiles
        for place, power_w in enumerate(found.power_w)
    ]
    return (
        Column(name="target", values=[row[0] for row in rows]),
        Column(name="workload", values=[row[1] for row in rows]),
        Column(name="method", values=[row[2] for row in rows]),
        Column(name="from", values=[r[5].iteration_s * r[3] / r[4] for r in rows], unit="s"),
        Column(name="to", values=[r[5].iteration_s * (r[3] + 1) / r[4] for r in rows], unit="s"),
        Column(name="power", values=[row[6] for row in rows], unit="W"),
    )
