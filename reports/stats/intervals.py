"""Estimates and confidence intervals for a handful of blocks: exact, distribution-free.

One value stands for one block (a fresh process), because iterations inside a block are not
independent samples (Kalibera & Jones, arXiv 2007.10899). A paired effect is estimated by the
Hodges-Lehmann estimate, the median of the Walsh averages; its interval is the exact Wilcoxon
signed-rank interval (Hollander & Wolfe, "Nonparametric Statistical Methods", section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from reports.stats.distributions import binomial_cdf

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A paired ratio and its confidence interval; None if there are too few rounds for one."""

    ratio: float
    ci_low: float | None
    ci_high: float | None
    n: int


def hodges_lehmann(values: Sequence[float]) -> float:
    """Return the Hodges-Lehmann estimate: the median of the Walsh averages.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    return float(np.median(walsh_averages(_finite(values))))


def wilcoxon_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return the exact Wilcoxon signed-rank interval of the centre of symmetry.

    It assumes that the values are independent and symmetrically distributed. It is None if there
    are too few values for the confidence level: six are needed at 95 %, seven at 97.5 %.

    Raises:
        ValueError: there are no values, one is not finite, or the level is outside (0, 1).
    """
    points = _finite(values)
    rank = wilcoxon_rank(len(points), level)
    if rank == 0:
        return None
    averages = np.sort(walsh_averages(points))
    return float(averages[rank - 1]), float(averages[-rank])


def median_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return the interval of the median between two order statistics (sign test).

    It is None if there are too few values for the confidence level: six are needed at 95 %.

    Raises:
        ValueError: there are no values, one is not finite, or the level is outside (0, 1).
    """
    points = np.sort(_finite(values))
    rank = bounding_rank(binomial_cdf(len(points), 0.5), level)
    if rank == 0:
        return None
    return float(points[rank - 1]), float(points[-rank])


def paired_ratio(base: Sequence[float], new: Sequence[float], level: float = 0.95) -> Effect:
    """Return the effect new / base, paired by position and estimated on logarithms.

    Raises:
        ValueError: the lengths differ, there are no pairs, or a value is not positive and finite.
    """
    if len(base) != len(new):
        raise ValueError(f"{len(base)} base values cannot be paired with {len(new)} new ones")
    return ratio_effect(np.log(_positive(new)) - np.log(_positive(base)), level)


def ratio_effect(log_ratios: Sequence[float] | Floats, level: float = 0.95) -> Effect:
    """Return the effect that the log ratios, one per round, show.

    Raises:
        ValueError: there are no values, one is not finite, or the level is outside (0, 1).
    """
    logs = [float(value) for value in log_ratios]
    ratio = math.exp(hodges_lehmann(logs))
    interval = wilcoxon_interval(logs, level)
    if interval is None:
        return Effect(ratio=ratio, ci_low=None, ci_high=None, n=len(logs))
    low, high = interval
    return Effect(ratio=ratio, ci_low=math.exp(low), ci_high=math.exp(high), n=len(logs))


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values.

    Raises:
        ValueError: there are no values, or one is not positive and finite.
    """
    return math.exp(float(np.mean(np.log(_positive(values)))))


@cache
def signed_rank_distribution(n: int) -> Floats:
    """Return P(T+ = t) for t = 0 .. n(n+1)/2 under the null hypothesis.

    Each rank is in the sum T+ with probability 1/2: dynamic programming over the ranks.
    """
    probabilities = np.ones(1)
    for rank in range(1, n + 1):
        longer = np.zeros(len(probabilities) + rank)
        longer[: len(probabilities)] += probabilities
        longer[rank:] += probabilities
        probabilities = longer / 2
    return probabilities


def wilcoxon_rank(n: int, level: float) -> int:
    """Return the rank, from either end, of the Walsh average that bounds the interval.

    It starts at 1; 0 means that n values are too few for the confidence level.

    Raises:
        ValueError: the level is outside (0, 1).
    """
    return bounding_rank(np.cumsum(signed_rank_distribution(n)), level)


def walsh_averages(points: Floats) -> Floats:
    """Return the Walsh averages (a_i + a_j) / 2, i <= j, of the last axis.

    Shapes: (..., n) -> (..., n(n+1)/2).
    """
    first, second = np.triu_indices(points.shape[-1])
    averages: Floats = (points[..., first] + points[..., second]) / 2
    return averages


def bounding_rank(below: Floats, level: float) -> int:
    """Return the rank, from either end, of the order statistic that bounds the interval.

    Each tail beyond it has a probability of at most (1 - level) / 2. Ranks start at 1; 0 means
    that there are too few values for the confidence level.

    Args:
        below: the probability that the centre lies below the order statistic of index k.
        level: the confidence level.

    Raises:
        ValueError: the level is outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not {level}")
    # The tolerance keeps a tail whose probability only exceeds the bound by rounding.
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
