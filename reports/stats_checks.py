"""Second opinions on a handful of paired values: other intervals, outliers, warm-up, many at once.

The estimate and the decision are those of ``reports.stats``; what is here confirms or doubts them.
``scipy.stats`` takes half a second to import and is imported only where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from reports.stats import Interval

RESAMPLES = 999
OUTLIER_Z = 3.5
FALSE_DISCOVERIES = 0.05  # of the list of what changed


@dataclass(frozen=True, kw_only=True)
class CrossCheck:
    """Another method's estimate and interval of the same logarithms; no interval where none is."""

    method: str
    estimate: float
    low: float | None
    high: float | None


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return Student's interval of the mean; None for a single value.

    Raises:
        ValueError: no values.
    """
    n = len(_points(values))
    if n < 2:
        return None
    half = float(stdtrit(n - 1, (1 + level) / 2)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    middle = float(np.mean(values))
    return middle - half, middle + half


def t_test_p(values: Sequence[float]) -> float | None:
    """Return the two-sided p value of a mean of zero; None for a single value."""
    n = len(_points(values))
    if n < 2:
        return None
    middle, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(n)
    if error == 0:
        return 1.0 if middle == 0 else 0.0
    return float(2 * stdtr(n - 1, -abs(middle) / error))


def bca_interval(
    values: Sequence[float], level: float = 0.95, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """Return the bias-corrected, accelerated bootstrap interval of the median.

    None where it does not exist: under three values, or none that differ (Efron 1987; scipy's).
    """
    points = _points(values)
    if len(points) < 3 or np.ptp(points) == 0:
        return None
    from scipy.stats import bootstrap

    with np.errstate(all="ignore"):  # a degenerate jackknife is an interval of NaN, told below
        found = bootstrap(
            (points,),
            np.median,
            confidence_level=level,
            n_resamples=resamples,
            method="BCa",
            vectorized=True,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def cross_checks(
    values: Sequence[float], level: float = 0.95, *, seed: int = 0
) -> tuple[CrossCheck, ...]:
    """Return what the paired t and the paired bootstrap make of the same logarithms of ratios."""
    points = _points(values)
    by_t = t_interval(values, level) or (None, None)
    by_bootstrap = bca_interval(values, level, seed=seed) or (None, None)
    return (
        CrossCheck(method="paired t", estimate=float(np.mean(points)), low=by_t[0], high=by_t[1]),
        CrossCheck(
            method="paired BCa bootstrap",
            estimate=float(np.median(points)),
            low=by_bootstrap[0],
            high=by_bootstrap[1],
        ),
    )


def outliers(values: Sequence[float]) -> tuple[int, ...]:
    """Return the places of values whose modified z exceeds 3.5; they are reported, never dropped.

    0.6745 |x - median| / MAD, and where over half the values are equal the mean absolute
    deviation in its stead (Iglewicz & Hoaglin 1993).
    """
    distances = np.abs(_points(values) - np.median(values))
    scale = float(np.median(distances)) / 0.6745 or float(np.mean(distances)) * 1.2533
    if scale == 0:
        return ()
    return tuple(int(place) for place in np.flatnonzero(distances / scale > OUTLIER_Z))


def warmup_end(
    times_s: Sequence[float], *, window: int = 5, at_least: int = 0, tolerance: float = 0.05
) -> int | None:
    """Return the first index from which a window of times agrees with the one right after it.

    Two windows agree if their medians lie within ``tolerance`` of each other, or within what
    their own spread leaves open (as pyperf calibrates warm-ups). None: never within these times.

    Args:
        times_s: seconds per iteration in order, the warm-up first.
        window: how many times one window has.
        at_least: the index to begin at.
        tolerance: as a fraction.

    Raises:
        ValueError: a window of less than two times.
    """
    if window < 2:
        raise ValueError("a window needs at least two times")
    for index in range(at_least, len(times_s) - 2 * window + 1):
        first = times_s[index : index + window]
        if _agree(first, times_s[index + window : index + 2 * window], tolerance):
            return index
    return None


def discoveries(p_values: Sequence[float], rate: float = FALSE_DISCOVERIES) -> tuple[bool, ...]:
    """Tell which of many differences survive Benjamini-Hochberg (1995) at this rate."""
    if not p_values:
        return ()
    from scipy.stats import false_discovery_control

    return tuple(bool(p <= rate) for p in false_discovery_control(np.asarray(p_values)))


def _agree(first: Sequence[float], second: Sequence[float], tolerance: float) -> bool:
    one, other = float(np.median(first)), float(np.median(second))
    apart = abs(one - other)
    return apart <= tolerance * min(one, other) or apart <= min(_mad(first), _mad(second))


def _mad(values: Sequence[float]) -> float:
    return float(np.median(np.abs(np.asarray(values) - np.median(values))))


def _points(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 1 or points.size == 0:
        raise ValueError("statistics need at least one value")
    return points
