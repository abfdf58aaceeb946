"""Bencher Metric Format: benchmark -> measure -> value and boundaries.

Its built-in measure ``latency`` is in nanoseconds. Other measures are created by the first report;
they have the names of our metrics, which end in the unit. Rows without a value are left out.
"""

from __future__ import annotations

import json

from reports.exports.source import ExportError, ExportSource
from reports.metrics.rows import Row

Measure = dict[str, float]


def to_bmf(source: ExportSource) -> str:
    """Return the run as BMF JSON.

    Raises:
        ExportError: no row has a value.
    """
    benchmarks: dict[str, dict[str, Measure]] = {}
    for row in source.rows:
        if row.value is not None:
            measures = benchmarks.setdefault(source.name(row), {})
            if row.metric == "latency_s":
                measures["latency"] = _figures(row, scale=1e9)
            else:
                measures[row.metric.replace("_", "-")] = _figures(row, scale=1.0)
    if not benchmarks:
        raise ExportError("nothing was measured, and BMF cannot express that")
    return json.dumps(benchmarks, allow_nan=False, indent=1) + "\n"


def _figures(row: Row, scale: float) -> Measure:
    figures = {"value": row.value, "lower_value": row.ci_low, "upper_value": row.ci_high}
    return {name: scale * value for name, value in figures.items() if value is not None}
