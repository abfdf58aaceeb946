"""How charts look: colours by method, symbols by phase, and the frame that all share."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from reports.metrics.rows import Row
from reports.metrics.subjects import Method, Subject, label_of, method_of
from reports.results.records import BlockRecord
from reports.text.wording import TIMES, scale_of
from workloads.spec.methods import BASELINE

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
Colours = dict[Method, str]
Json = dict[str, Any]


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
        if method[0] == BASELINE:
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
    methods = [m for m in colours if exact or m[0] != BASELINE]
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


def meta_of(subject: Subject, rows: Sequence[Row]) -> Json:
    """Return whose rows a trace draws, and the rows of their exact baselines."""
    over = [subject.baselines.get(row) for row in rows]
    return {
        "method": label_of(method_of(rows[0])),
        "phase": rows[0].phase,
        "rows": [subject.places[row] for row in rows],
        "over": [None if row is None else subject.places[row] for row in over],
    }


def ratio_views(subjects: Sequence[Subject], rows: Sequence[Row], what: str) -> dict[str, Json]:
    """Return the axes of the rows' values over those of their exact baselines."""
    over = {row: base for subject in subjects for row, base in subject.baselines.items()}
    ratios = [
        end / base.value
        for row in rows
        if (base := over.get(row)) is not None and base.value
        for end in (row.value, row.ci_low, row.ci_high)
        if end
    ]
    title = f"{what} over that of exact"
    return {
        "ratio-linear": zero_axis([*ratios, 1.0], TIMES, title),
        "ratio-log": log_axis(f"{title}, logarithmic", [*ratios, 1.0], TIMES),
    }


def bars_of(rows: Sequence[Row]) -> dict[str, list[float | None]]:
    """Return the two arms of each row's error bar."""
    ends = [(row.value or 0.0, row.ci_low, row.ci_high) for row in rows]
    return {
        "array": short(0.0 if high is None else high - value for value, _, high in ends),
        "arrayminus": short(0.0 if low is None else value - low for value, low, _ in ends),
    }


def places_of(subjects: Sequence[Subject], rows: Sequence[Row]) -> tuple[int, ...]:
    """Return where the rows stand among those of the whole page."""
    places = {row: place for subject in subjects for row, place in subject.places.items()}
    return tuple(places[row] for row in rows)


def start_s(block: BlockRecord) -> float:
    """Return when the block began on the board's clock, 0 where it did not say."""
    if block.window_s:
        return block.window_s[0]
    state = block.state_after
    return state.t_s if state and state.t_s is not None else 0.0
