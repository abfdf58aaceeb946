"""The charts of the power sensor: the trace by phase, and the profile of one step. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from reports.charts.axes import start_s, time_axis
from reports.charts.chart import Chart, Column, Json, Key, Panel, panel_of
from reports.charts.context import Context
from reports.charts.style import (
    NEUTRAL_COLOUR,
    PHASE_COLOUR,
    Colours,
    legend_of,
    plain,
    rounded,
)
from reports.energy.by_round import WindowEnergy, trace_of, windows_of
from reports.energy.estimators import steady_power
from reports.energy.profile import Profile, profile
from reports.energy.series import NotMeasured, rail_series, total_power
from reports.metrics.subjects import (
    Method,
    Subject,
    Workload,
    label_of,
    method_of_case,
    workload_of_case,
)
from reports.results.power import FloatArray, RailMap, Trace, Window
from reports.results.records import BlockRecord, TargetRun

MAX_POINTS = 6000
BETWEEN = "between windows"
IDLE = "idle"
LINE_COLOUR = {**PHASE_COLOUR, IDLE: "#0f9171", BETWEEN: NEUTRAL_COLOUR}
# What was measured at an instant, by number; the first is what no window covers.
LABELS = (BETWEEN, IDLE, *PHASE_COLOUR)


@dataclass(frozen=True, kw_only=True)
class Readings:
    """The total power of a subject over the run."""

    subject: Subject
    trace: Trace
    rail_map: RailMap
    t_s: FloatArray
    power_w: FloatArray


def power_chart(context: Context) -> Chart | None:
    """Draw the total power over time by phase, blocks and idle power marked."""
    measured = [readings for readings in map(_readings, context.subjects) if readings is not None]
    if not measured:
        return None
    keys = [Key(text=name, glyph="━", colour=colour) for name, colour in LINE_COLOUR.items()]
    return Chart(
        title="Power over the run",
        caption="The total power over time, coloured by what was being measured. The strip below "
        "shows which method's block was running; the band is the idle power before and "
        "after the run. Of long traces only the lowest and the highest reading of each "
        "stretch are drawn.",
        legend=(*keys, *legend_of(context.colours)),
        panels=tuple(_power_panel(readings, context.colours) for readings in measured),
        columns=_power_columns(measured),
    )


def _readings(subject: Subject) -> Readings | None:
    trace, rail_map = trace_of(subject.target), subject.target.power
    if trace is None or rail_map is None:
        return None
    series = total_power(trace, rail_map)
    if series is None or not len(series[0]):
        return None
    t_s, power_w = series
    return Readings(subject=subject, trace=trace, rail_map=rail_map, t_s=t_s, power_w=power_w)


def _power_columns(measured: Sequence[Readings]) -> tuple[Column, ...]:
    """Return what the readings in each phase's windows were; the trace itself is in the run."""
    targets, phases, powers_w = [], [], []
    for readings in measured:
        labels = _labels(readings.t_s, readings.subject.target)
        for number, name in enumerate(LABELS):
            power_w = readings.power_w[labels == number]
            if power_w.size:
                targets.append(readings.subject.label)
                phases.append(name)
                powers_w.append(power_w)
    return (
        Column(name="target", values=targets),
        Column(name="phase", values=phases),
        Column(name="readings", values=[str(len(power_w)) for power_w in powers_w]),
        Column(name="lowest", values=[float(w.min()) for w in powers_w], unit="W"),
        Column(name="median", values=[float(np.median(w)) for w in powers_w], unit="W"),
        Column(name="highest", values=[float(w.max()) for w in powers_w], unit="W"),
    )


def _power_panel(readings: Readings, colours: Colours) -> Panel:
    target = readings.subject.target
    t_s, power_w = thinned(readings.t_s, readings.power_w)
    blocks = [block for block in target.blocks if block.window_s]
    first_s = min((start_s(block) for block in blocks), default=float(t_s[0]))
    scale, axis_x = time_axis(float(t_s[-1]) - first_s)
    lines = _pieces((t_s - first_s) / scale, power_w, _labels(t_s, target))
    traces = [_line(LABELS[number], line) for number, line in sorted(lines.items())]
    return panel_of(
        readings.subject.label,
        [*traces, *_block_strip(blocks, first_s, scale, colours)],
        f"power over the run on {readings.subject.label}",
        xaxis={**axis_x, "anchor": "y2"},
        yaxis={"title": {"text": "W"}, "domain": [0.14, 1], "rangemode": "tozero"},
        yaxis2={"domain": [0, 0.08], "visible": False, "range": [0, 1], "fixedrange": True},
        shapes=_idle_band(readings.trace, readings.rail_map, target.idle),
    )


@dataclass(kw_only=True)
class BrokenLine:
    """The points of a line that has gaps, which are None."""

    xs: list[float | None] = field(default_factory=list)
    ys: list[float | None] = field(default_factory=list)


def _line(name: str, line: BrokenLine) -> go.Scatter:
    return go.Scatter(
        x=line.xs,
        y=line.ys,
        mode="lines",
        line={"width": 1.2, "color": LINE_COLOUR[name]},
        name=name,
        meta={"phase": name} if name in PHASE_COLOUR else None,
        hovertemplate=f"{name}: %{{y:.2f}} W<extra></extra>",
    )


def _labels(t_s: FloatArray, target: TargetRun) -> NDArray[np.int64]:
    """Return the number in LABELS of the window that each instant lies in."""
    spans = [(*window, LABELS.index(IDLE)) for window in target.idle]
    for block in target.blocks:
        for phase, timing in block.timing.items():
            if timing.window_s and phase in LABELS:
                spans.append((*timing.window_s, LABELS.index(phase)))
    labels = np.zeros(t_s.size, dtype=np.int64)
    if spans:
        begins_s, ends_s, numbers = (np.array(part) for part in zip(*sorted(spans), strict=True))
        nearest = np.searchsorted(begins_s, t_s, "right") - 1  # the last that began before
        inside = (nearest >= 0) & (t_s <= ends_s[nearest])
        labels[inside] = numbers[nearest[inside]]
    return labels


def _pieces(xs: FloatArray, ys: FloatArray, labels: NDArray[np.int64]) -> dict[int, BrokenLine]:
    """Cut one line where its label changes; each piece reaches to where the next one begins."""
    drawn_xs, drawn_ys = rounded(xs, 6), rounded(ys, 4)
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    lines: dict[int, BrokenLine] = {}
    for begin, end in pairwise(edges):
        line = lines.setdefault(int(labels[begin]), BrokenLine())
        line.xs += [*drawn_xs[begin : end + 1], None]
        line.ys += [*drawn_ys[begin : end + 1], None]
    return lines


def _idle_band(trace: Trace, rail_map: RailMap, windows: Sequence[Window]) -> list[Json]:
    """Return the band that the idle power of all idle windows covers, uncertainty included."""
    ends_w = [end_w for window in windows for end_w in _idle_ends(trace, rail_map, window)]
    if not ends_w:
        return []
    return [
        {
            "type": "rect", "name": "idle", "xref": "paper", "x0": 0, "x1": 1,
            "y0": min(ends_w), "y1": max(ends_w), "layer": "below",
            "line": {"width": 1, "color": LINE_COLOUR[IDLE], "dash": "dot"},
            "fillcolor": LINE_COLOUR[IDLE], "opacity": 0.35,
        }
    ]  # fmt: skip


def _idle_ends(trace: Trace, rail_map: RailMap, window: Window) -> tuple[float, ...]:
    """Return the lowest and the highest total that one idle window allows."""
    low_w = high_w = 0.0
    for name in rail_map.total:
        rail = rail_map.rail(name)
        if rail is None:
            return ()
        try:
            power = steady_power(rail_series(trace, rail, window), window)
        except NotMeasured:
            return ()
        if power is None:
            return ()
        low_w += power.power_w - power.u95_w
        high_w += power.power_w + power.u95_w
    return low_w, high_w


def _block_strip(
    blocks: Sequence[BlockRecord], first_s: float, scale: float, colours: Colours
) -> list[go.Scatter]:
    """Return one broken thick line per method: where its blocks were."""
    spans: dict[Method, list[float | None]] = {}
    for block in blocks:
        if block.window_s:
            begin_s, end_s = block.window_s
            span = spans.setdefault(method_of_case(block.case), [])
            span += [(begin_s - first_s) / scale, (end_s - first_s) / scale, None]
    traces = []
    for method in colours:
        if method in spans:
            traces.append(
                go.Scatter(
                    x=rounded(spans[method]),
                    y=[None if x is None else 0.5 for x in spans[method]],
                    mode="lines",
                    line={"width": 9, "color": colours[method]},
                    name=plain(label_of(method)),
                    yaxis="y2",
                    hoverinfo="name",
                    meta={"method": label_of(method)},
                )
            )
    return traces


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


@dataclass(frozen=True, kw_only=True)
class StepProfiles:
    """The power over one step of a workload by method; ``reason`` says why there are none."""

    subject: Subject
    workload: Workload
    by_method: Mapping[Method, Profile]
    reason: str = ""


def profile_chart(context: Context) -> Chart | None:
    """Draw the power over one step of the workload that takes the most energy, by method."""
    measured = [found for found in map(_step_profiles, context.subjects) if found is not None]
    if not measured:
        return None
    return Chart(
        title="Power over one step",
        caption="The mean power of each part of a step: all readings of all rounds, sorted by "
        "where in the step they fell. The workload shown is the one whose step takes the most "
        "energy, of those measured with the most methods. The area under a line is the energy "
        "of the step.",
        legend=legend_of(context.colours),
        panels=tuple(_profile_panel(profiles, context.colours) for profiles in measured),
        columns=_profile_columns(measured),
    )


def _step_profiles(subject: Subject) -> StepProfiles | None:
    """Return the profiles of a subject; None where no step has an energy."""
    target = subject.target
    good = [w for w in windows_of(target) if w.phase == "step" and w.energy.status == "ok"]
    trace = trace_of(target)
    if not good or trace is None or target.power is None:
        return None
    workload = _hungriest(good)
    windows: dict[Method, list[WindowEnergy]] = {}
    for window in good:
        if workload_of_case(window.block.case) == workload:
            windows.setdefault(method_of_case(window.block.case), []).append(window)
    profiles = {}
    try:
        for method, of_method in windows.items():
            profiles[method] = profile(trace, target.power, of_method)
    except NotMeasured as problem:
        reason = f"the sensor does not resolve a step: {problem.reason}"
        return StepProfiles(subject=subject, workload=workload, by_method={}, reason=reason)
    return StepProfiles(subject=subject, workload=workload, by_method=profiles)


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


def _profile_panel(profiles: StepProfiles, colours: Colours) -> Panel:
    subject = profiles.subject
    if not profiles.by_method:
        return Panel(title=subject.label, description=profiles.reason, figure={})
    workload = subject.workloads[profiles.workload]
    traces = []
    for method, colour in colours.items():
        if method in profiles.by_method:
            label = plain(label_of(method))
            drawn = profiles.by_method[method]
            parts = len(drawn.power_w)
            edges_ms = np.arange(parts + 1) / parts * drawn.iteration_s * 1e3
            traces.append(
                go.Scatter(
                    x=rounded(edges_ms),
                    y=rounded([*drawn.power_w, drawn.power_w[-1]], 4),
                    mode="lines",
                    line={"color": colour, "width": 1.8, "shape": "hv"},
                    meta={"method": label_of(method)},
                    name=label,
                    hovertemplate=f"{label}, %{{x:.3g}} ms: %{{y:.2f}} W<extra></extra>",
                )
            )
    return panel_of(
        subject.label,
        traces,
        f"power over one step of {workload} on {subject.label}",
        xaxis={"title": {"text": f"ms into a step of {plain(workload)}"}},
        yaxis={"title": {"text": "W"}, "rangemode": "tozero"},
    )


@dataclass(frozen=True, kw_only=True)
class ProfileLine:
    """One part of a step in the chart's table."""

    target: str
    workload: str
    method: Method
    begin_s: float
    end_s: float
    power_w: float | None


def _profile_columns(measured: Sequence[StepProfiles]) -> tuple[Column, ...]:
    lines = []
    for profiles in measured:
        for method, drawn in profiles.by_method.items():
            parts = len(drawn.power_w)
            for part, power_w in enumerate(drawn.power_w):
                lines.append(
                    ProfileLine(
                        target=profiles.subject.label,
                        workload=profiles.workload[0],
                        method=method,
                        begin_s=drawn.iteration_s * part / parts,
                        end_s=drawn.iteration_s * (part + 1) / parts,
                        power_w=power_w,
                    )
                )
    return (
        Column(name="target", values=[line.target for line in lines]),
        Column(name="workload", values=[line.workload for line in lines]),
        Column(name="method", values=[label_of(line.method) for line in lines]),
        Column(name="from", values=[line.begin_s for line in lines], unit="s"),
        Column(name="to", values=[line.end_s for line in lines], unit="s"),
        Column(name="power", values=[line.power_w for line in lines], unit="W"),
    )
