"""Estimates and intervals for a handful of blocks: exact, distribution-free, no resampling.

One value is one block (a fresh process); iterations inside a block are not independent samples
(Kalibera & Jones, arXiv 2007.10899). The estimate of a paired effect is the Hodges-Lehmann
median of Walsh averages, its interval the exact Wilcoxon signed-rank order statistics
(Hollander & Wolfe, Nonparametric Statistical Methods, section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr  # the binomial distribution; scipy.stats takes half a second

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A paired ratio with its interval; the interval is None where too few rounds allow none."""

    ratio: float
    ci_low: float | None
    ci_high: float | None
    n: int


def hodges_lehmann(values: Sequence[float]) -> float:
    """Return the median of the Walsh averages (a_i + a_j) / 2, i <= j.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    return float(np.median(walsh_averages(_finite(values))))


def wilcoxon_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return the exact signed-rank interval of the centre, None where ``level`` cannot be had.

    Assumes that the values are independent and symmetric about their centre. At 95 % it takes
    six values, at 97.5 % seven.

    Raises:
        ValueError: no values, one that is not finite, or a level outside (0, 1).
    """
    points = _finite(values)
    cut = wilcoxon_cut(len(points), level)
    ordered = np.sort(walsh_averages(points))
    return None if cut == 0 else (float(ordered[cut - 1]), float(ordered[-cut]))


def median_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return the distribution-free order-statistic interval of the median (n >= 6 at 95 %).

    Raises:
        ValueError: no values, one that is not finite, or a level outside (0, 1).
    """
    points = np.sort(_finite(values))
    below = bdtr(np.arange(len(points) + 1, dtype=np.float64), len(points), 0.5)
    cut = _cut(np.asarray(below, dtype=np.float64), level)
    return None if cut == 0 else (float(points[cut - 1]), float(points[-cut]))


def paired_ratio(base: Sequence[float], new: Sequence[float], level: float = 0.95) -> Effect:
    """Return new / base, paired by position, estimated on logarithms.

    Raises:
        ValueError: unequal lengths, no pairs, or a value that is not positive and finite.
    """
    if len(base) != len(new):
        raise ValueError(f"{len(base)} base values cannot be paired with {len(new)} new ones")
    return ratio_effect(np.log(_positive(new)) - np.log(_positive(base)), level)


def ratio_effect(log_ratios: Sequence[float] | Floats, level: float = 0.95) -> Effect:
    """Return the ratio that one logarithm per round amounts to."""
    logs = [float(value) for value in log_ratios]
    interval = wilcoxon_interval(logs, level)
    low, high = (None, None) if interval is None else (math.exp(interval[0]), math.exp(interval[1]))
    return Effect(ratio=math.exp(hodges_lehmann(logs)), ci_low=low, ci_high=high, n=len(logs))


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values.

    Raises:
        ValueError: no values, or one that is not positive and finite.
    """
    return math.exp(float(np.mean(np.log(_positive(values)))))


@cache
def signed_rank_distribution(n: int) -> Floats:
    """Return P(T+ = t) for t = 0 .. n(n+1)/2 under the null, by dynamic programming over ranks."""
    chances = np.ones(1)
    for rank in range(1, n + 1):
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] += chances
        longer[rank:] += chances
        chances = longer / 2
    return chances


def wilcoxon_cut(n: int, level: float) -> int:
    """Return the rank, from either end, of the Walsh average that bounds the interval; 0: none.

    Raises:
        ValueError: a level outside (0, 1).
    """
    return _cut(np.cumsum(signed_rank_distribution(n)), level)


def walsh_averages(points: Floats) -> Floats:
    """Return (a_i + a_j) / 2 for i <= j of the last axis."""  # (..., n) -> (..., n(n+1)/2)
    first, second = np.triu_indices(points.shape[-1])
    averages: Floats = (points[..., first] + points[..., second]) / 2
    return averages


def _cut(below: Floats, level: float) -> int:
    """Return how many points to cut from each end so that at most (1 - level) / 2 is lost there.

    ``below[k]`` is the chance that the centre lies under the point of 0-based rank k.
    """
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not {level}")
    # A hair of tolerance, so that a chance that equals the bound but for rounding is not refused.
    return int(np.searchsorted(below, (1 - level) / 2 * (1 + 1e-12), side="right"))


def _finite(values: Sequence[float] | Floats) -> Floats:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 1 or len(points) == 0 or not np.isfinite(points).all():
        raise ValueError("statistics need at least one value, all of them finite")
    return points


def _positive(values: Sequence[float]) -> Floats:
    points = _finite(values)
    if (points <= 0).any():
        raise ValueError("a ratio needs positive values")
    return points
