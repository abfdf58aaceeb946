"""One estimate for many boards: a random-effects meta-analysis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.stats.distributions import normal_quantile, t_quantile
from reports.stats.intervals import Effect, Floats

BISECTION_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The mean ratio of a population of boards, estimated from ``boards`` of them.

    ``spread`` is the standard deviation tau of the boards' true log ratios; ``i_squared`` is
    Higgins' I², the share of the scatter between boards that is not noise, from 0 to 1.
    """

    ratio: float
    ci_low: float | None
    ci_high: float | None
    spread: float
    i_squared: float
    boards: int


def random_effects(effects: Sequence[Effect], level: float = 0.95) -> Pooled:
    """Pool the boards' effects in a random-effects meta-analysis; one without interval is ignored.

    The variance between boards is estimated by the method of Paule & Mandel ("Consensus values and
    weighting factors", 1982). The interval is that of Hartung and Knapp with the modification of
    Röver et al. (BMC Med Res Methodol 15:99, 2015): it is never narrower than the boards' own
    uncertainties allow. A single board keeps its own interval.

    Args:
        effects: one per board, each with an interval of the confidence level ``level``.
        level: the confidence level.

    Raises:
        ValueError: no effect has an interval.
    """
    boards = [
        effect for effect in effects if effect.ci_low is not None and effect.ci_high is not None
    ]
    if not boards:
        raise ValueError("no board's effect has an interval")
    if len(boards) == 1:
        (only,) = boards
        return Pooled(
            ratio=only.ratio,
            ci_low=only.ci_low,
            ci_high=only.ci_high,
            spread=0.0,
            i_squared=0.0,
            boards=1,
        )
    logs = np.log([effect.ratio for effect in boards])
    errors = np.array([_standard_error(effect, level) for effect in boards])
    tau2 = _paule_mandel(logs, errors)
    weights = 1 / (errors**2 + tau2)
    mean = float(np.average(logs, weights=weights))
    freedom = len(logs) - 1
    inflation = max(1.0, float(np.sum(weights * (logs - mean) ** 2)) / freedom)
    quantile = t_quantile((1 + level) / 2, freedom)
    half_width = quantile * math.sqrt(inflation / weights.sum())
    return Pooled(
        ratio=math.exp(mean),
        ci_low=math.exp(mean - half_width),
        ci_high=math.exp(mean + half_width),
        spread=math.sqrt(tau2),
        i_squared=_i_squared(logs, errors),
        boards=len(logs),
    )


def _standard_error(effect: Effect, level: float) -> float:
    """Return the interval's half width over the quantile of the normal distribution.

    For few rounds this is too large rather than too small.
    """
    assert effect.ci_low is not None
    assert effect.ci_high is not None
    half_width = (math.log(effect.ci_high) - math.log(effect.ci_low)) / 2
    return max(half_width / normal_quantile((1 + level) / 2), 1e-9)  # rounds may agree by chance


def _q(logs: Floats, errors: Floats, tau2: float) -> float:
    """Return Cochran's Q, the weighted sum of squares about the weighted mean."""
    weights = 1 / (errors**2 + tau2)
    return float(np.sum(weights * (logs - np.average(logs, weights=weights)) ** 2))


def _paule_mandel(logs: Floats, errors: Floats) -> float:
    """Return tau², chosen so that Q equals its degrees of freedom; found by bisection."""
    freedom = len(logs) - 1
    if _q(logs, errors, 0.0) <= freedom:
        return 0.0
    low, high = 0.0, float(np.ptp(logs)) ** 2
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        if _q(logs, errors, middle) > freedom:
            low = middle
        else:
            high = middle
    return high


def _i_squared(logs: Floats, errors: Floats) -> float:
    """Return I² = 1 - (k - 1) / Q of k boards (Higgins & Thompson, Stat Med 21, 2002)."""
    q = _q(logs, errors, 0.0)
    return max(0.0, 1 - (len(logs) - 1) / q) if q > 0 else 0.0
