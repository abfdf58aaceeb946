"""The charts of a network's layers: where a step goes, what is kept, how true each is. Pure.

A step is shown by its convolutions, each with what follows it until the next one begins: its
BatchNorm and activation, which some exact kernels make part of the convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.charts.axes import method_rows_meta, rows_axis, rows_height, zero_axis
from reports.charts.chart import Chart, Column, Json, Key, Panel, panel_of
from reports.charts.context import Context
from reports.charts.network_cases import NetworkCases, networks_of
from reports.charts.style import NEUTRAL_COLOUR, PALETTE, Colours, legend_of, plain, shortened
from reports.metrics.subjects import Method, label_of, method_of_case
from reports.results.records import ByLayer, LayerFidelity, LayerShare, SavedTensor
from reports.text.wording import cut, quantity

MAX_LAYERS = 200  # of a network; further ones count with the last
MAX_TENSORS = 60  # of a case in a table; the smaller ones are one line
MAX_NAMES = 12  # of layers that fit under an axis
MAX_KINDS = len(PALETTE) - 1  # of modules with a colour of their own
OWN = "(own)"  # how the kind of a module ends whose work lies between its parts
OTHERS = "others"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One convolution of a case with what follows it."""

    network: NetworkCases
    method: Method
    name: str
    modules: tuple[LayerShare, ...]

    @property
    def forward_s(self) -> float:
        """The forward's seconds."""
        return sum(module.forward_s or 0.0 for module in self.modules)

    @property
    def backward_s(self) -> float:
        """The backward's seconds."""
        return sum(module.backward_s or 0.0 for module in self.modules)

    @property
    def saved_bytes(self) -> float:
        """What is kept for the backward."""
        return float(sum(module.saved_bytes or 0 for module in self.modules))


def forward_chart(context: Context) -> Chart | None:
    """Draw the forward's seconds by layer."""
    return _bar_chart(
        context,
        lambda stage: stage.forward_s,
        unit="s",
        title="The forward by layer",
        caption=f"The time of the forward in each convolution and what follows it. {_HOOKS}",
    )


def backward_chart(context: Context) -> Chart | None:
    """Draw the backward's seconds by layer."""
    return _bar_chart(
        context,
        lambda stage: stage.backward_s,
        unit="s",
        title="The backward by layer",
        caption=f"The time of the backward in each convolution and what follows it. {_HOOKS}",
    )


def kept_chart(context: Context) -> Chart | None:
    """Draw the bytes that each layer keeps for the backward."""
    return _bar_chart(
        context,
        lambda stage: stage.saved_bytes,
        unit="B",
        title="Bytes kept for the backward by layer",
        caption="What each convolution and what follows it keeps from the forward to the "
        "backward, each tensor counted once. The next figure says which modules keep it.",
    )


_HOOKS = (
    "Measured in a block of its own: hooks cost time, so that the bars say in what proportions a "
    "step is spent, not how long it takes."
)


def _bar_chart(
    context: Context, figure: Callable[[Stage], float], *, unit: str, title: str, caption: str
) -> Chart | None:
    """Draw a figure of each stage as bars, a panel for each network."""
    lines: list[Stage] = []
    panels = []
    for network in networks_of(context.subjects):
        stages = _stages_of(network)
        if any(figure(stage) for stage in stages):
            panels.append(_bar_panel(network, stages, figure, unit, context.colours, len(lines)))
            lines += stages
    if not lines:
        return None
    return Chart(
        title=title,
        caption=caption,
        legend=_legend(context.colours, {stage.method for stage in lines}),
        panels=tuple(panels),
        columns=(
            Column(name="target", values=[stage.network.subject.label for stage in lines]),
            Column(name="workload", values=[stage.network.label for stage in lines]),
            Column(name="method", values=[label_of(stage.method) for stage in lines]),
            Column(name="layer", values=[stage.name for stage in lines]),
            Column(name="figure", values=[figure(stage) for stage in lines], unit=unit),
        ),
    )


def _legend(colours: Colours, methods: set[Method]) -> tuple[Key, ...]:
    return legend_of({method: colours[method] for method in colours if method in methods})


def _stages_of(network: NetworkCases) -> list[Stage]:
    stages = []
    for case in network.compared:
        by_layer = network.by_layer(case)
        for modules in _grouped(by_layer.layers) if by_layer else ():
            stages.append(
                Stage(
                    network=network,
                    method=method_of_case(case),
                    name=cut(_convolution_of(modules).name, 80),
                    modules=tuple(modules),
                )
            )
    return stages


def _grouped(modules: Sequence[LayerShare]) -> list[list[LayerShare]]:
    """Return the modules by convolution; what begins before the first belongs to it."""
    groups: list[list[LayerShare]] = [[]]
    begun: list[LayerShare] = []  # modules whose parts follow
    for module in modules:
        if module.kind.endswith(OWN):
            begun.append(module)
            continue
        if _is_convolution(module) and len(groups) < MAX_LAYERS:
            has_one = any(_is_convolution(earlier) for earlier in groups[-1])
            if has_one:
                groups.append([])
        groups[-1] += [*begun, module]
        begun = []
    groups[-1] += begun
    return [group for group in groups if group]


def _is_convolution(module: LayerShare) -> bool:
    return "conv" in module.kind.lower() or module.kind == "Linear"


def _convolution_of(modules: Sequence[LayerShare]) -> LayerShare:
    return next((module for module in modules if _is_convolution(module)), modules[0])


def _bar_panel(
    network: NetworkCases,
    stages: Sequence[Stage],
    figure: Callable[[Stage], float],
    unit: str,
    colours: Colours,
    first_line: int,
) -> Panel:
    """Draw one network's stages, which are in the chart's table from ``first_line`` on."""
    names = list(dict.fromkeys(stage.name for stage in stages))
    traces = []
    for method in colours:
        places = [place for place, stage in enumerate(stages) if stage.method == method]
        if places:
            traces.append(
                go.Bar(
                    x=[names.index(stages[place].name) + 1 for place in places],
                    y=[figure(stages[place]) for place in places],
                    name=plain(label_of(method)),
                    marker={"color": colours[method]},
                    hoverinfo="text",
                    meta={
                        "method": label_of(method),
                        "table": [first_line + place for place in places],
                    },
                )
            )
    return panel_of(
        network.subject.label,
        traces,
        f"{len(names)} layers of {network.label} on {network.subject.label}",
        heading=network.label,
        xaxis=_layers_axis(names),
        yaxis={**zero_axis([figure(stage) for stage in stages], unit), "automargin": True},
        barmode="group",
        bargap=0.15,
    )


def _layers_axis(names: Sequence[str]) -> Json:
    """Return the axis of layers in the order in which they run, by name where names fit."""
    if len(names) > MAX_NAMES:
        return {"title": {"text": "layers in the order in which they run"}, "showgrid": False}
    return {
        "tickvals": list(range(1, len(names) + 1)),
        "ticktext": [plain(shortened(name, 16)) for name in names],
        "showgrid": False,
    }


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A line of the table of what is kept for the backward by whom."""

    network: NetworkCases
    method: Method
    module: str
    kind: str
    shape: str
    bytes: int


def keepers_chart(context: Context) -> Chart | None:
    """Draw which kinds of modules keep how many bytes; the table has each tensor."""
    lines: list[Kept] = []
    panels = []
    kinds = _kinds(context)
    for network in networks_of(context.subjects):
        kept = _kept_by_method(network)
        if kept:
            panels.append(_keepers_panel(network, kept, kinds))
            for method, by_layer in kept.items():
                lines += _kept_lines(network, method, by_layer)
    if not lines:
        return None
    return Chart(
        title="Which modules keep what for the backward",
        caption="The bytes kept from the forward to the backward by the kind of module that keeps "
        "them, each tensor counted once. The table has the tensors: those of a method add up to "
        "its line of all.",
        legend=tuple(Key(text=kind, glyph="■", colour=colour) for kind, colour in kinds.items()),
        panels=tuple(panels),
        columns=(
            Column(name="target", values=[line.network.subject.label for line in lines]),
            Column(name="workload", values=[line.network.label for line in lines]),
            Column(name="method", values=[label_of(line.method) for line in lines]),
            Column(name="kept by", values=[line.module for line in lines]),
            Column(name="kind", values=[line.kind for line in lines]),
            Column(name="shape", values=[line.shape for line in lines]),
            Column(name="bytes", values=[line.bytes for line in lines], unit="B", digits=4),
        ),
    )


def _kept_by_method(network: NetworkCases) -> dict[Method, ByLayer]:
    kept = {}
    for case in network.compared:
        by_layer = network.by_layer(case)
        if by_layer is not None and by_layer.saved:
            kept[method_of_case(case)] = by_layer
    return kept


def _kinds(context: Context) -> dict[str, str]:
    """Return the colours of the kinds of modules that keep the most, and of all others."""
    bytes_of: dict[str, int] = {}
    for network in networks_of(context.subjects):
        for by_layer in _kept_by_method(network).values():
            for tensor in by_layer.saved:
                kind = cut(tensor.kind, 40)
                bytes_of[kind] = bytes_of.get(kind, 0) + tensor.bytes
    largest_first = sorted(bytes_of, key=lambda kind: (-bytes_of[kind], kind))
    colours = dict(zip(largest_first[:MAX_KINDS], PALETTE, strict=False))
    if len(largest_first) > MAX_KINDS:
        colours[OTHERS] = NEUTRAL_COLOUR
    return colours


def _keepers_panel(
    network: NetworkCases, kept: dict[Method, ByLayer], kinds: dict[str, str]
) -> Panel:
    methods = list(kept)
    traces = []
    for kind, colour in kinds.items():
        bytes_ = [_bytes_of(by_layer.saved, kind, kinds) for by_layer in kept.values()]
        if any(bytes_):
            texts = []
            for method, count in zip(methods, bytes_, strict=True):
                texts.append(plain(f"{label_of(method)}, {kind}: {quantity(count, 'B')}"))
            traces.append(
                go.Bar(
                    orientation="h",
                    x=bytes_,
                    y=list(range(len(methods))),
                    width=0.6,
                    name=plain(kind),
                    marker={"color": colour},
                    hoverinfo="text",
                    hovertext=texts,
                )
            )
    totals = [float(sum(t.bytes for t in by_layer.saved)) for by_layer in kept.values()]
    return panel_of(
        network.subject.label,
        traces,
        f"bytes kept by kind of module, {len(methods)} ways to train {network.label} "
        f"on {network.subject.label}",
        heading=network.label,
        height=rows_height(len(methods), 2),
        yaxis=rows_axis([label_of(method) for method in methods]),
        xaxis=zero_axis(totals, "B", "kept for the backward", unit_in_title=True),
        barmode="stack",
        meta=method_rows_meta(methods, 2),
    )


def _bytes_of(saved: Sequence[SavedTensor], kind: str, kinds: dict[str, str]) -> int:
    """Return what modules of a kind keep; ``others`` are those that have no colour."""
    total = 0
    for tensor in saved:
        own = cut(tensor.kind, 40)
        if own == kind or (kind == OTHERS and own not in kinds):
            total += tensor.bytes
    return total


def _kept_lines(network: NetworkCases, method: Method, by_layer: ByLayer) -> list[Kept]:
    """Return the largest tensors in the order in which they were saved, the rest, and the sum."""
    saved = by_layer.saved
    largest_first = sorted(range(len(saved)), key=lambda place: -saved[place].bytes)
    shown = [saved[place] for place in sorted(largest_first[:MAX_TENSORS])]
    total = sum(tensor.bytes for tensor in saved)
    lines = [
        Kept(
            network=network,
            method=method,
            module=cut(tensor.kept_by, 80),
            kind=cut(tensor.kind, 40),
            shape=" x ".join(str(size) for size in tensor.shape[:8]),
            bytes=tensor.bytes,
        )
        for tensor in shown
    ]
    rest = len(saved) - len(shown)
    if rest:
        left = total - sum(tensor.bytes for tensor in shown)
        text = f"{rest} smaller tensors"
        lines.append(
            Kept(network=network, method=method, module=text, kind="", shape="", bytes=left)
        )
    lines.append(Kept(network=network, method=method, module="all", kind="", shape="", bytes=total))
    return lines


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """One of the gradients that are compared with exact's, and how it is drawn."""

    name: str
    symbol: str
    glyph: str
    dash: str
    cosine_of: Callable[[LayerFidelity], float | None]


GRADIENTS = (
    Gradient(
        name="g_x, this layer alone filtered",
        symbol="circle",
        glyph="●",
        dash="solid",
        cosine_of=lambda layer: layer.cosine_gx,
    ),
    Gradient(
        name="g_w, this layer alone filtered",
        symbol="diamond-open",
        glyph="◇",
        dash="dot",
        cosine_of=lambda layer: layer.cosine_gw,
    ),
    Gradient(
        name="g_w, all layers filtered",
        symbol="square-open",
        glyph="□",
        dash="dash",
        cosine_of=lambda layer: layer.cosine_gw_network,
    ),
)


@dataclass(frozen=True, kw_only=True)
class LayerLine:
    """The fidelity of one layer of a case."""

    network: NetworkCases
    method: Method
    layer: LayerFidelity


def fidelity_chart(context: Context) -> Chart | None:
    """Draw the cosines of each filtered layer's gradients, on what it met in the network."""
    lines: list[LayerLine] = []
    panels = []
    for network in networks_of(context.subjects):
        own = _fidelity_lines(network)
        if own:
            panels.append(_fidelity_panel(network, own, context.colours, len(lines)))
            lines += own
    if not lines:
        return None
    cosines = [
        Column(name=gradient.name, values=[gradient.cosine_of(line.layer) for line in lines],
               unit="1")
        for gradient in GRADIENTS
    ]  # fmt: skip
    return Chart(
        title="Fidelity by layer of a network",
        caption="The cosines of each filtered layer's gradients with the exact ones, on the "
        "activations and gradients that the layer meets in the network. With all layers filtered "
        "g_w also has what the layers after it left out. 1 is equality.",
        legend=(
            *_legend(context.colours, {line.method for line in lines}),
            *(Key(text=gradient.name, glyph=gradient.glyph) for gradient in GRADIENTS),
        ),
        panels=tuple(panels),
        columns=(
            Column(name="target", values=[line.network.subject.label for line in lines]),
            Column(name="workload", values=[line.network.label for line in lines]),
            Column(name="method", values=[label_of(line.method) for line in lines]),
            Column(name="layer", values=[cut(line.layer.name, 80) for line in lines]),
            *cosines,
        ),
    )


def _fidelity_lines(network: NetworkCases) -> list[LayerLine]:
    lines = []
    for case in network.compared:
        for layer in network.layer_fidelity(case)[:MAX_LAYERS]:
            lines.append(LayerLine(network=network, method=method_of_case(case), layer=layer))
    return lines


def _fidelity_panel(
    network: NetworkCases, lines: Sequence[LayerLine], colours: Colours, first_line: int
) -> Panel:
    """Draw one network's layers, which are in the chart's table from ``first_line`` on."""
    names = list(dict.fromkeys(cut(line.layer.name, 80) for line in lines))
    traces = []
    lowest = 0.0
    for method, colour in colours.items():
        places = [place for place, line in enumerate(lines) if line.method == method]
        for gradient in GRADIENTS:
            cosines = [gradient.cosine_of(lines[place].layer) for place in places]
            known = [cosine for cosine in cosines if cosine is not None]
            if known:
                lowest = min(lowest, *known)
                traces.append(
                    go.Scatter(
                        x=[names.index(cut(lines[place].layer.name, 80)) + 1 for place in places],
                        y=cosines,
                        mode="lines+markers",
                        line={"color": colour, "width": 1.5, "dash": gradient.dash},
                        marker={"color": colour, "size": 6, "symbol": gradient.symbol},
                        name=plain(f"{label_of(method)}, {gradient.name}"),
                        hoverinfo="text",
                        meta={
                            "method": label_of(method),
                            "table": [first_line + place for place in places],
                        },
                    )
                )
    return panel_of(
        network.subject.label,
        traces,
        f"cosines of the gradients of {len(names)} layers of {network.label} "
        f"on {network.subject.label}",
        heading=network.label,
        xaxis=_layers_axis(names),
        yaxis={"title": {"text": "cosine with the exact gradient"}, "range": [lowest, 1.03]},
    )
