"""The forest plot of a gate: new over base, with each verdict's margin behind it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from reports.chart_style import (
    Chart,
    Column,
    Json,
    Key,
    Panel,
    Subject,
    Views,
    first_axis,
    line_at,
    log_axis,
    offsets,
    panel,
    plain,
    rows_axis,
    rows_height,
    rows_meta,
    short,
    zero_axis,
)
from reports.gate_text import change_words
from reports.page_gate import Gates, Verdict, method_words, verdicts_of
from reports.verdict import Margin
from reports.wording import TIMES

STATUS_COLOUR = {"PASS": "#0f9171", "FAIL": "#c9435c", "INCONCLUSIVE": "#a67c00"}
OTHER = "#7d8590"
METRIC_SYMBOL = {"latency": "circle", "energy": "square", "memory": "diamond"}
METRIC_GLYPH = {"latency": "●", "energy": "■", "memory": "◆"}
MARGIN_COLOUR = {"user": "#5a72d6", "noise floor": "#7d8590", "energy uncertainty": "#b665a8"}
MARGIN_WORDS = {
    "user": "margin, as asked",
    "noise floor": "margin, the board's noise floor",
    "energy uncertainty": "margin, the energy's uncertainty",
}
Asked = tuple[Subject, str, Verdict]


def verdicts_chart(subjects: Sequence[Subject], gates: Gates) -> Chart | None:
    """Draw each verdict's ratio with its interval and its margin, where a run has a gate."""
    asked = [(s, label, verdict) for s in subjects for label, verdict in verdicts_of(s, gates)]
    known = [one for one in asked if one[2].effect is not None]
    if not known:
        return None
    ends = [end for *_, verdict in known for end in _ends(verdict)]
    axis = Views(
        views={
            "absolute-log": log_axis("new over base, logarithmic", ends, TIMES),
            "absolute-linear": zero_axis(ends, TIMES, "new over base"),
        }
    )
    statuses = dict.fromkeys(verdict.status for *_, verdict in known)
    metrics = {verdict.metric for *_, verdict in known}
    sources = dict.fromkeys(verdict.margin.source for *_, verdict in known)
    return Chart(
        id="verdicts-forest",
        title="What the gate compared",
        caption="New over base with the interval of the look that decided; right of the dashed "
        "line, new takes more. The strip is the margin: an interval beyond it is a FAIL, one below "
        "its upper end a PASS, and one across that end decides nothing.",
        legend=(
            *(Key(text=s, glyph="━", colour=STATUS_COLOUR.get(s, OTHER)) for s in statuses),
            *(Key(text=name, glyph=METRIC_GLYPH[name]) for name in METRIC_GLYPH if name in metrics),
            *(
                Key(text=MARGIN_WORDS.get(s, s), glyph="▒", colour=MARGIN_COLOUR.get(s, OTHER))
                for s in sources
            ),
        ),
        panels=tuple(
            _panel(subject, [one for one in known if one[0] is subject], known, axis)
            for subject in subjects
            if any(one[0] is subject for one in known)
        ),
        columns=_columns(known),
    )


def _ends(verdict: Verdict) -> list[float]:
    effect, margin = verdict.effect, 1 + verdict.margin.fraction
    ends = [effect.ratio, effect.ci_low, effect.ci_high] if effect else []
    return [1.0, margin, 1 / margin, *(end for end in ends if end)]


def _panel(subject: Subject, mine: Sequence[Asked], known: Sequence[Asked], axis: Views) -> Panel:
    labels = list(dict.fromkeys(label for _, label, _ in mine))
    questions = list(dict.fromkeys(_question(verdict) for *_, verdict in mine))
    lines = dict(zip(questions, offsets(len(questions)), strict=True))
    place = {id(one): labels.index(one[1]) + lines[_question(one[2])] for one in mine}
    half = 0.4 / len(questions)
    traces = [
        _dots([one for one in mine if one[2].status == status], status, place, known)
        for status in dict.fromkeys(verdict.status for *_, verdict in mine)
    ]
    return panel(
        subject,
        traces,
        f"new over base of {len(mine)} verdicts on {subject.label}",
        height=rows_height(len(labels), len(questions)),
        yaxis=rows_axis(labels),
        xaxis=first_axis(axis),
        shapes=[*(_strip(one[2].margin, place[id(one)], half) for one in mine), line_at(1)],
        meta=rows_meta(labels, len(questions), axis),
    )


def _question(verdict: Verdict) -> str:
    return f"{method_words(verdict.new)}, {verdict.question}"


def _dots(
    mine: Sequence[Asked], status: str, place: dict[int, float], known: Sequence[Asked]
) -> go.Scatter:
    colour = STATUS_COLOUR.get(status, OTHER)
    effects = [verdict.effect for *_, verdict in mine if verdict.effect]
    symbols = [METRIC_SYMBOL.get(verdict.metric, "circle") for *_, verdict in mine]
    high = [0.0 if e.ci_high is None else e.ci_high - e.ratio for e in effects]
    low = [0.0 if e.ci_low is None else e.ratio - e.ci_low for e in effects]
    return go.Scatter(
        x=[effect.ratio for effect in effects],
        y=[place[id(one)] for one in mine],
        mode="markers",
        name=plain(status),
        marker={"color": colour, "size": 9, "symbol": symbols},
        error_x={
            "type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 3,
            "array": short(high), "arrayminus": short(low),
        },
        hoverinfo="text",
        meta={"table": [known.index(one) for one in mine]},
    )  # fmt: skip


def _strip(margin: Margin, place: float, half: float) -> Json:
    return {
        "type": "rect", "name": "margin", "layer": "below", "line": {"width": 0}, "opacity": 0.25,
        "x0": 1 / (1 + margin.fraction), "x1": 1 + margin.fraction, "yref": "y", "y0": place - half,
        "y1": place + half, "fillcolor": MARGIN_COLOUR.get(margin.source, OTHER),
    }  # fmt: skip


def _columns(known: Sequence[Asked]) -> tuple[Column, ...]:
    verdicts = [verdict for *_, verdict in known]
    return (
        Column(name="target", values=[s.label for s, *_ in known]),
        Column(name="workload", values=[label for _, label, _ in known]),
        Column(name="method", values=[method_words(v.new) for v in verdicts]),
        Column(name="base", values=[method_words(v.base) for v in verdicts]),
        Column(name="asked", values=[v.question for v in verdicts]),
        Column(name="verdict", values=[v.status for v in verdicts]),
        Column(name="change", values=[change_words(v.effect) for v in verdicts]),
        Column(name="margin", values=[v.margin.fraction for v in verdicts], unit="1"),
        Column(name="set by", values=[v.margin.source for v in verdicts]),
        Column(name="rounds", values=[str(v.rounds) for v in verdicts]),
        Column(name="cause", values=[v.cause for v in verdicts]),
        Column(name="reason", values=[v.reason for v in verdicts]),
    )
