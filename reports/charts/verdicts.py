"""The forest plot of a gate: new over base, with each verdict's margin behind it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.charts.axes import (
    Views,
    log_axis,
    offsets,
    rows_axis,
    rows_height,
    rows_meta,
    zero_axis,
)
from reports.charts.chart import Chart, Column, Json, Key, Panel, panel_of
from reports.charts.context import Context
from reports.charts.style import error_bars, plain, vertical_line
from reports.gate.recorded import verdicts_of
from reports.gate.verdict import Margin, Verdict
from reports.gate.words import change_words
from reports.metrics.subjects import Subject, method_words
from reports.stats.intervals import Effect
from reports.text.wording import TIMES

STATUS_COLOUR = {"PASS": "#0f9171", "FAIL": "#c9435c", "INCONCLUSIVE": "#a67c00"}
OTHER_COLOUR = "#7d8590"
METRIC_SYMBOL = {"latency": "circle", "energy": "square", "memory": "diamond"}
METRIC_GLYPH = {"latency": "●", "energy": "■", "memory": "◆"}
MARGIN_COLOUR = {"user": "#5a72d6", "noise floor": "#7d8590", "energy uncertainty": "#b665a8"}
MARGIN_TEXT = {
    "user": "margin, as asked",
    "noise floor": "margin, the board's noise floor",
    "energy uncertainty": "margin, the energy's uncertainty",
}


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A verdict that rests on an effect, with the subject and the workload that it is on."""

    subject: Subject
    workload: str
    verdict: Verdict
    effect: Effect

    @property
    def question(self) -> str:
        """What was asked of the workload; each question has a line of its own in its row."""
        return f"{method_words(self.verdict.new)}, {self.verdict.question}"


def verdicts_chart(context: Context) -> Chart | None:
    """Draw each verdict's ratio with its interval and its margin, where a run has a gate."""
    decided = []
    for subject in context.subjects:
        for workload, verdict in verdicts_of(subject, context.gates):
            if verdict.effect is not None:
                decided.append(
                    Decided(
                        subject=subject, workload=workload, verdict=verdict, effect=verdict.effect
                    )
                )
    if not decided:
        return None
    ends = [end for item in decided for end in _ends(item)]
    axis = Views(
        views={
            "absolute-log": log_axis("new over base, logarithmic", ends, TIMES),
            "absolute-linear": zero_axis(ends, TIMES, "new over base"),
        }
    )
    subjects = [
        subject for subject in context.subjects if any(item.subject is subject for item in decided)
    ]
    return Chart(
        title="What the gate compared",
        caption="The ratio of new to base with the interval on which each verdict rests; right "
        "of the dashed line, new takes more. The strip is the margin: an interval "
        "entirely beyond it is a FAIL, one entirely below its upper end a PASS, and one "
        "that crosses the upper end decides nothing.",
        legend=_legend([item.verdict for item in decided]),
        panels=tuple(_panel(subject, decided, axis) for subject in subjects),
        columns=_columns(decided),
    )


def _ends(item: Decided) -> list[float]:
    """Return what the axis has to reach to show a verdict and its margin."""
    margin = 1 + item.verdict.margin.fraction
    ends = (1.0, margin, 1 / margin, item.effect.ratio, item.effect.ci_low, item.effect.ci_high)
    return [end for end in ends if end]


def _legend(verdicts: Sequence[Verdict]) -> tuple[Key, ...]:
    statuses = dict.fromkeys(verdict.status for verdict in verdicts)
    metrics = {verdict.metric for verdict in verdicts}
    sources = dict.fromkeys(verdict.margin.source for verdict in verdicts)
    keys = []
    for status in statuses:
        keys.append(Key(text=status, glyph="━", colour=STATUS_COLOUR.get(status, OTHER_COLOUR)))
    for metric, glyph in METRIC_GLYPH.items():
        if metric in metrics:
            keys.append(Key(text=metric, glyph=glyph))
    for source in sources:
        text = MARGIN_TEXT.get(source, source)
        keys.append(Key(text=text, glyph="▒", colour=MARGIN_COLOUR.get(source, OTHER_COLOUR)))
    return tuple(keys)


def _panel(subject: Subject, decided: Sequence[Decided], axis: Views) -> Panel:
    chosen = [item for item in decided if item.subject is subject]
    labels = list(dict.fromkeys(item.workload for item in chosen))
    questions = list(dict.fromkeys(item.question for item in chosen))
    line_of = dict(zip(questions, offsets(len(questions)), strict=True))
    ys = {}  # by the verdict's line in the chart's table
    strips = []
    for line, item in enumerate(decided):
        if item.subject is subject:
            ys[line] = labels.index(item.workload) + line_of[item.question]
            strips.append(_strip(item.verdict.margin, ys[line], 0.4 / len(questions)))
    traces = []
    for status in dict.fromkeys(item.verdict.status for item in chosen):
        lines = [line for line in ys if decided[line].verdict.status == status]
        colour = STATUS_COLOUR.get(status, OTHER_COLOUR)
        effects = [decided[line].effect for line in lines]
        metrics = [decided[line].verdict.metric for line in lines]
        traces.append(
            go.Scatter(
                x=[effect.ratio for effect in effects],
                y=[ys[line] for line in lines],
                mode="markers",
                name=plain(status),
                marker={
                    "color": colour,
                    "size": 9,
                    "symbol": [METRIC_SYMBOL.get(metric, "circle") for metric in metrics],
                },
                error_x=error_bars(
                    [effect.ratio for effect in effects],
                    [effect.ci_low for effect in effects],
                    [effect.ci_high for effect in effects],
                    colour,
                ),
                hoverinfo="text",
                meta={"table": lines},
            )
        )
    return panel_of(
        subject.label,
        traces,
        f"new over base of {len(chosen)} verdicts on {subject.label}",
        height=rows_height(len(labels), len(questions)),
        yaxis=rows_axis(labels),
        xaxis=axis.first,
        shapes=[*strips, vertical_line(1)],
        meta=rows_meta(labels, len(questions), axis),
    )


def _strip(margin: Margin, y: float, half: float) -> Json:
    """Return the strip of ratios within the margin, behind one verdict."""
    return {
        "type": "rect", "name": "margin", "layer": "below", "line": {"width": 0}, "opacity": 0.25,
        "x0": 1 / (1 + margin.fraction), "x1": 1 + margin.fraction,
        "yref": "y", "y0": y - half, "y1": y + half,
        "fillcolor": MARGIN_COLOUR.get(margin.source, OTHER_COLOUR),
    }  # fmt: skip


def _columns(decided: Sequence[Decided]) -> tuple[Column, ...]:
    verdicts = [item.verdict for item in decided]
    return (
        Column(name="target", values=[item.subject.label for item in decided]),
        Column(name="workload", values=[item.workload for item in decided]),
        Column(name="method", values=[method_words(verdict.new) for verdict in verdicts]),
        Column(name="base", values=[method_words(verdict.base) for verdict in verdicts]),
        Column(name="asked", values=[verdict.question for verdict in verdicts]),
        Column(name="verdict", values=[verdict.status for verdict in verdicts]),
        Column(name="change", values=[change_words(verdict.effect) for verdict in verdicts]),
        Column(name="margin", values=[verdict.margin.fraction for verdict in verdicts], unit="1"),
        Column(name="set by", values=[verdict.margin.source for verdict in verdicts]),
        Column(name="rounds", values=[str(verdict.rounds) for verdict in verdicts]),
        Column(name="cause", values=[verdict.cause for verdict in verdicts]),
        Column(name="reason", values=[verdict.reason for verdict in verdicts]),
    )
