"""The data of one history page: all figures of one workload on one target, down-sampled. Pure.

All lines share their points, because they were measured in the same runs. Each of the newest runs
is a point; older runs share points, with their median and range. A point never mixes two states of
the machine. Levels and changes are those of all runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from reports.charts.style import Colours
from reports.metrics.table import metric_label
from reports.site.archive import Ints, KernelVersion, RunFacts, Series
from reports.site.names import slug
from reports.site.trends import History, HistoryAnalysis, LevelChange
from reports.site.views import Fleet, change_words, environment_change, level_words
from reports.text.wording import method_label

SINGLE_POINTS = 60  # of the newest runs
SHARED_POINTS = 90  # at most about so many, of all older runs
MAX_MARKS = 40

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of the chart: the numbers of one or a few runs of one machine state."""

    runs: tuple[int, ...]
    machine: int


def history_data(fleet: Fleet, lines: Sequence[History]) -> Json:
    """Return what the page's script draws."""
    points = _points(lines)
    return {
        "points": [_point(point, fleet) for point in points],
        "lines": [
            _line(line, fleet.trends[line.series], points, fleet)
            for line in lines
            if np.isfinite(line.value).any()
        ],
        "marks": _marks(lines, fleet),
        "metrics": {line.series.metric: metric_label(line.series.metric) for line in lines},
        "runs": len({run for line in lines for run in line.run.tolist()}),
    }


def epoch_ms(run: RunFacts) -> int | None:
    """Return the start of a run in milliseconds since the epoch; None if it is not valid."""
    try:
        when = datetime.fromisoformat(run.started_at.replace("Z", "+00:00"))
    except ValueError:
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return int(aware.timestamp() * 1000)


def _points(lines: Sequence[History]) -> list[Point]:
    longest = max(lines, key=lambda line: len(line.run))
    runs, machines = longest.run.tolist(), longest.machine.tolist()
    old = max(0, len(runs) - SINGLE_POINTS)
    size = max(1, -(-old // SHARED_POINTS))  # runs in a shared point, rounded up
    points: list[Point] = []
    for run, machine in zip(runs[:old], machines[:old], strict=True):
        if points and points[-1].machine == machine and len(points[-1].runs) < size:
            points[-1] = Point(runs=(*points[-1].runs, run), machine=machine)
        else:
            points.append(Point(runs=(run,), machine=machine))
    newest = zip(runs[old:], machines[old:], strict=True)
    return points + [Point(runs=(run,), machine=machine) for run, machine in newest]


def _point(point: Point, fleet: Fleet) -> list[Any]:
    """Return time, machine state, number of runs, and the newest run's name and page."""
    run = fleet.runs[point.runs[-1]]
    return [epoch_ms(run), point.machine, len(point.runs), run.run_id, slug(run.run_id)]


def _line(line: History, trend: HistoryAnalysis, points: Sequence[Point], fleet: Fleet) -> Json:
    series = line.series
    index_of = {run: index for index, run in enumerate(line.run.tolist())}
    point_of = {run: index for index, point in enumerate(points) for run in point.runs}
    values = []
    for point in points:
        values.append(_drawn(line, [index_of[run] for run in point.runs if run in index_of]))
    return {
        **_names(series, fleet.colours),
        "value": [value for value, _, _ in values],
        "low": [low for _, low, _ in values],
        "high": [high for _, _, high in values],
        "levels": [
            {
                "from": point_of.get(level.first_run),
                "to": point_of.get(level.last_run),
                "centre": level.centre,
                "words": level_words(level, series.unit),
                "runs": level.runs,
                "first": fleet.runs[level.first_run].run_id,
                "last": fleet.runs[level.last_run].run_id,
                "machine": fleet.machines[level.machine].fingerprint,
            }
            for level in trend.levels
        ],
        "changes": [_change(change, point_of, fleet) for change in _own_changes(series, fleet)],
    }


def _own_changes(series: Series, fleet: Fleet) -> list[LevelChange]:
    changes = [c for event in fleet.events for c in event.changes if c.series == series]
    return changes + [change for change in fleet.watched if change.series == series]


def _names(series: Series, colours: Colours) -> Json:
    return {
        "metric": series.metric,
        "phase": series.phase,
        "unit": series.unit,
        "method": method_label(series.method, series.patch_size, series.kernel),
        "kernel": series.kernel,
        "setting": f"{series.device} {series.dtype} b{series.batch}",
        "colour": colours[series.method, series.patch_size, series.kernel],
    }


def _drawn(line: History, indices: list[int]) -> tuple[float | None, float | None, float | None]:
    """Return value, low and high of a point: median and range, or the interval of one run."""
    if len(indices) == 1:
        (index,) = indices
        return _rounded(line.value[index]), _rounded(line.low[index]), _rounded(line.high[index])
    values = line.value[indices]
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None, None
    return _rounded(float(np.median(values))), _rounded(values.min()), _rounded(values.max())


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _change(change: LevelChange, point_of: dict[int, int], fleet: Fleet) -> Json:
    run = fleet.runs[change.run]
    return {
        "at": point_of.get(change.run),
        "ratio": change.ratio,
        "words": change_words(change),
        "verdict": verdict_of(change),
        "run": run.run_id,
        "page": slug(run.run_id),
        "since": change.runs_since,
        "kernel": change.kernel_changed,
    }


def verdict_of(change: LevelChange) -> str:
    """Return regression or improvement; watched for changes that are not significant yet."""
    if not change.significant:
        return "watched"
    return "regression" if change.worse else "improvement"


def _marks(lines: Sequence[History], fleet: Fleet) -> list[Json]:
    """Return marks for the newest changes of the machine or of a kernel."""
    kernels = fleet.archive.kernels.all
    marks: dict[tuple[int, str], Json] = {}
    for line in lines:
        for index in _changes_in(line.machine):
            before, after = line.machine[index - 1], line.machine[index]
            change = environment_change(fleet.machines[before], fleet.machines[after])
            _add_mark(marks, fleet, int(line.run[index]), "machine", f"machine: {change}")
        for index in _changes_in(line.kernel):
            old, new = kernels[line.kernel[index - 1]], kernels[line.kernel[index]]
            text = f"kernel {new.name}: {_version(old)} → {_version(new)}"
            _add_mark(marks, fleet, int(line.run[index]), "kernel", text)
    ordered = sorted(marks.values(), key=lambda mark: mark["t"] or 0)
    return ordered[-MAX_MARKS:]


def _changes_in(column: Ints) -> list[int]:
    """Return the indices at which the value differs from the one before."""
    return (np.flatnonzero(np.diff(column)) + 1).tolist()


def _version(kernel: KernelVersion) -> str:
    return f"{kernel.version or '?'} ({kernel.sha256[:8] or 'no hash'})"


def _add_mark(
    marks: dict[tuple[int, str], Json], fleet: Fleet, run: int, kind: str, text: str
) -> None:
    facts = fleet.runs[run]
    mark = {"t": epoch_ms(facts), "kind": kind, "words": text, "run": facts.run_id}
    marks[run, text] = mark
