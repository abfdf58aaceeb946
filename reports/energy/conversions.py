"""The distinct conversions of a power sensor, and when they were, from reads that repeat them.

Most sensors convert on a schedule of their own and hold the value between; the reader sees each
change only as "between these two reads". From all those brackets the schedule (period and
offset) follows to a small part of a read interval, and with it the instant at which every value
was true. Equal values one update interval apart are two conversions: a steady load repeats
honestly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.energy.series import RailSeries
from reports.results.power import FloatArray

# Oscillators in power monitors are good to 10 % (TI INA3221, conversion time typ/max).
PERIOD_TOLERANCE = 0.12
MIN_CHANGES = 3  # fewer changes of value do not show a schedule
MIN_CONSISTENT = 0.95  # of the changes must fit the schedule


@dataclass(frozen=True, kw_only=True)
class Conversions:
    """One value per conversion of the sensor, at the instant at which it was converted.

    ``period_s`` is None where the sensor converts on reading;
    ``earliest_s`` and ``latest_s`` bound each instant from the reads alone, whatever the schedule;
    ``slack_s`` is how well the schedule's instants are known, ``period_slack_s`` how well its
    period is.
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
        """Return by how much the last instant may be off against the first."""
        return self.period_slack_s * self.times_s.size


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a sensor converts: offset_s + k period_s, each known to its slack."""

    period_s: float
    offset_s: float
    slack_s: float
    period_slack_s: float


def conversions(series: RailSeries) -> Conversions:
    """Return the distinct conversions behind the reads of a power rail."""
    nominal_s = series.rail.update_interval_s
    if nominal_s is None or nominal_s < series.interval_s / 2:
        return _deduplicated(series, None)
    changed = np.flatnonzero(np.diff(series.values) != 0)
    if changed.size < MIN_CHANGES:
        # A steady load shows no schedule and needs none: the nominal one tells of aliasing.
        guess = Schedule(
            period_s=nominal_s,
            offset_s=float(series.times_s[0]),
            slack_s=0.0,
            period_slack_s=0.0,
        )
        return _on_schedule(series, guess)
    found = fit_schedule(series.times_s[changed], series.times_s[changed + 1], nominal_s)
    return _deduplicated(series, nominal_s) if found is None else _on_schedule(series, found)


def fit_schedule(before_s: FloatArray, after_s: FloatArray, nominal_s: float) -> Schedule | None:
    """Return the schedule that explains the changes; None if none explains 95 % of them.

    Change i happened in (before_s[i], after_s[i]]. The period is searched around the nominal
    one on ever longer stretches, each narrowing it, because over many periods only a very exact
    one fits; then closer and closer, until what remains open is seen in detail.
    """
    narrow = after_s - before_s < 0.98 * nominal_s
    before_s, after_s = before_s[narrow], after_s[narrow]
    if before_s.size < MIN_CHANGES:
        return None
    width_s = float(np.median(after_s - before_s))
    centre_s, half_range_s = nominal_s, PERIOD_TOLERANCE * nominal_s
    count, zooms = min(16, before_s.size), 0
    while True:
        found, feasible = _best_period(before_s[:count], after_s[:count], centre_s, half_range_s)
        if found is None:
            return None
        if count < before_s.size:
            periods = (after_s[count - 1] - before_s[0]) / found.period_s
            half_range_s = min(half_range_s, 2 * width_s / max(periods, 1.0))
            centre_s, count = found.period_s, min(2 * count, before_s.size)
        elif feasible >= 10 or zooms == 3:
            return found
        else:
            half_range_s, zooms = found.period_slack_s + half_range_s / 40, zooms + 1
            centre_s = found.period_s


def _best_period(
    before_s: FloatArray, after_s: FloatArray, centre_s: float, half_range_s: float
) -> tuple[Schedule | None, int]:
    """Return the schedule in the middle of those that explain most, and how many periods do."""
    periods = np.linspace(centre_s - half_range_s, centre_s + half_range_s, 161)[:, None]
    origin_s = before_s[0]
    start = (before_s - origin_s)[None, :] % periods
    end = start + (after_s - before_s)[None, :]
    wraps = end > periods
    places = np.concatenate([start, end - wraps * periods], axis=1)
    opens = np.concatenate([np.ones_like(start), -np.ones_like(start)], axis=1)
    order = np.argsort(places, axis=1)
    places = np.take_along_axis(places, order, axis=1)
    depth = wraps.sum(axis=1)[:, None] + np.cumsum(np.take_along_axis(opens, order, axis=1), axis=1)
    following = np.concatenate([places[:, 1:], places[:, :1] + periods], axis=1)
    rows = np.arange(periods.size)
    deepest = np.argmax(depth + 1e-6 * (following - places) / periods, axis=1)
    width = (following - places)[rows, deepest]
    peak = depth[rows, deepest]
    if peak.max() < MIN_CONSISTENT * before_s.size:
        return None, 0
    feasible = np.flatnonzero(peak == peak.max())
    best = feasible[np.argmax(width[feasible])]
    half_width_s = width[best] / 2
    return Schedule(
        period_s=float(periods[best, 0]),
        offset_s=float(origin_s + places[best, deepest[best]] + half_width_s),
        slack_s=float(half_width_s),
        period_slack_s=float(np.ptp(periods[feasible]) / 2),
    ), int(feasible.size)


def _on_schedule(series: RailSeries, schedule: Schedule) -> Conversions:
    """Give each conversion the read nearest to the middle of the time it is held."""
    times_s, period_s = series.times_s, schedule.period_s
    place = (times_s - schedule.offset_s) / period_s
    number = np.floor(place).astype(np.int64)
    order = np.lexsort((np.abs(place - number - 0.5), number))
    middle = order[np.unique(number[order], return_index=True)[1]]
    number, first = np.unique(number, return_index=True)
    last = np.append(first[1:], times_s.size) - 1
    # A value read at t was converted within the period before t, and not before it changed.
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
    """Return for each read the index of the first in its run of equal values."""
    changed = np.concatenate([[False], np.diff(values) != 0])
    return np.maximum.accumulate(np.where(changed, np.arange(changed.size), 0))


def _deduplicated(series: RailSeries, update_interval_s: float | None) -> Conversions:
    """Take reads as conversions, but none that repeats the value within one update interval.

    Reads that follow closely must not be mistaken for conversions: then the instants are not
    known, by as much as a read interval. Reads that are far apart pick conversions at random.
    """
    times_s, values = series.times_s, series.values
    kept = np.arange(times_s.size)
    if update_interval_s is not None:
        kept = np.array(_distinct(times_s, values, update_interval_s))
    holds = update_interval_s is not None and update_interval_s > series.interval_s
    return Conversions(
        times_s=times_s[kept],
        values=values[kept],
        earliest_s=times_s[np.clip(kept - 1, 0, None)],
        latest_s=times_s[kept],
        period_s=update_interval_s,
        slack_s=series.interval_s / 2 if holds else 0.0,
        period_slack_s=series.interval_s / kept.size if holds else 0.0,
    )


def _distinct(times_s: FloatArray, values: FloatArray, update_interval_s: float) -> list[int]:
    """Return which reads differ from the last one kept, or come an update interval after it."""
    kept = [0]
    for index in range(1, times_s.size):
        elapsed_s = times_s[index] - times_s[kept[-1]]
        if values[index] != values[kept[-1]] or elapsed_s >= update_interval_s:
            kept.append(index)
    return kept
