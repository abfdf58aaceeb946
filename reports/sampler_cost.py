"""What the power sampler costs on a machine, from rounds of blocks with and without it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.stats import paired_ratio, wilcoxon_interval

SPARSE = 10.0  # a sparse sampler reads this many times less often


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round: the step's median latency, the mean power, the sampler's share of a core."""

    on_s: float
    off_s: float
    off_again_s: float
    on_w: float | None = None
    sparse_w: float | None = None
    cpu_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A paired ratio with its 95 % interval; none for fewer than six rounds."""

    value: float
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True)
class SamplerCost:
    """The cost of sampling; ``power_w`` is None where the sensor shows no total.

    ``latency`` is on / off, ``floor`` off / off: what the same comparison gives by chance.
    """

    sensors: tuple[str, ...]
    rounds: tuple[Round, ...]
    latency: Ratio
    floor: Ratio
    power_w: Ratio | None
    cpu_share: float | None

    @property
    def words(self) -> str:
        """Return it in a line, for a table of facts."""
        parts = [
            f"latency {_percent(self.latency)} (without it on either side {_percent(self.floor)})"
        ]
        if self.power_w is not None:
            milliwatts = round(1e3 * self.power_w.value)
            parts.append(f"power {milliwatts:+d} mW{_interval_mw(self.power_w)}")
        if self.cpu_share is not None:
            parts.append(f"{self.cpu_share:.1%} of a core")
        return f"{'; '.join(parts)}; {len(self.rounds)} rounds"


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


def _percent(ratio: Ratio) -> str:
    text = f"{ratio.value - 1:+.2%}"
    if ratio.ci_low is None or ratio.ci_high is None:
        return text
    return f"{text} [{ratio.ci_low - 1:+.2%}, {ratio.ci_high - 1:+.2%}]"


def _interval_mw(watts: Ratio) -> str:
    if watts.ci_low is None or watts.ci_high is None:
        return ""
    return f" [{round(1e3 * watts.ci_low):+d}, {round(1e3 * watts.ci_high):+d}]"
