"""The distinct conversions of a power sensor, and their times, from reads that repeat them.

Most sensors convert on a schedule of their own and hold the value in between, so a reader only
sees that a value changed between two reads. Together, these brackets determine the schedule
(period and offset) to a small part of a read interval, and with it the time of each conversion.
Equal values one update interval apart are two conversions: under a steady load, values repeat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.energy.series import RailSeries
from reports.results.power import FloatArray

# The oscillators of power monitors are good to 10 % (TI INA3221, conversion time typ./max.).
PERIOD_TOLERANCE = 0.12
MIN_CHANGES = 3  # fewer changes of the value do not determine a schedule
MIN_CONSISTENT = 0.95  # share of the changes that must fit the schedule
CANDIDATE_PERIODS = 161  # tried in each pass of the search
FIRST_CHANGES = 16  # in the first pass; each further pass doubles them
MIN_FEASIBLE_PERIODS = 10  # candidates that must fit, so that their range is known ...
MAX_ZOOMS = 3  # ... unless the range was narrowed this often


@dataclass(frozen=True, kw_only=True)
class Conversions:
    """One value per conversion of the sensor, at the instant at which it was converted.

    ``period_s`` is None for a sensor that converts when it is read. ``earliest_s`` and
    ``latest_s`` bound each instant by the reads alone, whatever the schedule. ``slack_s`` and
    ``period_slack_s`` are the uncertainties of the schedule's instants and of its period.
    """

    times_s: FloatArray
    values: FloatArray
    earliest_s: FloatArray
    latest_s: FloatArray
    period_s: float | None
    slack_s: float
    period_slack_s: float = 0.0

    @property
    def slip_s(self) -> float:
        """Return how far the last instant may be off relative to the first."""
        return self.period_slack_s * self.times_s.size


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A sensor converts at ``offset_s + k period_s``; the slacks are their uncertainties."""

    period_s: float
    offset_s: float
    slack_s: float
    period_slack_s: float


def conversions(series: RailSeries) -> Conversions:
    """Return the distinct conversions in the reads of a power rail."""
    nominal_s = series.rail.update_interval_s
    if nominal_s is None or nominal_s < series.interval_s / 2:
        return _deduplicated(series, None)
    changed = np.flatnonzero(np.diff(series.values) != 0)
    if changed.size < MIN_CHANGES:
        # The values of a steady load determine no schedule. The nominal one is good enough: it
        # only serves to detect aliasing.
        nominal = Schedule(
            period_s=nominal_s,
            offset_s=float(series.times_s[0]),
            slack_s=0.0,
            period_slack_s=0.0,
        )
        return _on_schedule(series, nominal)
    schedule = fit_schedule(series.times_s[changed], series.times_s[changed + 1], nominal_s)
    if schedule is None:
        return _deduplicated(series, nominal_s)
    return _on_schedule(series, schedule)


def fit_schedule(before_s: FloatArray, after_s: FloatArray, nominal_s: float) -> Schedule | None:
    """Return the schedule that agrees with the changes; None if none agrees with 95 % of them.

    Change i happened in (before_s[i], after_s[i]]. Over many periods only a very exact period
    fits, so the search starts around the nominal period with the first few changes; each pass
    doubles them and narrows the range. Once all changes take part, the range is narrowed until
    enough candidates fit to show the uncertainty of the period.
    """
    narrow = after_s - before_s < 0.98 * nominal_s
    before_s, after_s = before_s[narrow], after_s[narrow]
    if before_s.size < MIN_CHANGES:
        return None
    width_s = float(np.median(after_s - before_s))
    centre_s, half_range_s = nominal_s, PERIOD_TOLERANCE * nominal_s
    count, zooms = min(FIRST_CHANGES, before_s.size), 0
    while True:
        schedule, feasible = _best_period(before_s[:count], after_s[:count], centre_s, half_range_s)
        if schedule is None:
            return None
        if count < before_s.size:
            periods = (after_s[count - 1] - before_s[0]) / schedule.period_s
            half_range_s = min(half_range_s, 2 * width_s / max(periods, 1.0))
            count = min(2 * count, before_s.size)
        elif feasible >= MIN_FEASIBLE_PERIODS or zooms == MAX_ZOOMS:
            return schedule
        else:
            half_range_s = schedule.period_slack_s + half_range_s / 40
            zooms += 1
        centre_s = schedule.period_s


def _best_period(
    before_s: FloatArray, after_s: FloatArray, centre_s: float, half_range_s: float
) -> tuple[Schedule | None, int]:
    """Return the schedule in the middle of the best ones, and how many candidate periods fit.

    For each candidate period the brackets are folded modulo the period. The offset lies where
    most of the folded brackets overlap: a sweep over their sorted edges counts the overlaps.
    """
    periods = np.linspace(centre_s - half_range_s, centre_s + half_range_s, CANDIDATE_PERIODS)[
        :, None
    ]  # (periods, 1)
    origin_s = before_s[0]
    start = (before_s - origin_s)[None, :] % periods  # (periods, changes)
    end = start + (after_s - before_s)[None, :]
    wraps = end > periods
    edges = np.concatenate([start, end - wraps * periods], axis=1)  # (periods, 2 changes)
    opening = np.concatenate([np.ones_like(start), -np.ones_like(start)], axis=1)
    order = np.argsort(edges, axis=1)
    edges = np.take_along_axis(edges, order, axis=1)
    opening = np.take_along_axis(opening, order, axis=1)
    overlaps = wraps.sum(axis=1)[:, None] + np.cumsum(opening, axis=1)
    next_edges = np.concatenate([edges[:, 1:], edges[:, :1] + periods], axis=1)
    # The widest stretch of those with the most overlaps.
    best_edge = np.argmax(overlaps + 1e-6 * (next_edges - edges) / periods, axis=1)
    rows = np.arange(periods.size)
    width = (next_edges - edges)[rows, best_edge]
    peak = overlaps[rows, best_edge]
    if peak.max() < MIN_CONSISTENT * before_s.size:
        return None, 0
    feasible = np.flatnonzero(peak == peak.max())
    best = feasible[np.argmax(width[feasible])]
    half_width_s = width[best] / 2
    schedule = Schedule(
        period_s=float(periods[best, 0]),
        offset_s=float(origin_s + edges[best, best_edge[best]] + half_width_s),
        slack_s=float(half_width_s),
        period_slack_s=float(np.ptp(periods[feasible]) / 2),
    )
    return schedule, int(feasible.size)


def _on_schedule(series: RailSeries, schedule: Schedule) -> Conversions:
    """Take for each conversion the read nearest to the middle of the time its value is held."""
    times_s, period_s = series.times_s, schedule.period_s
    position = (times_s - schedule.offset_s) / period_s
    number = np.floor(position).astype(np.int64)  # of the conversion that each read shows
    order = np.lexsort((np.abs(position - number - 0.5), number))
    middle = order[np.unique(number[order], return_index=True)[1]]
    number, first = np.unique(number, return_index=True)
    last = np.append(first[1:], times_s.size) - 1
    # A value read at t was converted at most one period before t, and not before it changed.
    run_first = _run_starts(series.values)
    first = np.maximum(first, run_first[middle])
    last = np.where(run_first[last] == run_first[middle], last, middle)
    changed_s = np.where(run_first > 0, times_s[run_first - 1], -np.inf)
    earliest_s = np.maximum(changed_s[last], times_s[last] - period_s)
    return Conversions(
        times_s=np.asarray(schedule.offset_s + number * period_s, dtype=np.float64),
        values=series.values[middle],
        earliest_s=earliest_s,
        latest_s=times_s[first],
        period_s=period_s,
        slack_s=schedule.slack_s,
        period_slack_s=schedule.period_slack_s,
    )


def _run_starts(values: FloatArray) -> NDArray[np.int64]:
    """Return for each read the index of the first read in its run of equal values."""
    changed = np.concatenate([[False], np.diff(values) != 0])
    return np.maximum.accumulate(np.where(changed, np.arange(changed.size), 0))


def _deduplicated(series: RailSeries, update_interval_s: float | None) -> Conversions:
    """Take each read as a conversion, unless it repeats the value within one update interval.

    If reads follow each other faster than conversions, the instants are only known to a read
    interval. If reads are further apart, each shows a different conversion.
    """
    times_s, values = series.times_s, series.values
    kept = np.arange(times_s.size)
    if update_interval_s is not None:
        kept = np.array(_distinct(times_s, values, update_interval_s))
    repeats = update_interval_s is not None and update_interval_s > series.interval_s
    return Conversions(
        times_s=times_s[kept],
        values=values[kept],
        earliest_s=times_s[np.clip(kept - 1, 0, None)],
        latest_s=times_s[kept],
        period_s=update_interval_s,
        slack_s=series.interval_s / 2 if repeats else 0.0,
        period_slack_s=series.interval_s / kept.size if repeats else 0.0,
    )


def _distinct(times_s: FloatArray, values: FloatArray, update_interval_s: float) -> list[int]:
    """Return the indices of reads that differ from, or are an update interval after, the last."""
    kept = [0]
    for index in range(1, times_s.size):
        elapsed_s = times_s[index] - times_s[kept[-1]]
        if values[index] != values[kept[-1]] or elapsed_s >= update_interval_s:
            kept.append(index)
    return kept
