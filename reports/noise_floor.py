"""The noise floor of a board: what two blocks of the very same thing differ by. Pure.

An A/A run measures one kernel under two names. Each round gives a pair whose true ratio is one,
so that whatever is found is noise. What a gate would have made of such rounds is learnt by
drawing rounds again with replacement, each with a random sign (the two names are exchangeable):
that keeps the tails that the board really has, where normal theory would assume them away. The
quantiles are widened by Student's over the normal's, as the spread of few rounds is itself
uncertain.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from scipy.special import ndtri, stdtrit

from reports.decision import LOOK_LEVEL, LOOKS
from reports.reading import ResultProblem, check_schema, read_limited
from reports.records import TargetRun
from reports.stats import Floats, hodges_lehmann, walsh_averages, wilcoxon_cut
from workloads.messages import SCHEMA

RESAMPLES = 4000
FEWEST_ROUNDS = 6
POWER = 0.8
TYPE = "noise floor"


@dataclass(frozen=True, kw_only=True)
class MetricFloor:
    """What A/A pairs of one metric and phase showed; all figures are of logarithms of ratios.

    ``spread`` is the standard deviation of a pair's difference, ``effect_q95`` the 95 % quantile
    of the absolute Hodges-Lehmann effect of a gate's first look (8 rounds), ``slot_effect`` what
    the later block of a pair gains over the earlier, ``drift`` the spread between rounds,
    ``detectable`` the smallest true effect that a number of rounds finds in 80 % of gates whose
    margin is the floor.
    """

    metric: str
    phase: str
    rounds: int
    spread: float
    effect_q95: float
    slot_effect: float
    drift: float
    detectable: Mapping[int, float]

    @property
    def margin(self) -> float:
        """Return the smallest margin that this floor allows, as a fraction."""
        return math.expm1(self.effect_q95)


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """A calibration of one machine; stale once the machine's fingerprint has another value.

    ``conditions`` are what else must be the same for it to hold: the system's and torch's
    versions, clocks, power mode. ``sentinel_spread`` is the standard deviation of the logarithm
    of the sentinel between rounds, None where there was no sentinel.
    """

    target: str
    fingerprint: str
    measured_at: str
    floors: tuple[MetricFloor, ...]
    conditions: Mapping[str, str] = field(default_factory=dict)
    sentinel_spread: float | None = None

    def of(self, metric: str, phase: str) -> MetricFloor | None:
        """Return the floor of one metric and phase, None where it was not calibrated."""
        found = (one for one in self.floors if (one.metric, one.phase) == (metric, phase))
        return next(found, None)


@dataclass(frozen=True, kw_only=True)
class AARound:
    """One round of an A/A run: the figure under either name, and which block came first."""

    a: float
    b: float
    a_first: bool


def metric_floor(
    metric: str, phase: str, rounds: Sequence[AARound], *, seed: int = 0
) -> MetricFloor:
    """Return the floor that A/A rounds of one metric and phase show.

    Raises:
        ValueError: fewer than six rounds, or a figure that is not positive.
    """
    if len(rounds) < FEWEST_ROUNDS:
        raise ValueError(f"a noise floor takes at least {FEWEST_ROUNDS} rounds, not {len(rounds)}")
    if min(min(one.a, one.b) for one in rounds) <= 0:
        raise ValueError("a noise floor needs positive figures")
    a, b = (np.log([getattr(one, name) for one in rounds]) for name in "ab")
    signs = np.where([one.a_first for one in rounds], 1.0, -1.0)
    q95, slacks = _resampled(b - a, seed)
    return MetricFloor(
        metric=metric,
        phase=phase,
        rounds=len(rounds),
        spread=float(np.std(b - a, ddof=1)),
        effect_q95=q95,
        slot_effect=hodges_lehmann(signs * (b - a)),
        drift=float(np.std((a + b) / 2, ddof=1)),
        detectable={look: q95 + slack for look, slack in slacks.items()},
    )


def worst(floors: Iterable[MetricFloor]) -> tuple[MetricFloor, ...]:
    """Return one floor per metric and phase: that of the workload which scatters most."""
    kept: dict[tuple[str, str], MetricFloor] = {}
    for one in floors:
        key = (one.metric, one.phase)
        if key not in kept or kept[key].effect_q95 < one.effect_q95:
            kept[key] = one
    return tuple(kept.values())


def rounds_for(floor: MetricFloor, margin: float) -> int | None:
    """Return the first look at which 80 % of equal kernels PASS at a margin; None: at no look."""
    limit = math.log1p(max(margin, floor.margin))
    looks = sorted(floor.detectable.items())
    return next((n for n, found in looks if found - floor.effect_q95 < limit), None)


def conditions_of(target: TargetRun) -> dict[str, str]:
    """Return what a calibration depends on beside the machine; what is unknown is left out."""
    probe = target.probe
    found: dict[str, Any] = {}
    if probe is not None:
        found = {
            "operating system": probe.os,
            "kernel of the system": probe.kernel,
            "L4T": probe.l4t,
            "torch": probe.torch.version if probe.torch else "",
            "threads": probe.threads,
        }
    states = (block.state_before for block in target.blocks if block.state_before)
    state = next(states, None)
    if state is not None:
        found["governor"] = state.governor
        found["power mode"] = state.power_mode
        found["clock limits (MHz)"] = ", ".join(f"{mhz:g}" for mhz in state.cpu_max_mhz if mhz)
    return {name: str(value) for name, value in found.items() if value}


def staleness(
    floor: NoiseFloor, *, conditions: Mapping[str, str], fingerprint: str = ""
) -> tuple[str, ...]:
    """Return what has changed since the calibration, in words; empty where it still holds.

    A condition that either side does not know is not held against it.
    """
    changes = []
    if fingerprint and fingerprint != floor.fingerprint:
        changes.append(f"it is a different machine: {floor.fingerprint} then, {fingerprint} now")
    for name, then in floor.conditions.items():
        now = conditions.get(name, then)
        if now != then:
            changes.append(f"{name}: {then} then, {now} now")
    return tuple(changes)


def to_json(floor: NoiseFloor) -> dict[str, Any]:
    """Return the file's content."""
    return {"schema": SCHEMA, "type": TYPE, **asdict(floor)}


def from_json(document: Mapping[str, Any]) -> NoiseFloor:
    """Rebuild a floor; unknown fields are ignored.

    Raises:
        ValueError: it is none.
    """
    if document.get("type") != TYPE:
        raise ValueError(f"not a noise floor but {document.get('type')!r}")
    return _ADAPTER.validate_python(dict(document))


def load(path: Path) -> NoiseFloor | None:
    """Read a stored floor; None where there is none.

    Raises:
        ResultProblem: it is broken, or of a newer major schema.
    """
    content = read_limited(path)
    if content is None:
        return None
    try:
        document = json.loads(content)
        check_schema(document.get("schema"), path)
        return from_json(document)
    except (ValueError, AttributeError, RecursionError) as error:
        raise ResultProblem(f"{path} is broken, calibrate again: {error}") from error


_ADAPTER = TypeAdapter(NoiseFloor)


def _resampled(differences: Floats, seed: int) -> tuple[float, dict[int, float]]:
    """Return the 95 % quantile of |effect| at the first look, and each look's slack.

    The slack is how far the lower bound of the interval lies under the true effect in 80 % of
    gates: a true effect is found if it exceeds the margin by that.
    """
    n = len(differences)
    random = np.random.default_rng(seed)
    widened = float(stdtrit(n, 0.975) / ndtri(0.975))
    q95, slacks = 0.0, {}
    for look in LOOKS:
        drawn = differences[random.integers(n, size=(RESAMPLES, look))]
        signed = drawn * random.choice([-1.0, 1.0], size=drawn.shape)
        averages = np.sort(walsh_averages(signed), axis=-1)
        if look == LOOKS[0]:
            q95 = widened * float(np.quantile(np.abs(np.median(averages, axis=-1)), 0.95))
        lows = averages[:, wilcoxon_cut(look, LOOK_LEVEL) - 1]
        slacks[look] = -widened * float(np.quantile(lows, 1 - POWER))
    return q95, slacks
