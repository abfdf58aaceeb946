"""The data of one history page: all figures of one workload on one target, down-sampled. Pure.

All lines share the times, as they were measured in the same runs. The newest runs are drawn one by
one, older ones together: the median of a few runs and what they spanned. A point never mixes two
states of the machine. Levels and changes were found in all runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from reports.charts.style import Colours
from reports.metrics.table import metric_label
from reports.site.archive import Ints, RunFacts, Series
from reports.site.names import slug
from reports.site.trends import Change, Line, Trend
from reports.site.views import Fleet, change_words, environment_change, level_words
from reports.text.wording import method_label

SINGLE = 60
TOGETHER = 90
MAX_MARKS = 40

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where runs are drawn: one run, or a few of one machine state; numbers in order of time."""

    runs: tuple[int, ...]
    machine: int


def history_data(fleet: Fleet, lines: Sequence[Line]) -> Json:
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
    """Return when a run started; None where that cannot be told."""
    try:
        when = datetime.fromisoformat(run.started_at.replace("Z", "+00:00"))
    except ValueError:
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return int(aware.timestamp() * 1000)


def _points(lines: Sequence[Line]) -> list[Point]:
    longest = max(lines, key=lambda line: len(line.run))
    runs, machines = longest.run.tolist(), longest.machine.tolist()
    old = max(0, len(runs) - SINGLE)
    size = max(1, -(-old // TOGETHER))
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


def _line(line: Line, trend: Trend, points: Sequence[Point], fleet: Fleet) -> Json:
    series = line.series
    place = {run: n for n, run in enumerate(line.run.tolist())}
    at = {run: n for n, point in enumerate(points) for run in point.runs}
    values = [_drawn(line, [place[r] for r in point.runs if r in place]) for point in points]
    return {
        **_names(series, fleet.colours),
        "value": [value for value, _, _ in values],
        "low": [low for _, low, _ in values],
        "high": [high for _, _, high in values],
        "levels": [
            {
                "from": at.get(level.first_run),
                "to": at.get(level.last_run),
                "centre": level.centre,
                "words": level_words(level, series.unit),
                "runs": level.runs,
                "first": fleet.runs[level.first_run].run_id,
                "last": fleet.runs[level.last_run].run_id,
                "machine": fleet.machines[level.machine].fingerprint,
            }
            for level in trend.levels
        ],
        "changes": [_change(change, at, fleet) for change in _own_changes(series, fleet)],
    }


def _own_changes(series: Series, fleet: Fleet) -> list[Change]:
    found = [c for event in fleet.events for c in event.changes if c.series == series]
    return found + [change for change in fleet.watched if change.series == series]


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


def _drawn(line: Line, places: list[int]) -> tuple[float | None, float | None, float | None]:
    """Return the median of the runs and what they span; of one run its own interval."""
    if len(places) == 1:
        parts = (line.value[places[0]], line.low[places[0]], line.high[places[0]])
        value, low, high = (_short(float(part)) for part in parts)
        return value, low, high
    values = line.value[places]
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None, None
    return _short(float(np.median(values))), _short(values.min()), _short(values.max())


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _change(change: Change, at: dict[int, int], fleet: Fleet) -> Json:
    run = fleet.runs[change.run]
    return {
        "at": at.get(change.run),
        "ratio": change.ratio,
        "words": change_words(change),
        "verdict": verdict_of(change),
        "run": run.run_id,
        "page": slug(run.run_id),
        "since": change.runs_since,
        "kernel": change.kernel_changed,
    }


def verdict_of(change: Change) -> str:
    """Return regression, improvement, or watched: nothing is called either before it stands out."""
    if not change.told:
        return "watched"
    return "regression" if change.worse else "improvement"


def _marks(lines: Sequence[Line], fleet: Fleet) -> list[Json]:
    """Return where the machine or a kernel became another one, the newest ones."""
    marks: dict[tuple[int, str], Json] = {}
    for line in lines:
        for n in _where_it_changes(line.machine):
            before, after = (fleet.machines[line.machine[k]] for k in (n - 1, n))
            words = f"machine: {environment_change(before, after)}"
            marks[int(line.run[n]), words] = _mark(int(line.run[n]), "machine", words, fleet)
        for n in _where_it_changes(line.kernel):
            old, new = (fleet.archive.kernels.all[line.kernel[k]] for k in (n - 1, n))
            versions = [
                f"{one.version or '?'} ({one.sha256[:8] or 'no hash'})" for one in (old, new)
            ]
            words = f"kernel {new.name}: {versions[0]} → {versions[1]}"
            marks[int(line.run[n]), words] = _mark(int(line.run[n]), "kernel", words, fleet)
    ordered = sorted(marks.values(), key=lambda mark: mark["t"] or 0)
    return ordered[-MAX_MARKS:]


def _where_it_changes(column: Ints) -> list[int]:
    return (np.flatnonzero(np.diff(column)) + 1).tolist()


def _mark(run: int, kind: str, words: str, fleet: Fleet) -> Json:
    facts = fleet.runs[run]
    return {"t": epoch_ms(facts), "kind": kind, "words": words, "run": facts.run_id}
