"""What the power sampler costs on a machine, from rounds of blocks with and without it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.results.sampler_cost import SPARSE, Ratio, Round, SamplerCost
from reports.stats.intervals import paired_ratio, wilcoxon_interval


def cost_of(rounds: Sequence[Round], sensors: tuple[str, ...]) -> SamplerCost:
    """Return the cost of sampling.

    Raises:
        ValueError: there are no rounds, or a latency that is not positive.
    """
    shares = [one.cpu_share for one in rounds if one.cpu_share is not None]
    return SamplerCost(
        sensors=sensors,
        rounds=tuple(rounds),
        latency=_ratio([one.off_s for one in rounds], [one.on_s for one in rounds]),
        floor=_ratio([one.off_s for one in rounds], [one.off_again_s for one in rounds]),
        power_w=_power(rounds),
        cpu_share=float(np.median(shares)) if shares else None,
    )


def _ratio(base: Sequence[float], new: Sequence[float]) -> Ratio:
    effect = paired_ratio(base, new)
    return Ratio(value=effect.ratio, ci_low=effect.ci_low, ci_high=effect.ci_high)


def _power(rounds: Sequence[Round]) -> Ratio | None:
    """Return the watts of sampling: what nine tenths of the readings cost, scaled to all."""
    scale = SPARSE / (SPARSE - 1)
    costs = [
        scale * (one.on_w - one.sparse_w)
        for one in rounds
        if one.on_w is not None and one.sparse_w is not None
    ]
    if not costs:
        return None
    low, high = wilcoxon_interval(costs) or (None, None)
    return Ratio(value=float(np.median(costs)), ci_low=low, ci_high=high)
