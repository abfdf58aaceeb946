"""One figure over many runs: levels, the steps between them, and what the newest runs say.

Two detectors share the work, both deterministic. ``change_points`` settles where the level changed:
E-divisive (Matteson & James, "A nonparametric approach for multiple change point analysis of
multivariate data", JASA 109, 2014) with the energy statistic, seeded permutations, at least
``MIN_SEGMENT`` runs on either side and a least magnitude. It cannot speak before a new level has
been seen that often, so ``tail_alarm`` looks at the newest runs alone and speaks at the third run
of a step of three times the noise. ``docs/dashboard.md`` has what both find and miss.

Values are logarithms of figures, in the order of the runs, of one machine state each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import nctdtrit, stdtr, stdtrit  # scipy.stats takes half a second to import

from reports.stats.intervals import median_interval

Floats = npt.NDArray[np.float64]

MIN_SEGMENT = 5
PERMUTATIONS = 999
LEVEL = 0.001
LEVELS = 64  # of the empirical distributions that are compared; exact for shorter series
CERTAIN = 1e-9  # a corrected p-value that no permutation needs to confirm
MARGIN = 0.01

MIN_HISTORY = 10  # runs before the newest ones; with fewer the fallback judges
MAX_HISTORY = 400
STEP = 3.0  # times the noise: what the alarm is tuned to find ...
MISSED = 0.035  # ... at its third run but for this share
MISSED_LATER = 0.02
EARLY_LEVEL = 0.002  # of a false alarm while the history is short
WIDTHS = (2, 3, 4, 5, 6, 7, 8)
CLIP = 3.5  # times the noise: what lies further out counts as that far
AGREEMENT = 2.0  # how far the others must be out when the furthest run is left out


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Runs ``first`` to ``end - 1`` at one level; the interval of the centre is 95 %."""

    first: int
    end: int
    centre: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """The level changes at run ``at`` by ``shift`` (a logarithm of a ratio), with its interval.

    ``settled`` is False while only the newest runs say so; ``p`` is the chance of as large a step
    by accident, for the place it was found at.
    """

    at: int
    shift: float
    low: float
    high: float
    p: float
    settled: bool


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What a series amounts to: its segments and the steps between them, in order."""

    segments: tuple[Segment, ...]
    steps: tuple[Step, ...]


def analyse(values: Sequence[float] | Floats, *, magnitude: float = MARGIN) -> Analysis:
    """Return segments and steps of one series; ``magnitude`` is the least shift that counts.

    Raises:
        ValueError: a value that is not finite.
    """
    points = np.asarray(values, dtype=np.float64)
    if not np.isfinite(points).all():
        raise ValueError("a history needs finite values")
    if len(points) == 0:
        return Analysis(segments=(), steps=())
    bounds = change_points(points, magnitude=magnitude)
    steps = [step_at(points, bounds, at, settled=True) for at in bounds[1:-1]]
    alarm = tail_alarm(points[bounds[-2] :], magnitude=magnitude)
    if alarm is not None:
        bounds = [*bounds[:-1], bounds[-2] + alarm, len(points)]
        steps.append(step_at(points, bounds, bounds[-2], settled=False))
    segments = tuple(_segment(points, *ends) for ends in itertools.pairwise(bounds))
    return Analysis(segments=segments, steps=tuple(steps))


def change_points(points: Floats, *, magnitude: float = MARGIN) -> list[int]:
    """Return the bounds of the settled segments, 0 and the length included."""
    found = {0, len(points)}
    waiting = [(0, len(points))]
    while waiting:
        first, end = waiting.pop()
        split = _best_split(points[first:end], magnitude)
        if split is not None:
            found.add(first + split)
            waiting += [(first, first + split), (first + split, end)]
    return _without_small(points, _refined(points, sorted(found)), magnitude)


def _refined(points: Floats, bounds: list[int]) -> list[int]:
    """Move each bound to where two constant levels fit best.

    The search had to leave MIN_SEGMENT points on either side. A last level that turns out to be
    younger than that is not settled: its bound is dropped.
    """
    for place in range(1, len(bounds) - 1):
        first, end = bounds[place - 1], bounds[place + 1]
        sizes = np.arange(1, end - first, dtype=np.float64)
        sums = np.cumsum(points[first:end] - points[first:end].mean())[:-1]
        gain = sums * sums * (1 / sizes + 1 / (end - first - sizes))
        bounds[place] = first + 1 + int(np.argmax(gain))
    kept = [0]
    for at in bounds[1:-1]:
        if kept[-1] + MIN_SEGMENT <= at <= len(points) - MIN_SEGMENT:
            kept.append(at)
    return [*kept, len(points)]


def _without_small(points: Floats, bounds: list[int], magnitude: float) -> list[int]:
    """Drop the bounds between levels that, next to each other, differ by too little."""
    while len(bounds) > 2:
        levels = [float(np.median(points[a:b])) for a, b in itertools.pairwise(bounds)]
        shifts = np.abs(np.diff(levels))
        smallest = int(np.argmin(shifts))
        if shifts[smallest] >= magnitude:
            break
        del bounds[smallest + 1]
    return bounds


def _best_split(points: Floats, magnitude: float) -> int | None:
    """Return where the energy statistic is largest, if no permutation reaches it."""
    count = len(points)
    if count < 2 * MIN_SEGMENT or float(np.ptp(points)) < magnitude:
        return None
    below, widths = _indicators(points)
    statistic = _energy_statistic(below[None], widths)[0]
    split = MIN_SEGMENT + int(np.argmax(statistic))
    if _welch(points[:split], points[split:])[3] * count < CERTAIN:
        return split
    return split if _is_rare(below, widths, float(statistic.max())) else None


def _is_rare(below: Floats, widths: Floats, largest: float) -> bool:
    """Tell whether at most LEVEL of the seeded permutations reach the statistic."""
    random = np.random.default_rng(len(below))
    order = np.arange(len(below))
    left, allowed = PERMUTATIONS, math.floor(LEVEL * (PERMUTATIONS + 1)) - 1
    batch = 9
    while left:
        size = min(left, batch)
        shuffled = below[random.permuted(np.tile(order, (size, 1)), axis=1)]
        reached = _energy_statistic(shuffled, widths).max(axis=1) >= largest * (1 - 1e-12)
        allowed -= int(np.count_nonzero(reached))
        if allowed < 0:
            return False
        left, batch = left - size, 45
    return True


def _indicators(points: Floats) -> tuple[Floats, Floats]:
    """Return (n, levels) whether each point lies at or below each level, and the levels' widths."""
    levels = np.unique(points)
    if len(levels) > LEVELS:
        levels = np.unique(np.quantile(points, np.linspace(0, 1, LEVELS)))
    return (points[:, None] <= levels[:-1]).astype(np.float64), np.diff(levels)


def _energy_statistic(below: Floats, widths: Floats) -> Floats:
    """Return the statistic for every split that leaves MIN_SEGMENT points on either side.

    The energy distance of two samples in one dimension is 2 ∫ (F - G)² dx (Székely & Rizzo, 2005),
    so that the distribution functions of all prefixes are all that is needed.
    ``below`` is (permutations, n, levels); the answer (permutations, splits).
    """
    count = below.shape[1]
    sums = np.cumsum(below, axis=1)
    sizes = np.arange(MIN_SEGMENT, count - MIN_SEGMENT + 1, dtype=np.float64)
    before = sums[:, MIN_SEGMENT - 1 : count - MIN_SEGMENT]
    total = sums[:, -1:]
    rest = (count - sizes)[:, None]
    gap = before / sizes[:, None] - (total - before) / rest
    weight = sizes * (count - sizes) / count
    answer: Floats = 2.0 * weight * (gap * gap @ widths)
    return answer


def tail_alarm(points: Floats, *, magnitude: float = MARGIN) -> int | None:
    """Return where the newest runs leave the level of those before, None where they do not.

    With fewer than MIN_HISTORY runs before, the last delta is compared with the earlier ones.
    """
    if len(points) < MIN_HISTORY + WIDTHS[0]:
        return _few_points_alarm(points, magnitude)
    alarms = tail_alarms(points[None], magnitude=magnitude)[0]
    return None if alarms == 0 else len(points) - int(alarms)


def tail_alarms(points: Floats, *, magnitude: float = MARGIN) -> npt.NDArray[np.int64]:
    """Return for each of many series (series, n) how many of its newest runs are a new level.

    0 is no alarm. Of several widths that alarm, the one furthest beyond its threshold counts.
    """
    widest = np.zeros(len(points), dtype=np.int64)
    strongest = np.ones(len(points))
    for width in WIDTHS:
        history = points[:, :-width][:, -MAX_HISTORY:]
        if history.shape[1] < MIN_HISTORY:
            break
        level, noise = _level_and_noise(history)
        tail = points[:, -width:]
        shift = tail.mean(axis=1) - level
        strength = _strength(shift, noise, width, history.shape[1])
        agreed = _agree(tail, level, noise, np.sign(shift), history.shape[1])
        alarm = agreed & (np.abs(shift) >= magnitude) & (strength > strongest)
        widest[alarm], strongest[alarm] = width, strength[alarm]
    return widest


def _strength(shift: Floats, noise: Floats, width: int, history: int) -> Floats:
    """Return t over its threshold; more than 1 is an alarm."""
    error = noise * math.sqrt(1 / width + 1 / history)
    return np.abs(shift) / np.maximum(error, 1e-300) / _threshold(width, history)


def _agree(tail: Floats, level: Floats, noise: Floats, side: Floats, history: int) -> Floats:
    """Tell whether the tail without its furthest run is out on the same side: no lone spike."""
    out = np.sort((tail - level[:, None]) * side[:, None], axis=1)[:, :-1]
    error = noise * math.sqrt(1 / out.shape[1] + 1 / history)
    answer: Floats = out.mean(axis=1) > AGREEMENT * error
    return answer


def _level_and_noise(history: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each row after pulling outliers in (Winsor)."""
    middle = np.median(history, axis=1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(history - middle), axis=1, keepdims=True)
    pulled = np.clip(history, middle - CLIP * spread, middle + CLIP * spread)
    return pulled.mean(axis=1), pulled.std(axis=1, ddof=1)


@cache
def _threshold(width: int, history: int) -> float:
    """Return the t beyond which so many runs after so many others are an alarm.

    It lies where a step of STEP times the noise is still found but for the share MISSED, and not
    below the level EARLY_LEVEL. Two runs have to be further out: they are no proof yet.
    """
    freedom = history - 1
    apart = math.sqrt(1 / max(width, 3) + 1 / history)
    missed = MISSED if width <= 3 else MISSED_LATER
    found = float(nctdtrit(freedom, STEP / apart, missed))
    least = float(stdtrit(freedom, 1 - EARLY_LEVEL / 2))
    return max(found, least) * (1.5 if width == 2 else 1.0)


def _few_points_alarm(points: Floats, magnitude: float) -> int | None:
    """Compare the last delta with Q3 + 3 IQR of the earlier ones, as rustc-perf does."""
    if len(points) < MIN_SEGMENT + 1:
        return None
    deltas = np.abs(np.diff(points))
    low, high = np.quantile(deltas[:-1], (0.25, 0.75))
    limit = max(magnitude, float(high + 3 * (high - low)))
    return len(points) - 1 if deltas[-1] > limit else None


def step_at(points: Floats, bounds: Sequence[int], at: int, *, settled: bool) -> Step:
    """Return the step between the segments that meet at ``at``."""
    place = bounds.index(at)
    before, after = points[bounds[place - 1] : at], points[at : bounds[place + 1]]
    shift, low, high, p = _welch(before, after)
    return Step(at=at, shift=shift, low=low, high=high, p=p, settled=settled)


def _welch(before: Floats, after: Floats) -> tuple[float, float, float, float]:
    """Return the shift of the mean, its 95 % interval, and Welch's p-value.

    One single run has no spread of its own: it takes the other side's.
    """
    shift = float(after.mean() - before.mean())
    parts = [_variance(one, other) / len(one) for one, other in ((before, after), (after, before))]
    error = math.sqrt(sum(parts))
    if error <= 1e-12 * max(1.0, abs(shift)):
        return shift, shift, shift, 0.0 if shift else 1.0
    sizes = [max(1, len(one) - 1) for one in (before, after)]
    freedom = sum(parts) ** 2 / sum(p * p / n for p, n in zip(parts, sizes, strict=True))
    reach = float(stdtrit(freedom, 0.975)) * error
    return shift, shift - reach, shift + reach, 2 * float(stdtr(freedom, -abs(shift) / error))


def _variance(points: Floats, other: Floats) -> float:
    source = points if len(points) > 1 else other
    return float(source.var(ddof=1)) if len(source) > 1 else 0.0


def _segment(points: Floats, first: int, end: int) -> Segment:
    values = points[first:end]
    interval = median_interval(values.tolist())
    low, high = (None, None) if interval is None else interval
    return Segment(first=first, end=end, centre=float(np.median(values)), low=low, high=high)
