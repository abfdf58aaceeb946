"""Change points in the history of one figure: levels, and the shifts between them.

Two detectors share the work; both are deterministic. ``change_points`` finds settled changes with
E-divisive (Matteson & James, "A nonparametric approach for multiple change point analysis of
multivariate data", JASA 109, 2014): the energy statistic, seeded permutations, at least
``MIN_SEGMENT`` runs on either side and a minimum magnitude. It needs ``MIN_SEGMENT`` runs at a new
level before it can report it. ``tail_alarm`` looks only at the newest runs and raises an alarm at
the third run after a shift of three times the noise. ``docs/dashboard.md`` has their detection and
false alarm rates.

All values are natural logarithms of figures, in the order of the runs, and all runs of a series
come from one state of a machine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from reports.stats.distributions import noncentral_t_quantile, t_cdf, t_quantile
from reports.stats.intervals import median_interval

Floats = npt.NDArray[np.float64]

# E-divisive
MIN_SEGMENT = 5  # runs on either side of a settled change point
PERMUTATIONS = 999
SIGNIFICANCE = 0.001  # of the permutation test
MAX_THRESHOLDS = 64  # at which distribution functions are compared; short series use every value
CERTAIN_P = 1e-9  # a Welch p-value, corrected for the splits, that needs no permutation test
MIN_MAGNITUDE = 0.01  # the smallest shift that is reported: about 1 %

# The alarm on the newest runs
MIN_HISTORY = 10  # runs before the newest ones; with fewer, _short_history_alarm decides
MAX_HISTORY = 400
TARGET_SHIFT = 3.0  # in standard deviations: the shift that the alarm is tuned to detect
MISS_RATE_AT_THIRD_RUN = 0.035
MISS_RATE_LATER = 0.02
FALSE_ALARM_RATE = 0.002  # two-sided upper bound, which matters while the history is short
WIDTHS = (2, 3, 4, 5, 6, 7, 8)  # numbers of newest runs that are tested as a new level
CLIP = 3.5  # standard deviations: values further out are pulled in to this distance
MIN_AGREEMENT = 2.0  # standard errors by which the tail without its furthest run must be out


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Runs ``first`` to ``end - 1`` at one level: their median and its 95 % interval."""

    first: int
    end: int
    centre: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class LevelShift:
    """The mean changes at run ``at`` by ``shift``, the logarithm of a ratio; 95 % interval.

    ``settled`` is False while only the alarm on the newest runs reports it. ``p`` is Welch's
    p-value, not corrected for the search over many positions.
    """

    at: int
    shift: float
    low: float
    high: float
    p: float
    settled: bool


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The segments of a series and the shifts between them, in order."""

    segments: tuple[Segment, ...]
    shifts: tuple[LevelShift, ...]


def analyse(values: Sequence[float] | Floats, *, magnitude: float = MIN_MAGNITUDE) -> Analysis:
    """Return the segments and shifts of one series.

    Args:
        values: logarithms of one figure, in the order of the runs.
        magnitude: the smallest shift, in logarithms, that is reported.

    Raises:
        ValueError: a value that is not finite.
    """
    points = np.asarray(values, dtype=np.float64)
    if not np.isfinite(points).all():
        raise ValueError("a history needs finite values")
    if len(points) == 0:
        return Analysis(segments=(), shifts=())
    bounds = change_points(points, magnitude=magnitude)
    shifts = []
    for index in range(1, len(bounds) - 1):
        shifts.append(_shift_at(points, bounds, index, settled=True))
    alarm = tail_alarm(points[bounds[-2] :], magnitude=magnitude)
    if alarm is not None:
        bounds.insert(-1, bounds[-2] + alarm)
        shifts.append(_shift_at(points, bounds, len(bounds) - 2, settled=False))
    segments = [_segment(points, first, end) for first, end in itertools.pairwise(bounds)]
    return Analysis(segments=tuple(segments), shifts=tuple(shifts))


def change_points(points: Floats, *, magnitude: float = MIN_MAGNITUDE) -> list[int]:
    """Return the bounds of the settled segments, 0 and the length included."""
    bounds = {0, len(points)}
    unsearched = [(0, len(points))]
    while unsearched:
        first, end = unsearched.pop()
        split = _best_split(points[first:end], magnitude)
        if split is not None:
            bounds.add(first + split)
            unsearched += [(first, first + split), (first + split, end)]
    return _without_small_shifts(points, _refined(points, sorted(bounds)), magnitude)


def _refined(points: Floats, bounds: list[int]) -> list[int]:
    """Move each bound to where two constant levels fit best by least squares.

    The search only considers splits with MIN_SEGMENT points on either side. Bounds that move
    closer than that to another bound or to an end of the series are dropped: not settled yet.
    """
    for index in range(1, len(bounds) - 1):
        first, end = bounds[index - 1], bounds[index + 1]
        sizes = np.arange(1, end - first, dtype=np.float64)
        sums = np.cumsum(points[first:end] - points[first:end].mean())[:-1]
        # How much two levels reduce the sum of squares, for each split.
        reduction = sums * sums * (1 / sizes + 1 / (end - first - sizes))
        bounds[index] = first + 1 + int(np.argmax(reduction))
    kept = [0]
    for at in bounds[1:-1]:
        if kept[-1] + MIN_SEGMENT <= at <= len(points) - MIN_SEGMENT:
            kept.append(at)
    return [*kept, len(points)]


def _without_small_shifts(points: Floats, bounds: list[int], magnitude: float) -> list[int]:
    """Drop the bounds between neighbouring levels that differ by less than the magnitude."""
    while len(bounds) > 2:
        levels = [float(np.median(points[first:end])) for first, end in itertools.pairwise(bounds)]
        shifts = np.abs(np.diff(levels))
        smallest = int(np.argmin(shifts))
        if shifts[smallest] >= magnitude:
            break
        del bounds[smallest + 1]
    return bounds


def _best_split(points: Floats, magnitude: float) -> int | None:
    """Return the split with the largest energy statistic, None where it is not significant."""
    count = len(points)
    if count < 2 * MIN_SEGMENT or float(np.ptp(points)) < magnitude:
        return None
    below, widths = _indicators(points)
    statistic = _energy_statistic(below[None], widths)[0]
    split = MIN_SEGMENT + int(np.argmax(statistic))
    p_corrected = _welch(points[:split], points[split:]).p * count
    if p_corrected < CERTAIN_P or _is_significant(below, widths, float(statistic.max())):
        return split
    return None


def _is_significant(below: Floats, widths: Floats, largest: float) -> bool:
    """Say whether at most SIGNIFICANCE of the seeded permutations reach the largest statistic."""
    random = np.random.default_rng(len(below))
    order = np.arange(len(below))
    remaining, allowed = PERMUTATIONS, math.floor(SIGNIFICANCE * (PERMUTATIONS + 1)) - 1
    batch = 9  # most series that do not change are recognised in a few permutations
    while remaining:
        size = min(remaining, batch)
        shuffled = below[random.permuted(np.tile(order, (size, 1)), axis=1)]
        reached = _energy_statistic(shuffled, widths).max(axis=1) >= largest * (1 - 1e-12)
        allowed -= int(np.count_nonzero(reached))
        if allowed < 0:
            return False
        remaining, batch = remaining - size, 45
    return True


def _indicators(points: Floats) -> tuple[Floats, Floats]:
    """Return whether each point lies at or below each threshold, and the gaps between thresholds.

    Shapes: points (n,) -> (n, thresholds), (thresholds,).
    """
    thresholds = np.unique(points)
    if len(thresholds) > MAX_THRESHOLDS:
        thresholds = np.unique(np.quantile(points, np.linspace(0, 1, MAX_THRESHOLDS)))
    return (points[:, None] <= thresholds[:-1]).astype(np.float64), np.diff(thresholds)


def _energy_statistic(below: Floats, widths: Floats) -> Floats:
    """Return the statistic of every split with at least MIN_SEGMENT points on either side.

    In one dimension the energy distance of two samples is 2 ∫ (F - G)² dx (Székely & Rizzo, 2005),
    so only the empirical distribution functions of all prefixes are needed.

    Shapes: below (permutations, n, thresholds), widths (thresholds,) -> (permutations, splits).
    """
    count = below.shape[1]
    sums = np.cumsum(below, axis=1)
    sizes = np.arange(MIN_SEGMENT, count - MIN_SEGMENT + 1, dtype=np.float64)
    before = sums[:, MIN_SEGMENT - 1 : count - MIN_SEGMENT]
    total = sums[:, -1:]
    rest = (count - sizes)[:, None]
    gap = before / sizes[:, None] - (total - before) / rest  # F - G
    weight = sizes * (count - sizes) / count
    statistic: Floats = 2.0 * weight * (gap * gap @ widths)
    return statistic


def tail_alarm(points: Floats, *, magnitude: float = MIN_MAGNITUDE) -> int | None:
    """Return the index from which the newest runs are at a new level, None without an alarm.

    With fewer than MIN_HISTORY earlier runs, the last difference is compared with earlier ones.
    """
    if len(points) < MIN_HISTORY + WIDTHS[0]:
        return _short_history_alarm(points, magnitude)
    width = int(tail_alarms(points[None], magnitude=magnitude)[0])
    return len(points) - width if width else None


def tail_alarms(points: Floats, *, magnitude: float = MIN_MAGNITUDE) -> npt.NDArray[np.int64]:
    """Return for each of many series how many of its newest runs are at a new level, 0: no alarm.

    If several widths raise an alarm, the one furthest beyond its threshold counts.

    Shapes: points (series, n) -> (series,).
    """
    strongest_width = np.zeros(len(points), dtype=np.int64)
    strongest = np.ones(len(points))
    for width in WIDTHS:
        history = points[:, :-width][:, -MAX_HISTORY:]
        history_size = history.shape[1]
        if history_size < MIN_HISTORY:
            break
        level, noise = _level_and_noise(history)
        tail = points[:, -width:]
        shift = tail.mean(axis=1) - level
        error = noise * math.sqrt(1 / width + 1 / history_size)
        t = np.abs(shift) / np.maximum(error, 1e-300)
        strength = t / _threshold(width, history_size)
        agreed = _agree(tail, level, noise, np.sign(shift), history_size)
        alarm = agreed & (np.abs(shift) >= magnitude) & (strength > strongest)
        strongest_width[alarm], strongest[alarm] = width, strength[alarm]
    return strongest_width


def _agree(tail: Floats, level: Floats, noise: Floats, sign: Floats, history: int) -> Floats:
    """Say for each series whether its tail is off even without its furthest run: not one spike."""
    off = np.sort((tail - level[:, None]) * sign[:, None], axis=1)[:, :-1]
    error = noise * math.sqrt(1 / off.shape[1] + 1 / history)
    agreed: Floats = off.mean(axis=1) > MIN_AGREEMENT * error
    return agreed


def _level_and_noise(history: Floats) -> tuple[Floats, Floats]:
    """Return the winsorised mean and standard deviation of each row.

    Values further than CLIP standard deviations (1.4826 MAD) from the median are pulled in.
    """
    middle = np.median(history, axis=1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(history - middle), axis=1, keepdims=True)
    pulled = np.clip(history, middle - CLIP * spread, middle + CLIP * spread)
    return pulled.mean(axis=1), pulled.std(axis=1, ddof=1)


@cache
def _threshold(width: int, history: int) -> float:
    """Return the value of t beyond which ``width`` runs after ``history`` others raise an alarm.

    It is the quantile of the noncentral t distribution at which a shift of TARGET_SHIFT is missed
    at the tolerated rate, but at least the two-sided quantile for FALSE_ALARM_RATE. Two runs alone
    need half as much again.
    """
    freedom = history - 1
    noncentrality = TARGET_SHIFT / math.sqrt(1 / max(width, 3) + 1 / history)
    miss_rate = MISS_RATE_AT_THIRD_RUN if width <= 3 else MISS_RATE_LATER
    detecting = noncentral_t_quantile(miss_rate, freedom, noncentrality)
    least = t_quantile(1 - FALSE_ALARM_RATE / 2, freedom)
    return max(detecting, least) * (1.5 if width == 2 else 1.0)


def _short_history_alarm(points: Floats, magnitude: float) -> int | None:
    """Compare the last difference with Q3 + 3 IQR of the earlier ones, as rustc-perf does."""
    if len(points) < MIN_SEGMENT + 1:
        return None
    deltas = np.abs(np.diff(points))
    low, high = np.quantile(deltas[:-1], (0.25, 0.75))
    limit = max(magnitude, float(high + 3 * (high - low)))
    return len(points) - 1 if deltas[-1] > limit else None


def _shift_at(points: Floats, bounds: Sequence[int], index: int, *, settled: bool) -> LevelShift:
    """Return the shift between the two segments that meet at a bound."""
    at = bounds[index]
    test = _welch(points[bounds[index - 1] : at], points[at : bounds[index + 1]])
    return LevelShift(
        at=at, shift=test.shift, low=test.low, high=test.high, p=test.p, settled=settled
    )


@dataclass(frozen=True, kw_only=True)
class _WelchTest:
    """The shift of the mean, its 95 % interval, and the two-sided p-value."""

    shift: float
    low: float
    high: float
    p: float


def _welch(before: Floats, after: Floats) -> _WelchTest:
    """Compare two means by Welch's t-test (Welch 1947), degrees of freedom by Satterthwaite.

    A single run has no variance of its own: it takes that of the other side.
    """
    shift = float(after.mean() - before.mean())
    before_variance = _variance(before, otherwise=after) / len(before)
    after_variance = _variance(after, otherwise=before) / len(after)
    variance = before_variance + after_variance
    error = math.sqrt(variance)
    if error <= 1e-12 * max(1.0, abs(shift)):
        return _WelchTest(shift=shift, low=shift, high=shift, p=0.0 if shift else 1.0)
    freedom = variance**2 / (
        before_variance * before_variance / max(1, len(before) - 1)
        + after_variance * after_variance / max(1, len(after) - 1)
    )
    half_width = t_quantile(0.975, freedom) * error
    return _WelchTest(
        shift=shift,
        low=shift - half_width,
        high=shift + half_width,
        p=2 * t_cdf(-abs(shift) / error, freedom),
    )


def _variance(points: Floats, *, otherwise: Floats) -> float:
    sample = points if len(points) > 1 else otherwise
    return float(sample.var(ddof=1)) if len(sample) > 1 else 0.0


def _segment(points: Floats, first: int, end: int) -> Segment:
    values = points[first:end]
    low, high = median_interval(values.tolist()) or (None, None)
    return Segment(first=first, end=end, centre=float(np.median(values)), low=low, high=high)
