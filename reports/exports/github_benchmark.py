"""github-action-benchmark: one file of metrics to minimise, one of metrics to maximise.

The action compares plain numbers between runs, so a metric always has the same unit, whatever its
size.
"""

from __future__ import annotations

import json
from typing import Any

from reports.exports.source import ExportError, ExportSource
from reports.metrics.rows import Row
from reports.metrics.table import exported_metrics, metric_of
from reports.text.wording import significant

SCALES = {"s": (1e3, "ms"), "J": (1e3, "mJ"), "B": (1 / 2**20, "MiB"), "1": (1.0, "ratio")}


def smaller_is_better(source: ExportSource) -> str:
    """Return the file for tool ``customSmallerIsBetter``."""
    return _entries(source, lower_is_better=True)


def bigger_is_better(source: ExportSource) -> str:
    """Return the file for tool ``customBiggerIsBetter``."""
    return _entries(source, lower_is_better=False)


def _entries(source: ExportSource, *, lower_is_better: bool) -> str:
    """Return the metrics of one direction; what has none (power, temperature) is left out."""
    metrics = {m.name for m in exported_metrics() if m.lower_is_better is lower_is_better}
    rows = [row for row in source.rows if row.metric in metrics and row.value is not None]
    if not rows:
        raise ExportError("nothing was measured, and the action refuses an empty file")
    return json.dumps([_entry(source, row) for row in rows], allow_nan=False, indent=1) + "\n"


def _entry(source: ExportSource, row: Row) -> dict[str, Any]:
    assert row.value is not None
    scale, unit = SCALES.get(row.unit, (1.0, row.unit))
    label = metric_of(row.metric).short_name.replace("_", " ")
    entry: dict[str, Any] = {
        "name": f"{source.name(row)} {label}",
        "unit": unit,
        "value": scale * row.value,
    }
    extra = [f"{row.n} rounds", *([row.reason] if row.reason else [])]
    if row.ci_low is not None and row.ci_high is not None:
        # The action reads one half-width. The longer arm never makes the interval too narrow.
        arm = scale * max(row.ci_high - row.value, row.value - row.ci_low)
        entry["range"] = f"± {significant(arm)}"
        extra.insert(
            0,
            f"95 %: {significant(scale * row.ci_low)} to {significant(scale * row.ci_high)} {unit}",
        )
    entry["extra"] = "\n".join(extra)
    return entry
