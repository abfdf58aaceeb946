"""What the histories of all figures amount to: lines of runs, their levels, and changes.

A line is one series in the order of time. Levels and steps are found within each state of a
machine (its fingerprint): what differs between two states is the environment's doing, marked but
never called a regression.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from reports.metrics.table import lower_is_better
from reports.site.archive import Archive, Column, Ints, Series
from reports.stats.change_points import (
    MIN_MAGNITUDE,
    WIDTHS,
    Analysis,
    Floats,
    LevelShift,
    analyse,
)

FALSE_DISCOVERIES = 0.05
ALGORITHM = "1"  # another number makes every history be judged anew


@dataclass(frozen=True, kw_only=True)
class Line:
    """One series in the order of time; all columns have one entry per run."""

    series: Series
    run: Ints
    machine: Ints
    kernel: Ints
    value: Floats
    low: Floats
    high: Floats
    n: Ints
    status: Ints
    reason: Ints
    of_exact: Floats

    @property
    def latest(self) -> int:
        """The place of the newest run."""
        return len(self.run) - 1


@dataclass(frozen=True, kw_only=True)
class Level:
    """Runs of one machine state at one level; ``centre`` and its interval in the figure's unit."""

    machine: int
    first_run: int
    last_run: int
    runs: int
    centre: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A step in one line: the ratio of the new level to the old one, with its 95 % interval.

    ``kernel_changed`` where the kernel's source is another one from this run on. ``told`` once the
    step stands out among all figures of the target; before that it is only watched.
    """

    series: Series
    machine: int
    run: int
    run_before: int
    runs_since: int
    ratio: float
    low: float
    high: float
    settled: bool
    p: float
    kernel_changed: bool
    told: bool = False

    @property
    def worse(self) -> bool:
        """Whether the new level is the worse one."""
        return (self.ratio > 1) == lower_is_better(self.series.metric)


@dataclass(frozen=True, kw_only=True)
class Trend:
    """What one line amounts to."""

    levels: tuple[Level, ...]
    changes: tuple[Change, ...]


def lines_of(archive: Archive) -> dict[Series, Line]:
    """Return every series as a line in the order of time."""
    columns = archive.columns()
    rank = np.empty(len(archive.runs), dtype=np.int64)
    times = [(run.started_at, run.run_id) for run in archive.runs]
    rank[sorted(range(len(times)), key=times.__getitem__)] = np.arange(len(times))
    order = np.lexsort((rank[columns["run"]], columns["series"]))
    ordered = {name: column[order] for name, column in columns.items()}
    starts = np.searchsorted(ordered["series"], np.arange(len(archive.series.all) + 1))
    return {
        series: _line(series, ordered, slice(int(starts[place]), int(starts[place + 1])))
        for place, series in enumerate(archive.series.all)
        if starts[place] < starts[place + 1]
    }


def _line(series: Series, columns: Mapping[str, Column], part: slice) -> Line:
    own = {name: column[part] for name, column in columns.items() if name != "series"}
    return Line(series=series, **own)


def hash_of(lines: Sequence[Line], *texts: str) -> str:
    """Return what changes with any figure of the lines, and with the texts."""
    digest = hashlib.sha256("\0".join((ALGORITHM, *texts)).encode())
    for line in lines:
        digest.update(repr(line.series).encode())
        for column in (line.run, line.machine, line.kernel, line.value, line.low, line.high):
            digest.update(np.ascontiguousarray(column).tobytes())
        digest.update(line.status.tobytes())
    return digest.hexdigest()[:32]


def trend_of(line: Line, margin: float = MIN_MAGNITUDE) -> Trend:
    """Return the levels and changes of one line, for each machine state by itself."""
    levels: list[Level] = []
    changes: list[Change] = []
    for machine in dict.fromkeys(line.machine.tolist()):
        places = np.flatnonzero((line.machine == machine) & (line.value > 0))
        if len(places):
            analysis = analyse(np.log(line.value[places]), magnitude=margin)
            levels += _levels(line, machine, places, analysis)
            changes += _changes(line, machine, places, analysis)
    return Trend(levels=tuple(levels), changes=tuple(changes))


def _levels(line: Line, machine: int, places: Ints, analysis: Analysis) -> Iterator[Level]:
    for segment in analysis.segments:
        yield Level(
            machine=machine,
            first_run=int(line.run[places[segment.first]]),
            last_run=int(line.run[places[segment.end - 1]]),
            runs=segment.end - segment.first,
            centre=float(np.exp(segment.centre)),
            low=None if segment.low is None else float(np.exp(segment.low)),
            high=None if segment.high is None else float(np.exp(segment.high)),
        )


def _changes(line: Line, machine: int, places: Ints, analysis: Analysis) -> Iterator[Change]:
    for step in analysis.shifts:
        here, before = places[step.at], places[step.at - 1]
        yield Change(
            series=line.series,
            machine=machine,
            run=int(line.run[here]),
            run_before=int(line.run[before]),
            runs_since=len(places) - step.at,
            ratio=float(np.exp(step.shift)),
            low=float(np.exp(step.low)),
            high=float(np.exp(step.high)),
            settled=step.settled,
            p=_chance(step, len(places)),
            kernel_changed=bool(line.kernel[here] != line.kernel[before]),
        )


def _chance(step: LevelShift, runs: int) -> float:
    """Return the p-value corrected for all places and widths at which a step was looked for."""
    return min(1.0, step.p * (runs if step.settled else len(WIDTHS)))


def told(changes: Sequence[Change], figures: int) -> tuple[Change, ...]:
    """Mark the changes that stand out among so many figures (Benjamini-Hochberg, 5 %).

    A target has hundreds of figures: one alarm in a thousand runs of each is one every few runs.
    """
    ordered = sorted(changes, key=lambda change: change.p)
    passed = [
        place
        for place, change in enumerate(ordered, 1)
        if change.p <= FALSE_DISCOVERIES * place / max(1, figures)
    ]
    number = max(passed, default=0)
    return tuple(replace(change, told=place < number) for place, change in enumerate(ordered))


def to_json(trends: Mapping[Series, Trend]) -> list[Any]:
    """Return trends as JSON, for the next build."""
    return [[list(series), asdict(trend)] for series, trend in trends.items()]


def from_json(kept: list[Any]) -> dict[Series, Trend]:
    """Return the trends that an earlier build kept.

    Raises:
        KeyError, TypeError, ValueError: they are none.
    """
    found = {}
    for key, trend in kept:
        levels = tuple(Level(**level) for level in trend["levels"])
        changes = tuple(
            Change(**{**change, "series": Series(*change["series"])}) for change in trend["changes"]
        )
        found[Series(*key)] = Trend(levels=levels, changes=changes)
    return found
