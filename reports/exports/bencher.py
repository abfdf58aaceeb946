"""Bencher Metric Format: benchmark -> measure -> value and boundaries.

Its built-in measure ``latency`` is in nanoseconds; the others are created with the first report,
named after our metrics with the unit in the name. What is missing is left out.
"""

from __future__ import annotations

import json

from reports.exports.source import ExportProblem, Source
from reports.rows import Row

Measure = dict[str, float]


def to_bmf(source: Source) -> str:
    """Return BMF JSON.

    Raises:
        ExportProblem: there is no figure to export.
    """
    benchmarks: dict[str, dict[str, Measure]] = {}
    for row in source.rows:
        if row.value is not None:
            measures = benchmarks.setdefault(source.name(row), {})
            name, scale = _measure(row.metric)
            measures[name] = _figures(row, scale)
    if not benchmarks:
        raise ExportProblem("nothing was measured, and BMF cannot express that")
    return json.dumps(benchmarks, allow_nan=False, indent=1) + "\n"


def _measure(metric: str) -> tuple[str, float]:
    return ("latency", 1e9) if metric == "latency_s" else (metric.replace("_", "-"), 1.0)


def _figures(row: Row, scale: float) -> Measure:
    figures = {"value": row.value, "lower_value": row.ci_low, "upper_value": row.ci_high}
    return {name: scale * value for name, value in figures.items() if value is not None}
