"""OpenMetrics text: gauges with their unit, for a Pushgateway or the node exporter's folder.

There are no timestamps, which the node exporter refuses, and only gauges, which older parsers know
too. A missing figure has no sample of its own; a sample of ``gfbench_missing`` has its status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reports.exports.source import ATTRIBUTES, ExportSource, attribute, moment
from reports.metrics.rows import Row
from reports.metrics.table import metric_label, metric_of

UNITS = {"s": "seconds", "B": "bytes", "J": "joules", "W": "watts", "degC": "celsius", "1": "ratio"}
PARTS = {"": ("value", ""), "_ci_low": ("ci_low", ", lower end of the 95 % interval"),
         "_ci_high": ("ci_high", ", upper end of the 95 % interval")}  # fmt: skip


def to_openmetrics(source: ExportSource) -> str:
    """Return an exposition that ends in ``# EOF``."""
    metrics = dict.fromkeys(row.metric for row in source.rows)
    families = [line for metric in metrics for line in _families(source.rows, metric)]
    lines = [*families, *_missing(source.rows), *_run(source), "# EOF"]
    return "\n".join(lines) + "\n"


def _families(rows: Iterable[Row], metric: str) -> Iterator[str]:
    """Yield the family of a metric, and the families of both ends of its interval."""
    own = [row for row in rows if row.metric == metric]
    unit = UNITS.get(own[0].unit, own[0].unit)
    stem = metric_of(metric).short_name
    for part, (field, words) in PARTS.items():
        samples = [(row, getattr(row, field)) for row in own if getattr(row, field) is not None]
        if samples:
            name = f"gfbench_{stem}{part}_{unit}"
            yield from _head(name, unit, f"{metric_label(metric)}{words}")
            for row, value in samples:
                yield f"{name}{_labels(_case(row))} {value!r}"


def _missing(rows: Iterable[Row]) -> Iterator[str]:
    absent = [row for row in rows if row.value is None]
    if absent:
        yield from _head("gfbench_missing", "", "a figure that is missing, and its status")
    for row in absent:
        labels = _case(row) | {"metric": row.metric, "status": row.status}
        yield f"gfbench_missing{_labels(labels)} 1"


def _run(source: ExportSource) -> Iterator[str]:
    """Yield the start of the run: one series has the run's id, so the others do not need it."""
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


def _case(row: Row) -> dict[str, str]:
    labels = {name: attribute(row, name) for name in ATTRIBUTES} | {"phase": row.phase}
    return {name: value for name, value in labels.items() if value}


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
