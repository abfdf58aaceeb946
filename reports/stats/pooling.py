"""One figure for many boards: a random-effects summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from reports.stats.intervals import Effect, Floats

MAX_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A ratio over boards: what a further board of this kind may be expected to show.

    ``spread`` is the standard deviation of the boards' true logarithms (tau), ``i_squared`` the
    share of what differs between boards that is not noise, 0 to 1; ``boards`` how many there are.
    """

    ratio: float
    ci_low: float | None
    ci_high: float | None
    spread: float
    i_squared: float
    boards: int


def random_effects(effects: Sequence[Effect], level: float = 0.95) -> Pooled:
    """Pool the boards' effects by the method of Paule and Mandel with Hartung-Knapp's interval.

    Each board's standard error is taken from its own interval, which must be of ``level``. With
    one board the interval is its own; of two or more it is Student's on what boards scatter, and
    never narrower than their own uncertainties allow (Paule & Mandel 1982; Roever et al. 2015).

    Raises:
        ValueError: no effect has an interval.
    """
    usable = [one for one in effects if one.ci_low is not None and one.ci_high is not None]
    if not usable:
        raise ValueError("no board's effect has an interval")
    logs = np.log([one.ratio for one in usable])
    errors = np.array([_standard_error(one, level) for one in usable])
    if len(usable) == 1:
        only = usable[0]
        return Pooled(
            ratio=only.ratio, ci_low=only.ci_low, ci_high=only.ci_high,
            spread=0.0, i_squared=0.0, boards=1,
        )  # fmt: skip
    tau2 = _paule_mandel(logs, errors)
    weights = 1 / (errors**2 + tau2)
    middle = float(np.average(logs, weights=weights))
    q = float(np.sum(weights * (logs - middle) ** 2)) / (len(logs) - 1)
    half = float(stdtrit(len(logs) - 1, (1 + level) / 2)) * math.sqrt(max(1.0, q) / weights.sum())
    return Pooled(
        ratio=math.exp(middle),
        ci_low=math.exp(middle - half),
        ci_high=math.exp(middle + half),
        spread=math.sqrt(tau2),
        i_squared=_i_squared(logs, errors),
        boards=len(logs),
    )


def _standard_error(effect: Effect, level: float) -> float:
    """Return the interval's half width over the normal's quantile: rather too large than small."""
    assert effect.ci_low is not None
    assert effect.ci_high is not None
    width = math.log(effect.ci_high) - math.log(effect.ci_low)
    return max(width / 2 / float(ndtri((1 + level) / 2)), 1e-9)  # equal figures are no proof


def _q(logs: Floats, errors: Floats, tau2: float) -> float:
    weights = 1 / (errors**2 + tau2)
    return float(np.sum(weights * (logs - np.average(logs, weights=weights)) ** 2))


def _paule_mandel(logs: Floats, errors: Floats) -> float:
    """Return tau squared at which the weighted scatter is what its degrees of freedom say."""
    wanted = len(logs) - 1
    if _q(logs, errors, 0.0) <= wanted:
        return 0.0
    low, high = 0.0, float(np.ptp(logs)) ** 2
    for _ in range(MAX_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _q(logs, errors, middle) > wanted else (low, middle)
    return high


def _i_squared(logs: Floats, errors: Floats) -> float:
    """Return Higgins' share of the scatter that is not noise."""
    q = _q(logs, errors, 0.0)
    return max(0.0, 1 - (len(logs) - 1) / q) if q > 0 else 0.0
