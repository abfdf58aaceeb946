"""Sequential decisions: looks after 8, 12, 16 and 20 rounds, and a verification. Pure.

At each look the effect has a 97.5 % interval of its own. By the union bound over the four looks, a
kernel exactly at the margin is called worse in at most 5 % of gates (one-sided: 4 x 1.25 %),
however many looks were taken. The decision is FAIL if the interval lies above the margin and PASS
if it lies below; otherwise the measurement continues to the next look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.stats.distributions import t_quantile
from reports.stats.intervals import Effect, hodges_lehmann, ratio_effect

LOOKS = (8, 12, 16, 20)  # rounds
LOOK_LEVEL = 0.975  # confidence level of each look's two-sided interval
VERIFICATION_ROUNDS = 8
MIN_VERIFICATION_PAIRS = 6  # of the verification rounds
MIN_MEMORY_ROUNDS = 3
MAX_ROUNDS = 10_000  # a difference that needs more is not decided by any number of rounds
# Standard error of the Hodges-Lehmann estimate over that of the mean, for normal values
# (asymptotic relative efficiency 3/pi; Hodges & Lehmann 1963).
HL_OVER_MEAN = math.sqrt(math.pi / 3)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The result of one look: PASS, FAIL or INCONCLUSIVE, and the effect it rests on."""

    status: str
    effect: Effect


def look_within(rounds: int) -> int | None:
    """Return the last look that this many rounds reach; None before the first."""
    return max((look for look in LOOKS if look <= rounds), default=None)


def look_after(rounds: int) -> int | None:
    """Return the next look after this many rounds; None after the last."""
    return min((look for look in LOOKS if look > rounds), default=None)


def decide(log_ratios: Sequence[float], margin: float) -> Decision:
    """Decide one look from the logarithms of new / base, one per round.

    Raises:
        ValueError: there are no rounds, or the margin (a fraction) is negative or infinite.
    """
    effect = ratio_effect(log_ratios, LOOK_LEVEL)
    status = side(effect.ci_low, effect.ci_high, 1 + _checked(margin))
    return Decision(status=status, effect=effect)


def decide_by_every_round(log_ratios: Sequence[float], margin: float) -> Decision:
    """Decide on figures that hardly scatter (peak memory): all rounds must be on one side.

    Raises:
        ValueError: there are no rounds, or the margin (a fraction) is negative or infinite.
    """
    limit = math.log1p(_checked(margin))
    ratio = math.exp(hodges_lehmann(log_ratios))
    effect = Effect(ratio=ratio, ci_low=None, ci_high=None, n=len(log_ratios))
    return Decision(status=side(min(log_ratios), max(log_ratios), limit), effect=effect)


def side(low: float | None, high: float | None, limit: float) -> str:
    """Return FAIL if the interval lies above the limit, PASS if below, else INCONCLUSIVE."""
    if low is None or high is None:
        return "INCONCLUSIVE"
    if low > limit:
        return "FAIL"
    return "PASS" if high < limit else "INCONCLUSIVE"


def verified(log_ratios: Sequence[float], margin: float) -> bool:
    """Say whether the estimate from an independent batch exceeds the margin (a fraction) too."""
    return hodges_lehmann(log_ratios) > math.log1p(margin)


def rounds_to_decide(log_ratios: Sequence[float], margin: float) -> int:
    """Return roughly how many rounds decide if the estimate and the spread stay as they are.

    The half width of the interval, by normal theory, has to fall below the distance between the
    estimate and the margin. MAX_ROUNDS or more: no number of rounds decides.

    Raises:
        ValueError: fewer than two rounds.
    """
    if len(log_ratios) < 2:
        raise ValueError("at least two rounds are needed to estimate how many would decide")
    distance = abs(hodges_lehmann(log_ratios) - math.log1p(margin))
    spread = float(np.std(log_ratios, ddof=1)) * HL_OVER_MEAN
    rounds = LOOKS[0]
    while rounds < MAX_ROUNDS and _half_width(spread, rounds) >= distance:
        rounds = math.ceil(rounds * 1.1)
    return rounds


def _half_width(spread: float, rounds: int) -> float:
    return t_quantile((1 + LOOK_LEVEL) / 2, rounds - 1) * spread / math.sqrt(rounds)


def _checked(margin: float) -> float:
    if not 0 <= margin < math.inf:
        raise ValueError(f"a margin must be a fraction, such as 0.03 for 3 %, not {margin}")
    return margin
