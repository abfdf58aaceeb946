"""How charts look: a colour per method and target, a symbol per phase, and the legend."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence

from reports.charts.chart import Json, Key
from reports.metrics.rows import Row
from reports.metrics.subjects import Method, Subject, label_of, method_of
from reports.stats.intervals import Effect
from workloads.spec.messages import PHASES
from workloads.spec.methods import BASELINE

# After Okabe & Ito's colour-blind-safe set, shifted so that each has a contrast of 3:1 on both
# the light and the dark page.
EXACT_COLOUR = "#7d8590"
EXACT_COLOURS = {  # by kernel
    "torch-channels-last": "#6b7a99",
    "folded": "#8b7d6b",
    "fused": "#5f8787",
    "compiled": "#8f7799",
}
PALETTE = ("#1f7fc4", "#d1660f", "#0f9171", "#b665a8", "#a67c00", "#c9435c", "#5a72d6", "#4f8f2f")
KNOWN: dict[tuple[str, int | None], int] = {
    ("gradient_filter", 2): 0,
    ("gradient_filter", 4): 1,
    ("gradient_filter", 8): 2,
    ("gradient_filter_published", 2): 3,
    ("gradient_filter_published", 4): 4,
    ("gradient_filter", 1): 5,
    ("checkpoint", None): 6,
    ("micro_batches", None): 7,
}
PHASE_SYMBOL = {
    "forward": "triangle-right",
    "backward": "circle",
    "step": "diamond-open",
    "train_step": "square-open",
}
PHASE_GLYPH = {"forward": "▸", "backward": "●", "step": "◇", "train_step": "□"}
PHASE_COLOUR = {
    "forward": "#4f8f2f",
    "backward": "#c9435c",
    "step": "#5a72d6",
    "train_step": "#a67c00",
}
NEUTRAL_COLOUR = "#9aa0a6"  # of lines and bars that belong to no method
Colours = dict[Method, str]


def colours_of(subjects: Sequence[Subject]) -> Colours:
    """Return a colour per method, the same in every report unless two would share one."""
    methods = {method_of(row) for subject in subjects for row in subject.rows}
    exact: Colours = {}
    others: Colours = {}
    # Methods that have a colour of their own come first: no other method may take it.
    for method in sorted(methods, key=lambda method: (method[:2] not in KNOWN, str(method))):
        if method[0] == BASELINE:
            exact[method] = EXACT_COLOURS.get(method[2], EXACT_COLOUR)
        else:
            start = KNOWN.get(method[:2], _number(repr(method)))
            others[method] = _free_colour(start, others.values())
    in_order = sorted(others, key=lambda method: (method[0], method[1] or 0, method[2]))
    return exact | {method: others[method] for method in in_order}


def colours_of_targets(labels: Iterable[str]) -> dict[str, str]:
    """Return a colour per target, the same in every report unless two would share one."""
    colours: dict[str, str] = {}
    for label in sorted(labels):
        colours[label] = _free_colour(_number(label), colours.values())
    return colours


def _number(text: str) -> int:
    """Return a large number that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def _free_colour(start: int, taken: Collection[str]) -> str:
    """Return the palette's colour of that number, or the next one that is not taken."""
    choices = [PALETTE[(start + step) % len(PALETTE)] for step in range(len(PALETTE))]
    return next((colour for colour in choices if colour not in taken), choices[0])


def legend_of(
    colours: Colours, phases: Sequence[str] = (), *, exact: bool = True
) -> tuple[Key, ...]:
    """Return the keys of the methods, and of the symbols where a chart has several."""
    keys = [
        Key(text=label_of(method), glyph="■", colour=colour, method=True)
        for method, colour in colours.items()
        if exact or method[0] != BASELINE
    ]
    keys += [Key(text=phase.replace("_", " "), glyph=PHASE_GLYPH[phase]) for phase in phases]
    return tuple(keys)


def phases_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the phases that the rows have, in the order in which they run."""
    there = {row.phase for row in rows}
    return tuple(phase for phase in PHASES if phase in there)


def plain(text: str) -> str:
    """Escape what Plotly would take for markup: names come from files and boards."""
    cut = text if len(text) <= 200 else f"{text[:200]}…"
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shortened(text: str, length: int) -> str:
    """Return the text, cut to a length where it is longer."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def rounded(values: Iterable[float | None], digits: int = 5) -> list[float | None]:
    """Round what is only drawn: the tables and the export have every digit."""
    return [None if value is None else float(f"{value:.{digits}g}") for value in values]


def row_intervals(rows: Sequence[Row], colour: str) -> Json:
    """Return the error bars of rows; hidden where none of them has an interval."""
    bars = error_bars(
        [row.value or 0.0 for row in rows],
        [row.ci_low for row in rows],
        [row.ci_high for row in rows],
        colour,
    )
    return {**bars, "visible": any(row.ci_high is not None for row in rows)}


def effect_intervals(effects: Sequence[Effect], colour: str) -> Json:
    """Return the error bars of ratios; hidden where none of them has an interval."""
    bars = error_bars(
        [effect.ratio for effect in effects],
        [effect.ci_low for effect in effects],
        [effect.ci_high for effect in effects],
        colour,
    )
    return {**bars, "visible": any(effect.ci_high is not None for effect in effects)}


def error_bars(
    values: Sequence[float],
    lows: Sequence[float | None],
    highs: Sequence[float | None],
    colour: str,
) -> Json:
    """Return the error bars from each value to both ends of its interval."""
    up = [0.0 if high is None else high - value for value, high in zip(values, highs, strict=True)]
    down = [0.0 if low is None else value - low for value, low in zip(values, lows, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "color": colour,
        "thickness": 1.5,
        "width": 3,
        "array": rounded(up),
        "arrayminus": rounded(down),
    }


def vertical_line(x: float) -> Json:
    """Return a dashed line, named ``reference`` so that the page gives it its theme's colour."""
    return {**_REFERENCE, "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1}


def horizontal_line(y: float) -> Json:
    """Return a dashed line, themed likewise."""
    return {**_REFERENCE, "y0": y, "y1": y, "xref": "paper", "x0": 0, "x1": 1}


_REFERENCE: Json = {"type": "line", "name": "reference", "line": {"width": 1, "dash": "dash"}}
