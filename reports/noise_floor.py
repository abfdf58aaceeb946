"""The noise floor of a board: what two blocks of the very same thing differ by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MetricFloor:
    """What A/A pairs of one metric and phase showed; all figures are of logarithms of ratios.

    ``spread`` is the standard deviation of a pair's difference, ``effect_q95`` the 95 % quantile
    of the absolute Hodges-Lehmann effect, ``slot_effect`` what the later block of a pair gains
    over the earlier, ``drift`` the spread between rounds, ``detectable`` the smallest true effect
    that a number of rounds finds in 80 % of gates.
    """

    metric: str
    phase: str
    rounds: int
    spread: float
    effect_q95: float
    slot_effect: float
    drift: float
    detectable: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """A calibration of one machine; stale once the machine's fingerprint has another value."""

    target: str
    fingerprint: str
    measured_at: str
    floors: tuple[MetricFloor, ...]
