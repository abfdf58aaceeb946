"""OpenMetrics text: gauges with their unit, for a Pushgateway or the node exporter's folder.

Without timestamps, which the node exporter refuses, and with gauges only, which older parsers
know. What is missing has no sample of its own, but one of ``gfbench_missing`` that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reports.exports.source import ATTRIBUTES, Source, attribute, moment
from reports.rows import Row
from reports.wording import METRICS

UNITS = {"s": "seconds", "B": "bytes", "J": "joules", "W": "watts", "degC": "celsius", "1": "ratio"}
SUFFIXES = ("_s", "_bytes", "_j", "_w", "_c")  # units at the end of our own names
PARTS = {"": ("value", ""), "_ci_low": ("ci_low", ", lower end of the 95 % interval"),
         "_ci_high": ("ci_high", ", upper end of the 95 % interval")}  # fmt: skip


def to_openmetrics(source: Source) -> str:
    """Return an exposition that ends in ``# EOF``."""
    metrics = dict.fromkeys(row.metric for row in source.rows)
    families = [line for metric in metrics for line in _families(source.rows, metric)]
    lines = [*families, *_missing(source.rows), *_run(source), "# EOF"]
    return "\n".join(lines) + "\n"


def _families(rows: Iterable[Row], metric: str) -> Iterator[str]:
    """Yield the family of a metric and those of its interval's ends."""
    own = [row for row in rows if row.metric == metric]
    unit = UNITS[own[0].unit]
    for part, (field, words) in PARTS.items():
        samples = [(row, getattr(row, field)) for row in own]
        there = [(row, value) for row, value in samples if value is not None]
        if there:
            name = f"gfbench_{_stem(metric)}{part}_{unit}"
            yield from _head(name, unit, f"{METRICS.get(metric, metric)}{words}")
            for row, value in there:
                yield f"{name}{_labels(_case(row))} {value!r}"


def _missing(rows: Iterable[Row]) -> Iterator[str]:
    absent = [row for row in rows if row.value is None]
    if absent:
        yield from _head("gfbench_missing", "", "a figure that is missing, and its status")
    for row in absent:
        labels = _case(row) | {"metric": row.metric, "status": row.status}
        yield f"gfbench_missing{_labels(labels)} 1"


def _run(source: Source) -> Iterator[str]:
    """Yield when the run was: a series per run, so that others need not carry its id."""
    header = source.run.header
    name = "gfbench_run_timestamp_seconds"
    started = moment(header.started_at)
    if started is None:
        return
    yield from _head(name, "seconds", "start of the run, since the epoch")
    yield f"{name}{_labels({'run_id': header.run_id})} {started.timestamp()!r}"


def _head(name: str, unit: str, words: str) -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {words}"


def _stem(metric: str) -> str:
    for suffix in SUFFIXES:
        if metric.endswith(suffix):
            return metric.removesuffix(suffix)
    return metric


def _case(row: Row) -> dict[str, str]:
    labels = {name: attribute(row, name) for name in ATTRIBUTES} | {"phase": row.phase}
    return {name: value for name, value in labels.items() if value}


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
