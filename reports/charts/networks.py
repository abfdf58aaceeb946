"""The charts of whole networks: a step's time against memory, its parts, and by board. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.charts.axes import (
    ends_of,
    method_rows_meta,
    offsets,
    rows_axis,
    rows_height,
    rows_meta,
    zero_axis,
)
from reports.charts.chart import Chart, Column, Json, Key, Panel, panel_of, row_indices
from reports.charts.context import Context
from reports.charts.network_cases import NetworkCases, networks_of
from reports.charts.style import (
    PHASE_COLOUR,
    Colours,
    horizontal_line,
    legend_of,
    plain,
    row_intervals,
    vertical_line,
)
from reports.metrics.rows import Row
from reports.metrics.subjects import Method, label_of, method_of_case
from reports.text.wording import has_exact_gradients, interval
from workloads.spec.methods import BASELINE

EXACT_SYMBOL, OTHER_EXACT_SYMBOL, FILTERED_SYMBOL = "square", "diamond", "circle"
SYMBOL_KEYS = (
    Key(text="exact by any kernel", glyph="□"),
    Key(text="exact gradients for less memory", glyph="◇"),
    Key(text="filtered", glyph="○"),
)


@dataclass(frozen=True, kw_only=True)
class WayOfTraining:
    """One method's step of a network: its time and memory, and how true its gradient is."""

    method: Method
    step: Row
    memory: Row
    cosine: Row | None

    @property
    def rows(self) -> list[Row]:
        """All that a reader who points at it gets to know."""
        return [self.step, self.memory, *([self.cosine] if self.cosine else [])]


def peak_chart(context: Context) -> Chart | None:
    """Draw the time of a step against the peak memory, with that of inference alone."""
    return _memory_chart(
        context,
        ("cuda_peak_bytes", "peak_rss_bytes"),
        title="Time of a step against its peak memory",
        caption="Each point is one way to train the network: towards the lower left is faster and "
        "needs less memory. Bars are 95 % intervals. The dashed line is the least peak of "
        "inference alone, below which no way of training can come.",
    )


def saved_chart(context: Context) -> Chart | None:
    """Draw the time of a step against the bytes that are kept for the backward."""
    return _memory_chart(
        context,
        ("saved_bytes",),
        title="Time of a step against the bytes kept for the backward",
        caption="Each point is one way to train the network: towards the lower left is faster and "
        "keeps less between forward and backward. Bars are 95 % intervals.",
    )


def _memory_chart(
    context: Context, metrics: Sequence[str], *, title: str, caption: str
) -> Chart | None:
    """Draw steps against the first of the metrics that was measured."""
    panels, rows, methods = [], [], set()
    for network in networks_of(context.subjects):
        for metric in metrics:
            ways = _ways(network, context.colours, metric)
            if ways:
                panels.append(_memory_panel(network, ways, context.colours))
                rows += [row for way in ways for row in way.rows]
                methods |= {way.method for way in ways}
                break
    if not panels:
        return None
    return Chart(
        title=title,
        caption=caption,
        legend=(*_legend(context.colours, methods), *SYMBOL_KEYS),
        panels=tuple(panels),
        rows=row_indices(context.subjects, rows),
    )


def _legend(colours: Colours, methods: set[Method]) -> tuple[Key, ...]:
    return legend_of({method: colours[method] for method in colours if method in methods})


def _ways(network: NetworkCases, colours: Colours, metric: str) -> list[WayOfTraining]:
    ways = []
    for method in network.methods(colours):
        step = network.row(method, "latency_s", "step")
        memory = network.row(method, metric)
        if step is not None and memory is not None:
            cosine = network.row(method, "cosine_gw")
            ways.append(WayOfTraining(method=method, step=step, memory=memory, cosine=cosine))
    return ways


def _memory_panel(network: NetworkCases, ways: Sequence[WayOfTraining], colours: Colours) -> Panel:
    places = network.subject.places
    traces = [
        go.Scatter(
            x=[way.step.value],
            y=[way.memory.value],
            mode="markers",
            name=plain(label_of(way.method)),
            marker={"color": colours[way.method], "size": 12, "symbol": _symbol(way.method)},
            error_x=row_intervals([way.step], colours[way.method]),
            hoverinfo="text",
            meta={"method": label_of(way.method), "rows": [[places[row] for row in way.rows]]},
        )
        for way in ways
    ]
    metric = ways[0].memory.metric
    inference = [network.row(way.method, f"inference_{metric}") for way in ways]
    peaks = [row.value for row in inference if row is not None and row.value is not None]
    shapes, annotations = [], []
    if peaks:
        shapes.append(horizontal_line(min(peaks)))
        annotations.append(_inference_label(min(peaks)))
    bytes_ = [way.memory.value or 0.0 for way in ways]
    ends_s = [end for way in ways for end in ends_of(way.step)]
    what = "kept for the backward" if metric == "saved_bytes" else "peak memory"
    return panel_of(
        network.subject.label,
        traces,
        f"time of a step against {what}: {len(ways)} ways to train {network.label} "
        f"on {network.subject.label}",
        heading=network.label,
        height=380,
        xaxis=zero_axis(ends_s, "s", "time of a step", unit_in_title=True),
        yaxis={**zero_axis(bytes_, "B", what), "automargin": True},
        shapes=shapes,
        annotations=annotations,
    )


def _symbol(method: Method) -> str:
    if method[0] == BASELINE:
        return EXACT_SYMBOL
    return OTHER_EXACT_SYMBOL if has_exact_gradients(method[0]) else FILTERED_SYMBOL


def _inference_label(y: float) -> Json:
    return {
        "x": 0, "xref": "paper", "xanchor": "left", "y": y, "yref": "y", "yanchor": "bottom",
        "text": "inference alone", "showarrow": False,
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A step's parts, in seconds: its forward, what follows it, and the optimizer."""

    network: NetworkCases
    method: Method
    forward_s: float
    step_s: float
    train_step_s: float | None

    @property
    def rest_s(self) -> float:
        """What the step takes beyond its forward."""
        return max(0.0, self.step_s - self.forward_s)

    @property
    def optimizer_s(self) -> float | None:
        """What a step with the optimizer takes beyond the step."""
        return None if self.train_step_s is None else max(0.0, self.train_step_s - self.step_s)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of the stacked bars."""

    name: str
    colour: str
    seconds_of: Callable[[Parts], float | None]


PARTS = (
    Part(
        name="forward",
        colour=PHASE_COLOUR["forward"],
        seconds_of=lambda parts: parts.forward_s,
    ),
    Part(
        name="backward",
        colour=PHASE_COLOUR["backward"],
        seconds_of=lambda parts: parts.rest_s,
    ),
    Part(
        name="optimizer",
        colour=PHASE_COLOUR["train_step"],
        seconds_of=lambda parts: parts.optimizer_s,
    ),
)


def parts_chart(context: Context) -> Chart | None:
    """Draw what of a step is forward, backward and optimizer, and how far a backward can go."""
    lines: list[Parts] = []
    panels = []
    for network in networks_of(context.subjects):
        parts = _parts_of(network, context.colours)
        if parts:
            panels.append(_parts_panel(network, parts))
            lines += parts
    if not lines:
        return None
    shown = [part for part in PARTS if any(part.seconds_of(parts) for parts in lines)]
    return Chart(
        title="What of a step is forward",
        caption="The step of each method, split into its forward and the rest, medians of both; "
        "with an optimizer, what that adds. The dashed line is the forward of the fastest exact "
        "step: as long as the forward stays as it is, no backward brings a step to the left of it.",
        legend=tuple(Key(text=part.name, glyph="■", colour=part.colour) for part in shown),
        panels=tuple(panels),
        columns=(
            Column(name="target", values=[p.network.subject.label for p in lines]),
            Column(name="workload", values=[p.network.label for p in lines]),
            Column(name="method", values=[label_of(p.method) for p in lines]),
            Column(name="forward", values=[p.forward_s for p in lines], unit="s"),
            Column(name="step", values=[p.step_s for p in lines], unit="s"),
            Column(name="step with optimizer", values=[p.train_step_s for p in lines], unit="s"),
            Column(
                name="forward over step", values=[p.forward_s / p.step_s for p in lines], unit="1"
            ),
        ),
    )


def _parts_of(network: NetworkCases, colours: Colours) -> list[Parts]:
    parts = []
    for method in network.methods(colours):
        forward = network.row(method, "latency_s", "forward")
        step = network.row(method, "latency_s", "step")
        train_step = network.row(method, "latency_s", "train_step")
        if forward is not None and step is not None and forward.value and step.value:
            parts.append(
                Parts(
                    network=network,
                    method=method,
                    forward_s=forward.value,
                    step_s=step.value,
                    train_step_s=train_step.value if train_step else None,
                )
            )
    return parts


def _parts_panel(network: NetworkCases, lines: Sequence[Parts]) -> Panel:
    methods = [parts.method for parts in lines]
    traces = []
    for part in PARTS:
        seconds = [part.seconds_of(parts) for parts in lines]
        if any(seconds):
            traces.append(
                go.Bar(
                    orientation="h",
                    x=seconds,
                    y=list(range(len(lines))),
                    width=0.6,
                    name=part.name,
                    marker={"color": part.colour},
                    hovertemplate=f"{part.name}: %{{x:.4g}} s<extra></extra>",
                )
            )
    fastest = method_of_case(network.fastest)
    bounds = [parts.forward_s for parts in lines if parts.method == fastest]
    ends = [parts.train_step_s or parts.step_s for parts in lines]
    return panel_of(
        network.subject.label,
        traces,
        f"forward, backward and optimizer of {len(lines)} ways to train {network.label} "
        f"on {network.subject.label}",
        heading=network.label,
        height=rows_height(len(methods), 2),
        yaxis=rows_axis([label_of(method) for method in methods]),
        xaxis=zero_axis(ends, "s", "time of a step", unit_in_title=True),
        shapes=[vertical_line(bound_s) for bound_s in bounds],
        barmode="stack",
        meta=method_rows_meta(methods, 2),
    )


@dataclass(frozen=True, kw_only=True)
class OnBoard:
    """One method's step of a network on one of several boards."""

    network: NetworkCases
    method: Method
    step: Row
    energy: Row | None

    @property
    def energy_j(self) -> float | None:
        """The joules of the step."""
        return None if self.energy is None else self.energy.value


def boards_chart(context: Context) -> Chart | None:
    """Draw seconds of a step by board, of each network that several were measured with."""
    by_label: dict[str, list[NetworkCases]] = {}
    for network in networks_of(context.subjects):
        by_label.setdefault(network.label, []).append(network)
    lines: list[OnBoard] = []
    panels = []
    for label, boards in by_label.items():
        own = [step for network in boards for step in _steps(network, context.colours)]
        if len({step.network.subject.label for step in own}) > 1:
            panels.append(_boards_panel(label, own, context.colours, len(lines)))
            lines += own
    if not lines:
        return None
    return Chart(
        title="A step by board",
        caption="The seconds that a step of the network takes on each target, and in the table the "
        "joules. Targets stand side by side; they are never pooled.",
        legend=_legend(context.colours, {line.method for line in lines}),
        panels=tuple(panels),
        columns=(
            Column(name="workload", values=[line.network.label for line in lines]),
            Column(name="target", values=[line.network.subject.label for line in lines]),
            Column(name="method", values=[label_of(line.method) for line in lines]),
            Column(name="step", values=[line.step.value for line in lines], unit="s"),
            Column(name="95 % interval of time", values=[_span(line.step) for line in lines]),
            Column(name="energy", values=[line.energy_j for line in lines], unit="J"),
            Column(name="95 % interval of energy", values=[_span(line.energy) for line in lines]),
        ),
    )


def _steps(network: NetworkCases, colours: Colours) -> list[OnBoard]:
    steps = []
    for method in network.methods(colours):
        step = network.row(method, "latency_s", "step")
        if step is not None:
            energy = network.row(method, "energy_j", "step")
            steps.append(OnBoard(network=network, method=method, step=step, energy=energy))
    return steps


def _span(row: Row | None) -> str:
    return "" if row is None else interval(row.ci_low, row.ci_high, row.unit)


def _boards_panel(label: str, steps: Sequence[OnBoard], colours: Colours, first_line: int) -> Panel:
    """Draw one network's steps, which are in the chart's table from ``first_line`` on."""
    boards = list(dict.fromkeys(step.network.subject.label for step in steps))
    methods = [method for method in colours if any(step.method == method for step in steps)]
    traces = []
    for method, offset in zip(methods, offsets(len(methods)), strict=True):
        chosen = [place for place, step in enumerate(steps) if step.method == method]
        rows = [steps[place].step for place in chosen]
        traces.append(
            go.Scatter(
                x=[row.value for row in rows],
                y=[boards.index(steps[place].network.subject.label) + offset for place in chosen],
                mode="markers",
                name=plain(label_of(method)),
                marker={"color": colours[method], "size": 9, "symbol": _symbol(method)},
                error_x=row_intervals(rows, colours[method]),
                hoverinfo="text",
                meta={"method": label_of(method), "table": [first_line + p for p in chosen]},
            )
        )
    axis = zero_axis(
        [end for step in steps for end in ends_of(step.step)],
        "s",
        "time of a step",
        unit_in_title=True,
    )
    return panel_of(
        "",
        traces,
        f"time of a step of {label} on {len(boards)} targets",
        heading=label,
        height=rows_height(len(boards), len(methods)),
        yaxis=rows_axis(boards),
        xaxis=axis,
        meta={**rows_meta(boards, len(methods), axis), "of": "target"},
    )
