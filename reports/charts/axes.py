"""The axes of charts: rows with a name each, quantities with their unit, times and ratios."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.charts.chart import Json
from reports.charts.style import plain, shortened
from reports.metrics.rows import Row
from reports.metrics.subjects import Method, Subject, label_of
from reports.results.records import BlockRecord
from reports.text.wording import TIMES, scale_of

ROW_PX = 20


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


def rows_axis(labels: Sequence[str]) -> Json:
    """Return a y axis with one named row per label, the first one on top."""
    return {
        "tickvals": list(range(len(labels))),
        "ticktext": [plain(shortened(label, 28)) for label in labels],
        "range": [len(labels) - 0.45, -0.55],
        "showgrid": False,
    }


def rows_height(rows: int, lines: int) -> int:
    """Return the height of a chart of so many rows with so many lines in each."""
    return 80 + max(150, rows * max(2, lines) * ROW_PX)


def rows_meta(labels: Sequence[str], lines: int, axis: Axes) -> Json:
    """Return what the page needs to leave rows out and to change the axis of a row chart."""
    meta: Json = {"labels": list(labels), "lines": lines}
    if isinstance(axis, Views):
        meta["views"] = axis.views
    return meta


def method_rows_meta(methods: Sequence[Method], lines: int) -> Json:
    """Return what the page needs of a chart whose rows are methods."""
    labels = [label_of(method) for method in methods]
    return {**rows_meta(labels, lines, {}), "of": "method"}


def offsets(count: int) -> list[float]:
    """Spread the lines of one row evenly around its middle."""
    return [(line - (count - 1) / 2) * 0.8 / max(1, count) for line in range(count)]


def log_axis(title: str, values: Sequence[float], unit: str) -> Json:
    """Return a logarithmic axis around the values, with ticks that name their unit."""
    if not values:
        return {"title": {"text": title}, "type": "log"}
    low, high = min(values) / 1.12, max(values) * 1.12
    multiples: tuple[float, ...] = (1, 2, 5)
    if high / low > 1000:
        multiples = (1,)
    elif high / low < 3:
        multiples = (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)
    elif high / low < 12:
        multiples = (1, 1.5, 2, 3, 4, 6, 8)
    ticks = []
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        decade = [multiple * 10.0**exponent for multiple in multiples]
        ticks += [tick for tick in decade if low <= tick <= high]
    return {
        "title": {"text": title},
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [_tick_text(tick, unit) for tick in ticks],
    }


def _tick_text(value: float, unit: str) -> str:
    scale, symbol = scale_of(value, unit)
    return f"{value / scale:.3g}{symbol}"


def zero_axis(
    values: Sequence[float], unit: str, title: str = "", *, unit_in_title: bool = False
) -> Json:
    """Return an axis from 0 with round ticks in the prefix that suits the largest value.

    The unit is at the ticks, or in the title: those, at most four, also fit a narrow screen.
    """
    top = max(values, default=0.0) or 1.0
    scale, symbol = scale_of(top, unit)
    most = 4 if unit_in_title else 6
    steps = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
    step = next((step for step in steps if top / scale / step <= most), 500)
    ticks = [number * step for number in range(int(top / scale / step) + 1)]
    axis: Json = {
        "range": [0, top * 1.05],
        "tickangle": 0,  # labels that turn change the margin, which turns them back
        "tickvals": [tick * scale for tick in ticks],
        "ticktext": [f"{tick:g}{symbol if tick else ''}" for tick in ticks],
    }
    if unit_in_title:
        axis["ticktext"] = [f"{tick:g}" for tick in ticks]
        title = f"{title} ({symbol.strip()})"
    if title:
        axis["title"] = {"text": title}
    return axis


def ratio_views(subjects: Sequence[Subject], rows: Sequence[Row], what: str) -> dict[str, Json]:
    """Return the axes of the rows' values over those of their exact baselines."""
    baselines: dict[Row, Row] = {}
    for subject in subjects:
        baselines.update(subject.baselines)
    ratios = [1.0]
    for row in rows:
        base = baselines.get(row)
        if base is not None and base.value:
            ratios += [end / base.value for end in ends_of(row)]
    title = f"{what} over that of exact"
    return {
        "ratio-linear": zero_axis(ratios, TIMES, title),
        "ratio-log": log_axis(f"{title}, logarithmic", ratios, TIMES),
    }


def ends_of(row: Row) -> list[float]:
    """Return what an axis has to reach to show a row: its value and both ends of its interval."""
    return [end for end in (row.value, row.ci_low, row.ci_high) if end]


def time_axis(last_s: float) -> tuple[float, Json]:
    """Return the divisor and the axis for the time since the first block."""
    unit, scale = ("seconds", 1.0) if last_s < 180 else ("minutes", 60.0)
    return scale, {"title": {"text": f"{unit} since the first block"}}


def start_s(block: BlockRecord) -> float:
    """Return when the block began on the board's clock, 0 where it did not say."""
    if block.window_s:
        return block.window_s[0]
    state = block.state_after
    return state.t_s if state and state.t_s is not None else 0.0


def shared_range(values: Iterable[float], *also: float) -> list[float]:
    """Return the range that holds all values with a margin, the same for every target's panel."""
    held = [*values, *also]
    margin = 0.06 * (max(held) - min(held)) or 0.05
    return [min(held) - margin, max(held) + margin]
