"""How charts look: colours by method, symbols by phase, and the frame that all share."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import plotly.graph_objects as go

from reports.baseline import baseline_of
from reports.comparison import cases_of
from reports.records import Run, TargetRun
from reports.rows import Row, row_case
from reports.wording import method_label, scale_of
from workloads.messages import Case

# After Okabe & Ito's colour-blind-safe set, shifted so that each has a contrast of 3:1 on both
# the light and the dark page.
EXACT = "#7d8590"
EXACT_CHANNELS_LAST = "#6b7a99"
PALETTE = ("#1f7fc4", "#d1660f", "#0f9171", "#b665a8", "#a67c00", "#c9435c", "#5a72d6", "#4f8f2f")
KNOWN: dict[tuple[str, int | None], int] = {
    ("gradient_filter", 2): 0,
    ("gradient_filter", 4): 1,
    ("gradient_filter", 8): 2,
    ("gradient_filter_published", 2): 3,
    ("gradient_filter_published", 4): 4,
    ("gradient_filter", 1): 5,
}
PHASE_SYMBOL = {"forward": "triangle-right", "backward": "circle", "step": "diamond-open"}
PHASE_GLYPH = {"forward": "▸", "backward": "●", "step": "◇"}
PHASE_COLOUR = {"forward": "#4f8f2f", "backward": "#c9435c", "step": "#5a72d6"}
ROW_PX = 20

METRICS_OF_EXACT = (
    "latency_s", "energy_j", "saved_bytes", "peak_rss_bytes", "cuda_peak_bytes", "system_dip_bytes",
)  # fmt: skip

Method = tuple[str, int | None, str]  # method, patch_size, kernel
Workload = tuple[str, int, str, str]  # name, batch, device, dtype
RowCase = tuple[str, str, str, int | None, str, str, str, int]  # as Row.case has it
Colours = dict[Method, str]
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One target of one run, with its rows: what a panel shows.

    ``first_row`` is the place of the first of them among the rows of the whole page.
    """

    label: str
    run: Run
    target: TargetRun
    rows: tuple[Row, ...]
    first_row: int = 0

    @cached_property
    def places(self) -> dict[Row, int]:
        """Where each row stands among the rows of the whole page."""
        return {row: self.first_row + place for place, row in enumerate(self.rows)}

    @cached_property
    def baselines(self) -> dict[Row, Row]:
        """The row of the exact baseline of each row, of the same metric and phase."""
        known = {(row.case, row.metric, row.phase): row for row in self.rows}
        found = {}
        for case in cases_of(self.run, self.target):
            for phase in ("", "forward", "backward", "step"):
                base = row_case(self.target.name, baseline_of(self.target, case, phase or "step"))
                mine = row_case(self.target.name, case)
                for metric in METRICS_OF_EXACT:
                    row, other = known.get((mine, metric, phase)), known.get((base, metric, phase))
                    if row is not None and other is not None:
                        found[row] = other
        return found

    @cached_property
    def workloads(self) -> dict[Workload, str]:
        """The workloads in order, with labels that name what differs between them."""
        keys = list(dict.fromkeys(workload_of(row) for row in self.rows))
        varies = [len({key[part] for key in keys}) > 1 for part in range(4)]
        return {key: _workload_label(key, varies) for key in keys}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a chart's table: texts, or numbers where there is a unit."""

    name: str
    values: Sequence[str | int | float | None]
    unit: str | None = None
    digits: int = 3


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One drawing: a Plotly figure as JSON, and its words for those who do not see it.

    An empty figure means that there is nothing to draw; the description then says why.
    """

    title: str
    description: str
    figure: Json


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of a chart's legend; without a colour it explains a symbol."""

    text: str
    glyph: str = "●"
    colour: str | None = None
    method: bool = False  # goes when the page's filter leaves the method out


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One question: a panel per target, and the same numbers as a table.

    The table is either of ``rows`` of the export or of ``columns`` of its own. A trace's ``meta``
    says what the page's filters and hover texts need: ``method`` and ``phase``, and of each point
    its ``rows`` or its line of the ``table``, and in ``over`` the row of its exact baseline. A
    panel's ``layout.meta`` has ``labels`` of its rows, and ``views``: the other axes it may have.
    """

    id: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[Key, ...] = ()
    rows: tuple[int, ...] = ()
    columns: tuple[Column, ...] = ()


def colours_of(subjects: Sequence[Subject]) -> Colours:
    """Return a colour per method, the same in every report unless two would share one."""
    methods = sorted({method_of(row) for subject in subjects for row in subject.rows}, key=str)
    colours: Colours = {}
    for method in sorted(methods, key=lambda one: (one[:2] not in KNOWN, str(one))):
        if method[0] == "exact":
            continue
        start = KNOWN.get(method[:2], int(hashlib.sha256(repr(method).encode()).hexdigest(), 16))
        colours[method] = _free_colour(start, colours.values())
    greys = {"torch-channels-last": EXACT_CHANNELS_LAST}
    exact = {m: greys.get(m[2], EXACT) for m in methods if m not in colours}
    return exact | dict(sorted(colours.items(), key=lambda item: _place(item[0])))


def colours_of_targets(labels: Iterable[str]) -> dict[str, str]:
    """Return a colour per target, the same in every report unless two would share one."""
    colours: dict[str, str] = {}
    for label in sorted(labels):
        start = int(hashlib.sha256(label.encode()).hexdigest(), 16)
        colours[label] = _free_colour(start, colours.values())
    return colours


def _free_colour(start: int, taken: Collection[str]) -> str:
    """Return the palette's colour of that number, or the next one that is not taken."""
    choices = [PALETTE[(start + step) % len(PALETTE)] for step in range(len(PALETTE))]
    return next((colour for colour in choices if colour not in taken), choices[0])


def _place(method: Method) -> tuple[str, int, str]:
    return method[0], method[1] or 0, method[2]


def method_of(row: Row) -> Method:
    """Return what tells methods apart."""
    return row.method, row.patch_size, row.kernel


def workload_of(row: Row) -> Workload:
    """Return what tells workloads apart."""
    return row.workload, row.batch, row.device, row.dtype


def method_of_case(case: Case) -> Method:
    """Return the method of a case, as ``method_of`` does of a row."""
    return case.method, case.patch_size, case.kernel_label


def workload_of_case(case: Case) -> Workload:
    """Return the workload of a case, as ``workload_of`` does of a row."""
    return case.layer.name, case.batch, case.device, case.dtype


def _workload_label(key: Workload, varies: Sequence[bool]) -> str:
    parts = [key[0]]
    parts += [f"b{key[1]}"] if varies[1] else []
    parts += [str(key[part]) for part in (2, 3) if varies[part]]
    return " · ".join(parts)


def label_of(method: Method) -> str:
    """Return the method in words."""
    return method_label(*method)


def plain(text: str) -> str:
    """Escape what Plotly would take for markup: names come from files and boards."""
    cut = text if len(text) <= 200 else f"{text[:200]}…"
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def short(values: Iterable[float | None], digits: int = 5) -> list[float | None]:
    """Round what is only drawn: the tables and the export have every digit."""
    return [None if value is None else float(f"{value:.{digits}g}") for value in values]


def panel(
    subject: Subject, data: Sequence[Any], description: str, *, height: int = 340, **layout: Any
) -> Panel:
    """Frame the traces; text and grid colours follow the page's theme when it is drawn."""
    frame = go.Layout(
        height=height,
        autosize=True,
        margin={"l": 12, "r": 12, "t": 8, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        hoverlabel={"align": "left"},
        showlegend=False,  # the page has one legend for all panels of a chart
    )
    figure = go.Figure(data=list(data), layout=frame)
    figure.update_xaxes(automargin=True, zeroline=False, title_standoff=8)
    figure.update_yaxes(automargin=True, zeroline=False, title_standoff=8)
    figure.update_layout(**layout)
    figure.layout.template = None  # the library's own look would double the size of each figure
    encoded: Json = json.loads(figure.to_json())
    return Panel(title=subject.label, description=description, figure=encoded)


def empty_panel(subject: Subject, metric: str) -> Panel:
    """Return a panel that says why there is nothing to draw."""
    reasons = (row.reason for row in subject.rows if row.metric == metric and row.reason)
    return Panel(title=subject.label, description=next(reasons, "not measured"), figure={})


def legend_of(
    colours: Colours, phases: Sequence[str] = (), *, exact: bool = True
) -> tuple[Key, ...]:
    """Return the keys of the methods, and of the symbols where a chart has several."""
    methods = [m for m in colours if exact or m[0] != "exact"]
    keys = [
        Key(text=label_of(method), glyph="■", colour=colours[method], method=True)
        for method in methods
    ]
    keys += [Key(text=phase, glyph=PHASE_GLYPH[phase]) for phase in phases]
    return tuple(keys)


def rows_meta(labels: Sequence[str], lines: int, axis: Axes) -> Json:
    """Return what the page needs to leave rows out and to change the axis of a row chart."""
    views = {} if isinstance(axis, dict) else {"views": axis.views}
    return {"labels": list(labels), "lines": lines, **views}


def rows_axis(labels: Sequence[str]) -> Json:
    """Return a y axis with one named row per label, the first one on top."""
    return {
        "tickvals": list(range(len(labels))),
        "ticktext": [plain(_short(label)) for label in labels],
        "range": [len(labels) - 0.45, -0.55],
        "showgrid": False,
    }


def rows_height(rows: int, lines: int) -> int:
    """Return the height of a chart of so many rows with so many lines in each."""
    return 80 + max(150, rows * max(2, lines) * ROW_PX)


@dataclass(frozen=True, kw_only=True)
class Views:
    """The axes that one chart may have, by name; the first is drawn at first.

    Names are ``absolute-log``, ``absolute-linear``, ``ratio-log`` and ``ratio-linear``.
    """

    views: dict[str, Json]

    @property
    def first(self) -> Json:
        """The axis to begin with."""
        return next(iter(self.views.values()))


Axes = Json | Views


def first_axis(axis: Axes) -> Json:
    """Return the axis to draw at first."""
    return axis.first if isinstance(axis, Views) else axis


def log_axis(title: str, values: Sequence[float], unit: str) -> Json:
    """Return a logarithmic axis around the values, with ticks that name their unit."""
    if not values:
        return {"title": {"text": title}, "type": "log"}
    low, high = min(values) / 1.12, max(values) * 1.12
    series: tuple[float, ...] = (1, 2, 5)
    if 3 <= high / low < 12:
        series = (1, 1.5, 2, 3, 4, 6, 8)
    elif high / low < 3:
        series = (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)
    elif high / low > 1000:
        series = (1,)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**e for e in exponents for m in series if low <= m * 10.0**e <= high]
    return {
        "title": {"text": title},
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [_tick(tick, unit) for tick in ticks],
    }


def zero_axis(values: Sequence[float], unit: str, title: str = "") -> Json:
    """Return an axis from 0 with round ticks in the prefix that suits the largest value."""
    top = max(values, default=0.0) or 1.0
    scale, symbol = scale_of(top, unit)
    steps = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
    step = next((step for step in steps if top / scale / step <= 6), 500)
    ticks = [number * step for number in range(int(top / scale / step) + 1)]
    return {
        **({"title": {"text": title}} if title else {}),
        "range": [0, top * 1.05],
        "tickangle": 0,  # labels that turn change the margin, which turns them back
        "tickvals": [tick * scale for tick in ticks],
        "ticktext": [f"{tick:g}{symbol if tick else ''}" for tick in ticks],
    }


def time_axis(last_s: float) -> tuple[float, Json]:
    """Return the divisor and the axis for the time since the first block."""
    unit, scale = ("seconds", 1.0) if last_s < 180 else ("minutes", 60.0)
    return scale, {"title": {"text": f"{unit} since the first block"}}


def _tick(value: float, unit: str) -> str:
    scale, symbol = scale_of(value, unit)
    return f"{value / scale:.3g}{symbol}"


def offsets(count: int) -> list[float]:
    """Spread the lines of one row evenly around its middle."""
    return [(line - (count - 1) / 2) * 0.8 / max(1, count) for line in range(count)]


def shared_range(values: Iterable[float], *also: float) -> list[float]:
    """Return the range that holds all values with a margin, the same for every target's panel."""
    held = [*values, *also]
    margin = 0.06 * (max(held) - min(held)) or 0.05
    return [min(held) - margin, max(held) + margin]


def line_at(x: float) -> Json:
    """Return a dashed vertical line, named ``reference`` so that the page themes it."""
    return _reference(x0=x, x1=x, yref="paper", y0=0, y1=1)


def level_at(y: float) -> Json:
    """Return a dashed horizontal line, themed likewise."""
    return _reference(y0=y, y1=y, xref="paper", x0=0, x1=1)


def _reference(**ends: float | str) -> Json:
    return {"type": "line", "name": "reference", "line": {"width": 1, "dash": "dash"}, **ends}


def _short(label: str) -> str:
    return label if len(label) <= 28 else f"{label[:27]}…"
