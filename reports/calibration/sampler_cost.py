"""The cost of the power sampler on a machine, from rounds of blocks with and without it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.results.sampler_cost import SPARSE, Ratio, Round, SamplerCost
from reports.stats.intervals import paired_ratio, wilcoxon_interval


def cost_of(rounds: Sequence[Round], sensors: tuple[str, ...]) -> SamplerCost:
    """Return the cost of sampling: new / base is with / without the sampler.

    ``floor`` compares two blocks without it, ``cpu_share`` is the sampler's share of one
    processor.

    Raises:
        ValueError: there are no rounds, or a latency is not positive.
    """
    shares = [round_.cpu_share for round_ in rounds if round_.cpu_share is not None]
    off_s = [round_.off_s for round_ in rounds]
    return SamplerCost(
        sensors=sensors,
        rounds=tuple(rounds),
        latency=_ratio(off_s, [round_.on_s for round_ in rounds]),
        floor=_ratio(off_s, [round_.off_again_s for round_ in rounds]),
        power_w=_power(rounds),
        cpu_share=float(np.median(shares)) if shares else None,
    )


def _ratio(base: Sequence[float], new: Sequence[float]) -> Ratio:
    effect = paired_ratio(base, new)
    return Ratio(value=effect.ratio, ci_low=effect.ci_low, ci_high=effect.ci_high)


def _power(rounds: Sequence[Round]) -> Ratio | None:
    """Return the watts that sampling takes; None if no round measured the power.

    Sparse blocks take every tenth reading, so the difference is the cost of nine tenths of them.
    """
    costs_w = []
    for round_ in rounds:
        if round_.on_w is not None and round_.sparse_w is not None:
            costs_w.append(SPARSE / (SPARSE - 1) * (round_.on_w - round_.sparse_w))
    if not costs_w:
        return None
    low, high = wilcoxon_interval(costs_w) or (None, None)
    return Ratio(value=float(np.median(costs_w)), ci_low=low, ci_high=high)
