"""Checks on the main estimates: other intervals, outliers, and a correction for many tests.

The estimate and the decision come from ``reports.stats.intervals`` and ``sequential``; these
checks confirm them or cast doubt on them. ``scipy.stats`` takes half a second to import, so it is
only imported where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.stats.distributions import t_cdf, t_quantile
from reports.stats.intervals import Interval

BOOTSTRAP_RESAMPLES = 999
OUTLIER_Z = 3.5  # the cutoff that Iglewicz & Hoaglin recommend
FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True, kw_only=True)
class CrossCheck:
    """Another method's estimate of the same log ratios; the interval is None if it has none."""

    method: str
    estimate: float
    low: float | None
    high: float | None


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return Student's t interval of the mean; None for a single value.

    Raises:
        ValueError: there are no values.
    """
    n = len(_points(values))
    if n < 2:
        return None
    quantile = t_quantile((1 + level) / 2, n - 1)
    half_width = quantile * float(np.std(values, ddof=1)) / math.sqrt(n)
    mean = float(np.mean(values))
    return mean - half_width, mean + half_width


def t_test_p(values: Sequence[float]) -> float | None:
    """Return the two-sided p-value of the null hypothesis that the mean is zero (Student's t).

    None for a single value.

    Raises:
        ValueError: there are no values.
    """
    n = len(_points(values))
    if n < 2:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(n)
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * t_cdf(-abs(mean) / error, n - 1)


def bca_interval(
    values: Sequence[float],
    level: float = 0.95,
    *,
    seed: int = 0,
    resamples: int = BOOTSTRAP_RESAMPLES,
) -> Interval | None:
    """Return the bias-corrected and accelerated (BCa) bootstrap interval of the median.

    It does not exist, and is None, for fewer than three values or if all are equal (Efron, "Better
    bootstrap confidence intervals", JASA 82, 1987; computed by scipy).

    Raises:
        ValueError: there are no values.
    """
    points = _points(values)
    if len(points) < 3 or np.ptp(points) == 0:
        return None
    from scipy.stats import bootstrap

    with np.errstate(all="ignore"):  # a degenerate jackknife gives NaN, which is handled below
        interval = bootstrap(
            (points,),
            np.median,
            confidence_level=level,
            n_resamples=resamples,
            method="BCa",
            vectorized=True,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def cross_checks(
    values: Sequence[float], level: float = 0.95, *, seed: int = 0
) -> tuple[CrossCheck, ...]:
    """Return the estimates of the paired t and the paired bootstrap from the same log ratios.

    Raises:
        ValueError: there are no values.
    """
    points = _points(values)
    t_low, t_high = t_interval(values, level) or (None, None)
    bootstrap_low, bootstrap_high = bca_interval(values, level, seed=seed) or (None, None)
    return (
        CrossCheck(method="paired t", estimate=float(np.mean(points)), low=t_low, high=t_high),
        CrossCheck(
            method="paired BCa bootstrap",
            estimate=float(np.median(points)),
            low=bootstrap_low,
            high=bootstrap_high,
        ),
    )


def outliers(values: Sequence[float]) -> tuple[int, ...]:
    """Return the indices of values whose modified z-score exceeds 3.5.

    They are reported, never dropped. The score is 0.6745 |x - median| / MAD; if more than half of
    the values are equal (MAD = 0), the mean absolute deviation takes its place (Iglewicz &
    Hoaglin, "How to Detect and Handle Outliers", 1993).

    Raises:
        ValueError: there are no values.
    """
    distances = np.abs(_points(values) - np.median(values))
    scale = float(np.median(distances)) / 0.6745 or float(np.mean(distances)) * 1.2533
    if scale == 0:
        return ()
    return tuple(np.flatnonzero(distances / scale > OUTLIER_Z).tolist())


def warmup_end(
    times_s: Sequence[float], *, window: int = 5, at_least: int = 0, tolerance: float = 0.05
) -> int | None:
    """Return the index at which the warm-up ends: from there, two adjacent windows agree.

    Two windows agree if their medians differ by no more than ``tolerance``, or by no more than
    the smaller of their median absolute deviations (like pyperf's calibration of warm-ups). None
    if no two windows agree.

    Args:
        times_s: seconds per iteration in order, from the first iteration on.
        window: the number of times in one window.
        at_least: the first index that may be returned.
        tolerance: a fraction of the smaller median.

    Raises:
        ValueError: the window has fewer than two times.
    """
    if window < 2:
        raise ValueError("a window needs at least two times")
    for index in range(at_least, len(times_s) - 2 * window + 1):
        first = times_s[index : index + window]
        second = times_s[index + window : index + 2 * window]
        if _windows_agree(first, second, tolerance):
            return index
    return None


def discoveries(p_values: Sequence[float], rate: float = FALSE_DISCOVERY_RATE) -> tuple[bool, ...]:
    """Say which differences remain significant at this false discovery rate.

    Benjamini & Hochberg, "Controlling the false discovery rate", JRSS B 57, 1995.
    """
    if not p_values:
        return ()
    from scipy.stats import false_discovery_control

    return tuple(bool(p <= rate) for p in false_discovery_control(np.asarray(p_values)))


def _windows_agree(first: Sequence[float], second: Sequence[float], tolerance: float) -> bool:
    first_median, second_median = float(np.median(first)), float(np.median(second))
    difference = abs(first_median - second_median)
    if difference <= tolerance * min(first_median, second_median):
        return True
    return difference <= min(_mad(first), _mad(second))


def _mad(values: Sequence[float]) -> float:
    """Return the median absolute deviation."""
    return float(np.median(np.abs(np.asarray(values) - np.median(values))))


def _points(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 1 or points.size == 0:
        raise ValueError("statistics need at least one value")
    return points
