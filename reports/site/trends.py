"""Trends in the histories of all figures: their levels, and the changes between them.

A history is one series in the order of time. Levels and shifts are found separately in each state
of a machine (its fingerprint): a difference between two states is due to the environment; it is
marked, but never called a regression.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from reports.metrics.table import lower_is_better
from reports.site.archive import Archive, Ints, Series
from reports.stats.change_points import (
    MIN_MAGNITUDE,
    WIDTHS,
    Analysis,
    Floats,
    LevelShift,
    analyse,
)

FALSE_DISCOVERY_RATE = 0.05
ALGORITHM = "1"  # a new number makes the next build analyse every history again


@dataclass(frozen=True, kw_only=True)
class History:
    """One series in the order of time; all columns have one entry for each run."""

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
class LevelChange:
    """A shift in one history: the ratio of the new level to the old one, with its 95 % interval.

    ``kernel_changed``: the kernel's source changed in the same run. ``significant``: the shift is
    significant among all figures of the target; until then it is only watched.
    """

    series: Series
    machine: int
    run: int

    runs_since: int
    ratio: float
    low: float
    high: float
    settled: bool
    p: float
    kernel_changed: bool
    significant: bool = False

    @property
    def worse(self) -> bool:
        """Whether the new level is worse."""
        return (self.ratio > 1) == lower_is_better(self.series.metric)


@dataclass(frozen=True, kw_only=True)
class HistoryAnalysis:
    """The levels of one history and the changes between them."""

    levels: tuple[Level, ...]
    changes: tuple[LevelChange, ...]


def lines_of(archive: Archive) -> dict[Series, History]:
    """Return the history of every series."""
    columns = archive.columns()
    times = [(run.started_at, run.run_id) for run in archive.runs]
    rank = np.empty(len(times), dtype=np.int64)  # of each run in the order of time
    rank[sorted(range(len(times)), key=times.__getitem__)] = np.arange(len(times))
    order = np.lexsort((rank[columns["run"]], columns["series"]))
    ordered = {name: column[order] for name, column in columns.items()}
    bounds = np.searchsorted(ordered.pop("series"), np.arange(len(archive.series.all) + 1))
    histories = {}
    for series, first, end in zip(archive.series.all, bounds[:-1], bounds[1:], strict=True):
        if first < end:
            own = {name: column[first:end] for name, column in ordered.items()}
            histories[series] = History(series=series, **own)
    return histories


def hash_of(lines: Sequence[History], *texts: str) -> str:
    """Return a hash of the histories' figures and of the texts."""
    digest = hashlib.sha256("\0".join((ALGORITHM, *texts)).encode())
    for line in lines:
        digest.update(repr(line.series).encode())
        for column in (line.run, line.machine, line.kernel, line.value, line.low, line.high):
            digest.update(np.ascontiguousarray(column).tobytes())
        digest.update(line.status.tobytes())
    return digest.hexdigest()[:32]


def trend_of(line: History, margin: float = MIN_MAGNITUDE) -> HistoryAnalysis:
    """Return the levels and changes of one history, separately for each machine state.

    ``margin`` is the smallest change that counts, as a logarithm.
    """
    levels: list[Level] = []
    changes: list[LevelChange] = []
    for machine in dict.fromkeys(line.machine.tolist()):
        indices = np.flatnonzero((line.machine == machine) & (line.value > 0))
        if len(indices):
            analysis = analyse(np.log(line.value[indices]), magnitude=margin)
            levels += _levels(line, machine, indices, analysis)
            changes += _changes(line, machine, indices, analysis)
    return HistoryAnalysis(levels=tuple(levels), changes=tuple(changes))


def _levels(line: History, machine: int, indices: Ints, analysis: Analysis) -> Iterator[Level]:
    for segment in analysis.segments:
        yield Level(
            machine=machine,
            first_run=int(line.run[indices[segment.first]]),
            last_run=int(line.run[indices[segment.end - 1]]),
            runs=segment.end - segment.first,
            centre=float(np.exp(segment.centre)),
            low=None if segment.low is None else float(np.exp(segment.low)),
            high=None if segment.high is None else float(np.exp(segment.high)),
        )


def _changes(
    line: History, machine: int, indices: Ints, analysis: Analysis
) -> Iterator[LevelChange]:
    for shift in analysis.shifts:
        here, before = indices[shift.at], indices[shift.at - 1]
        yield LevelChange(
            series=line.series,
            machine=machine,
            run=int(line.run[here]),
            runs_since=len(indices) - shift.at,
            ratio=float(np.exp(shift.shift)),
            low=float(np.exp(shift.low)),
            high=float(np.exp(shift.high)),
            settled=shift.settled,
            p=_corrected_p(shift, len(indices)),
            kernel_changed=bool(line.kernel[here] != line.kernel[before]),
        )


def _corrected_p(shift: LevelShift, runs: int) -> float:
    """Return the p-value with a Bonferroni correction for the positions or widths searched."""
    searched = runs if shift.settled else len(WIDTHS)
    return min(1.0, shift.p * searched)


def mark_significant(changes: Sequence[LevelChange], figures: int) -> tuple[LevelChange, ...]:
    """Mark the changes that are significant among the figures of a target (Benjamini-Hochberg).

    A target has hundreds of figures: with one false alarm of each in a thousand runs, there would
    be one every few runs.
    """
    ordered = sorted(changes, key=lambda change: change.p)
    significant = 0
    for rank, change in enumerate(ordered, start=1):
        if change.p <= FALSE_DISCOVERY_RATE * rank / max(1, figures):
            significant = rank
    marked = []
    for index, change in enumerate(ordered):
        marked.append(replace(change, significant=index < significant))
    return tuple(marked)


def to_json(trends: Mapping[Series, HistoryAnalysis]) -> list[Any]:
    """Return trends as JSON, which the next build reads."""
    return [[list(series), asdict(trend)] for series, trend in trends.items()]


def from_json(kept: list[Any]) -> dict[Series, HistoryAnalysis]:
    """Return the trends that an earlier build kept.

    Raises:
        KeyError, TypeError, ValueError: the JSON is not valid, or from another version.
    """
    trends = {}
    for key, trend in kept:
        levels = tuple(Level(**level) for level in trend["levels"])
        changes = []
        for change in trend["changes"]:
            changes.append(LevelChange(**{**change, "series": Series(*change["series"])}))
        trends[Series(*key)] = HistoryAnalysis(levels=levels, changes=tuple(changes))
    return trends
