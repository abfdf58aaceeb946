"""When a difference is decided: looks after 8, 12, 16 and 20 rounds, and a verification. Pure.

At each look the effect has a 97.5 % interval of its own: by the union bound over four looks, a
kernel exactly at the margin is called worse in at most 5 % of gates (one-sided), however often it
was looked at. FAIL if the interval lies beyond the margin, PASS if it lies below, else go on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from reports.stats import Effect, hodges_lehmann, ratio_effect

LOOKS = (8, 12, 16, 20)  # rounds
LOOK_LEVEL = 0.975  # two-sided, of each look's interval
VERIFICATION_ROUNDS = 8
FEWEST_VERIFYING = 6  # of them must have become pairs
FEWEST_MEMORY_ROUNDS = 3
HL_OVER_MEAN = math.sqrt(math.pi / 3)  # standard error of Hodges-Lehmann over the mean's, normal


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one look says: PASS, FAIL or INCONCLUSIVE, and on what it rests."""

    status: str
    effect: Effect


def look_within(rounds: int) -> int | None:
    """Return the largest look that so many rounds allow; None below the first."""
    return max((look for look in LOOKS if look <= rounds), default=None)


def look_after(rounds: int) -> int | None:
    """Return the next look; None after the last."""
    return min((look for look in LOOKS if look > rounds), default=None)


def decide(log_ratios: Sequence[float], margin: float) -> Decision:
    """Judge the rounds of one look: logarithms of new / base, one per round.

    Raises:
        ValueError: no rounds, or a margin that is negative.
    """
    effect = ratio_effect(log_ratios, LOOK_LEVEL)
    status = side(effect.ci_low, effect.ci_high, 1 + _checked(margin))
    return Decision(status=status, effect=effect)


def decide_every(log_ratios: Sequence[float], margin: float) -> Decision:
    """Judge figures that hardly scatter (peak memory): every single round must be on one side.

    Raises:
        ValueError: no rounds, or a margin that is negative.
    """
    limit = math.log1p(_checked(margin))
    ratio = math.exp(hodges_lehmann(log_ratios))
    effect = Effect(ratio=ratio, ci_low=None, ci_high=None, n=len(log_ratios))
    if min(log_ratios) > limit:
        return Decision(status="FAIL", effect=effect)
    status = "PASS" if max(log_ratios) < limit else "INCONCLUSIVE"
    return Decision(status=status, effect=effect)


def side(low: float | None, high: float | None, limit: float) -> str:
    """Say where an interval lies: FAIL beyond the limit, PASS below it, else INCONCLUSIVE."""
    if low is None or high is None:
        return "INCONCLUSIVE"
    return "FAIL" if low > limit else "PASS" if high < limit else "INCONCLUSIVE"


def verified(log_ratios: Sequence[float], margin: float) -> bool:
    """Tell whether an independent batch's estimate lies beyond the margin too."""
    return hodges_lehmann(log_ratios) > math.log1p(margin)


def rounds_to_decide(log_ratios: Sequence[float], margin: float) -> int:
    """Return about how many rounds would decide, if the estimate and the spread stay as they are.

    Raises:
        ValueError: fewer than two rounds.
    """
    if len(log_ratios) < 2:
        raise ValueError("it takes two rounds or more to tell how many are needed")
    gap = abs(hodges_lehmann(log_ratios) - math.log1p(margin))
    spread = float(np.std(log_ratios, ddof=1)) * HL_OVER_MEAN
    rounds = LOOKS[0]
    while rounds < 10_000 and _half_width(spread, rounds) >= gap:
        rounds = math.ceil(rounds * 1.1)
    return rounds


def _half_width(spread: float, rounds: int) -> float:
    """Return half the width of an interval of so many rounds, by normal theory."""
    return float(stdtrit(rounds - 1, (1 + LOOK_LEVEL) / 2)) * spread / math.sqrt(rounds)


def _checked(margin: float) -> float:
    if not 0 <= margin < math.inf:
        raise ValueError(f"a margin must be a fraction, such as 0.03 for 3 %, not {margin}")
    return margin
