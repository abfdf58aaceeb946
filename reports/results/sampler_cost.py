"""What is stored of a sampler's cost."""

from __future__ import annotations

from dataclasses import dataclass

from reports.results.fields import Figure

SPARSE = 10.0  # a sparse sampler reads this many times less often


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round: the step's median latency, the mean power, the sampler's share of a core."""

    on_s: Figure
    off_s: Figure
    off_again_s: Figure
    on_w: Figure | None = None
    sparse_w: Figure | None = None
    cpu_share: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A paired ratio with its 95 % interval; none for fewer than six rounds."""

    value: Figure
    ci_low: Figure | None
    ci_high: Figure | None


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
    cpu_share: Figure | None

    @property
    def summary(self) -> str:
        """Return it in a line, for a table of facts."""
        parts = [f"latency {_percent(self.latency)} (by chance {_percent(self.floor)})"]
        if self.power_w is not None:
            milliwatts = round(1e3 * self.power_w.value)
            parts.append(f"power {milliwatts:+d} mW{_interval_mw(self.power_w)}")
        if self.cpu_share is not None:
            parts.append(f"{self.cpu_share:.1%} of a core")
        return f"{'; '.join(parts)}; {len(self.rounds)} rounds"


def _percent(ratio: Ratio) -> str:
    text = f"{ratio.value - 1:+.2%}"
    if ratio.ci_low is None or ratio.ci_high is None:
        return text
    return f"{text} [{ratio.ci_low - 1:+.2%}, {ratio.ci_high - 1:+.2%}]"


def _interval_mw(watts: Ratio) -> str:
    if watts.ci_low is None or watts.ci_high is None:
        return ""
    return f" [{round(1e3 * watts.ci_low):+d}, {round(1e3 * watts.ci_high):+d}]"
