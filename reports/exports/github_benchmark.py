"""github-action-benchmark: one file for what should be small, one for what should be large.

The action compares bare numbers from run to run, so each unit is fixed, never chosen by size.
"""

from __future__ import annotations

import json
from typing import Any

from reports.exports.source import ExportProblem, Source
from reports.metrics.rows import Row
from reports.text.wording import significant

# What has no better direction (power, temperature, a scale whose best value is 1) is left out.
SMALLER = (
    "latency_s",
    "peak_rss_bytes",
    "cuda_peak_bytes",
    "saved_bytes",
    "system_dip_bytes",
    "rel_error_gx",
    "rel_error_gw",
    "energy_j",
)
BIGGER = ("speedup", "floor_fraction", "cosine_gx", "cosine_gw")
SCALES = {"s": (1e3, "ms"), "J": (1e3, "mJ"), "B": (1 / 2**20, "MiB"), "1": (1.0, "ratio")}
LABELS = {"latency_s": "latency", "energy_j": "energy"}


def smaller_is_better(source: Source) -> str:
    """Return the file for tool ``customSmallerIsBetter``."""
    return _entries(source, SMALLER)


def bigger_is_better(source: Source) -> str:
    """Return the file for tool ``customBiggerIsBetter``."""
    return _entries(source, BIGGER)


def _entries(source: Source, metrics: tuple[str, ...]) -> str:
    rows = [row for row in source.rows if row.metric in metrics and row.value is not None]
    if not rows:
        raise ExportProblem("nothing was measured, and the action refuses an empty file")
    return json.dumps([_entry(source, row) for row in rows], allow_nan=False, indent=1) + "\n"


def _entry(source: Source, row: Row) -> dict[str, Any]:
    assert row.value is not None
    scale, unit = SCALES[row.unit]
    label = LABELS.get(row.metric, row.metric.removesuffix("_bytes").replace("_", " "))
    entry: dict[str, Any] = {
        "name": f"{source.name(row)} {label}",
        "unit": unit,
        "value": scale * row.value,
    }
    extra = [f"{row.n} rounds", *([row.reason] if row.reason else [])]
    if row.ci_low is not None and row.ci_high is not None:
        # The action reads one half-width: the longer arm, so that it never promises too much.
        arm = scale * max(row.ci_high - row.value, row.value - row.ci_low)
        entry["range"] = f"± {significant(arm)}"
        extra.insert(
            0,
            f"95 %: {significant(scale * row.ci_low)} to {significant(scale * row.ci_high)} {unit}",
        )
    entry["extra"] = "\n".join(extra)
    return entry
