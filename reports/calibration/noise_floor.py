"""The noise floor of a board: how much two blocks of the same kernel differ.

An A/A run measures one kernel under two names. The true ratio of each round's pair is one, so any
difference is noise. The rounds of a gate are simulated by resampling these pairs with replacement,
each with a random sign (the two names are exchangeable). This keeps the tails that the board
really has, which normal theory would ignore. The spread of few rounds is uncertain itself, so the
quantiles are widened by the ratio of Student's quantile to that of the normal distribution.

The floors of a run are stored beside it, by machine, and copied into its folder when it is judged.
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

from reports.calibration.machine import floor_path, machine_fingerprint
from reports.results.read import FLOORS, ResultError, check_schema, read_limited
from reports.results.records import Run, TargetRun
from reports.results.write import write_json_atomic
from reports.stats.distributions import normal_quantile, t_quantile
from reports.stats.intervals import Floats, hodges_lehmann, walsh_averages, wilcoxon_rank
from reports.stats.sequential import LOOK_LEVEL, LOOKS
from workloads.spec.messages import SCHEMA

RESAMPLES = 4000
FEWEST_ROUNDS = 6
POWER = 0.8  # share of gates in which a detectable effect is detected
TYPE = "noise floor"  # of a calibration's file
KEPT_TYPE = "noise floors"  # of floors.json in a run's folder


@dataclass(frozen=True, kw_only=True)
class MetricFloor:
    """The noise of one metric and phase in an A/A run; all figures are of log ratios.

    Attributes:
        spread: standard deviation of a pair's difference.
        effect_q95: 95 % quantile of the absolute effect (Hodges-Lehmann estimate) that a gate
            finds at its first look, after 8 rounds.
        slot_effect: how much more the later block of a pair takes than the earlier one.
        drift: standard deviation of a pair's mean between rounds.
        detectable: by number of rounds, the smallest true effect that is detected in 80 % of
            gates whose margin is the floor.
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
    """The calibration of one machine; it is stale if the fingerprint or a condition has changed.

    ``conditions`` are facts by name, such as the versions of the system and torch, clock limits
    and the power mode. ``sentinel_spread`` is the standard deviation, between rounds, of the
    logarithm of the sentinel's latency; None without a sentinel.
    """

    target: str
    fingerprint: str
    measured_at: str
    floors: tuple[MetricFloor, ...]
    conditions: Mapping[str, str] = field(default_factory=dict)
    sentinel_spread: float | None = None

    def of(self, metric: str, phase: str) -> MetricFloor | None:
        """Return the floor of one metric and phase; None if it was not calibrated."""
        for floor in self.floors:
            if (floor.metric, floor.phase) == (metric, phase):
                return floor
        return None


FloorsByTarget = Mapping[str, NoiseFloor | None]  # None: the machine is not calibrated


@dataclass(frozen=True, kw_only=True)
class KeptFloors:
    """The content of a run's floors.json: the calibrations that it is judged with."""

    targets: FloorsByTarget


@dataclass(frozen=True, kw_only=True)
class AARound:
    """One round of an A/A run: the figure under each name, and whether block a came first."""

    a: float
    b: float
    a_first: bool


def metric_floor(
    metric: str, phase: str, rounds: Sequence[AARound], *, seed: int = 0
) -> MetricFloor:
    """Return the noise floor of one metric and phase from its A/A rounds.

    Raises:
        ValueError: fewer than six rounds, or a figure that is not positive.
    """
    if len(rounds) < FEWEST_ROUNDS:
        raise ValueError(f"a noise floor needs at least {FEWEST_ROUNDS} rounds, not {len(rounds)}")
    if min(min(pair.a, pair.b) for pair in rounds) <= 0:
        raise ValueError("a noise floor needs positive figures")
    a, b = np.log([pair.a for pair in rounds]), np.log([pair.b for pair in rounds])
    signs = np.where([pair.a_first for pair in rounds], 1.0, -1.0)
    q95, distances = _simulated_gates(b - a, seed)
    return MetricFloor(
        metric=metric,
        phase=phase,
        rounds=len(rounds),
        spread=float(np.std(b - a, ddof=1)),
        effect_q95=q95,
        slot_effect=hodges_lehmann(signs * (b - a)),
        drift=float(np.std((a + b) / 2, ddof=1)),
        detectable={look: q95 + distance for look, distance in distances.items()},
    )


def worst(floors: Iterable[MetricFloor]) -> tuple[MetricFloor, ...]:
    """Return one floor per metric and phase: that of the workload with the most noise."""
    kept: dict[tuple[str, str], MetricFloor] = {}
    for floor in floors:
        key = (floor.metric, floor.phase)
        if key not in kept or kept[key].effect_q95 < floor.effect_q95:
            kept[key] = floor
    return tuple(kept.values())


def rounds_for(floor: MetricFloor, margin: float) -> int | None:
    """Return the first look at which 80 % of equal kernels PASS; None if there is no such look."""
    limit = math.log1p(max(margin, floor.margin))
    for look, detectable in sorted(floor.detectable.items()):
        if detectable - floor.effect_q95 < limit:
            return look
    return None


def conditions_of(target: TargetRun) -> dict[str, str]:
    """Return the conditions, besides the machine, that a calibration depends on; by name.

    Unknown conditions are left out.
    """
    facts: dict[str, Any] = {}
    probe = target.probe
    if probe is not None:
        facts = {
            "operating system": probe.os,
            "kernel of the system": probe.kernel,
            "L4T": probe.l4t,
            "torch": probe.torch.version if probe.torch else "",
            "threads": probe.threads,
        }
    state = next((block.state_before for block in target.blocks if block.state_before), None)
    if state is not None:
        facts["governor"] = state.governor
        facts["power mode"] = state.power_mode
        facts["clock limits (MHz)"] = ", ".join(f"{mhz:g}" for mhz in state.cpu_max_mhz if mhz)
    return {name: str(value) for name, value in facts.items() if value}


def staleness(
    floor: NoiseFloor, *, conditions: Mapping[str, str], fingerprint: str = ""
) -> tuple[str, ...]:
    """Return as text what has changed since the calibration; empty if it is still valid.

    Conditions that are unknown, then or now, are not compared.
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
    """Return the content of a calibration's file."""
    return {"schema": SCHEMA, "type": TYPE, **asdict(floor)}


def from_json(document: Mapping[str, Any]) -> NoiseFloor:
    """Return the floor that ``to_json`` wrote; unknown fields are ignored.

    Raises:
        ValueError: the document is not a noise floor.
    """
    if document.get("type") != TYPE:
        raise ValueError(f"not a noise floor but {document.get('type')!r}")
    return _ADAPTER.validate_python(dict(document))


def load(path: Path) -> NoiseFloor | None:
    """Read a stored floor; None if the file does not exist.

    Raises:
        ResultError: the file is broken, or has a newer major schema.
    """
    content = read_limited(path)
    if content is None:
        return None
    try:
        document = json.loads(content)
        check_schema(document.get("schema"), path)
        return from_json(document)
    except (ValueError, AttributeError, RecursionError) as error:
        raise ResultError(f"{path} is broken, calibrate again: {error}") from error


def calibrated_floors(run: Run, directory: Path) -> FloorsByTarget:
    """Return the stored calibrations of a run's machines, by target.

    Args:
        run: the run.
        directory: the folder of results that has them.

    Raises:
        ResultError: a stored floor is broken.
    """
    floors: dict[str, NoiseFloor | None] = {}
    for target in run.targets:
        floors[target.name] = None
        if target.probe is not None:
            path = floor_path(directory, machine_fingerprint(target.probe))
            floors[target.name] = load(path)
    return floors


def keep_floors(run: Run) -> None:
    """Write the floors that the run is judged with into its folder; kept ones do not change.

    The file also says, with null, which machines were not calibrated: a later calibration does not
    change how the run was judged.

    Raises:
        ResultError: a stored floor is broken.
        reports.results.write.StorageError: the file cannot be written.
    """
    kept = kept_floors(run)
    floors = {**calibrated_floors(run, run.path.resolve().parent), **kept}
    if floors != kept:
        documents = {name: to_json(floor) if floor else None for name, floor in floors.items()}
        document = {"schema": SCHEMA, "type": KEPT_TYPE, "targets": documents}
        write_json_atomic(run.path / FLOORS, document)


def kept_floors(run: Run) -> FloorsByTarget:
    """Return the floors in the run's own folder, by target; None: the machine had no calibration.

    Raises:
        ResultError: the file is broken, or has a newer major schema.
    """
    path = run.path / FLOORS
    content = read_limited(path)
    if content is None:
        return {}
    try:
        document = json.loads(content)
        check_schema(document.get("schema"), path)
        return _KEPT_ADAPTER.validate_python(document).targets
    except (ValueError, AttributeError, RecursionError) as error:
        raise ResultError(f"{path} is broken: {error}") from error


def floors_of(run: Run) -> FloorsByTarget:
    """Return the floors that a run is judged with: those in its folder, else those beside it.

    Raises:
        ResultError: a file is broken.
    """
    kept = kept_floors(run)
    if all(target.name in kept for target in run.targets):
        return kept
    return {**calibrated_floors(run, run.path.resolve().parent), **kept}


_ADAPTER = TypeAdapter(NoiseFloor)
_KEPT_ADAPTER = TypeAdapter(KeptFloors)


def _simulated_gates(differences: Floats, seed: int) -> tuple[float, dict[int, float]]:
    """Return the 95 % quantile of |effect| at the first look, and a distance for each look.

    The distance is how far the interval's lower bound lies below the true effect, at most, in
    80 % of gates: a true effect that exceeds the margin by this distance is detected.
    """
    n = len(differences)
    random = np.random.default_rng(seed)
    widening = t_quantile(0.975, n) / normal_quantile(0.975)
    q95, distances = 0.0, {}
    for look in LOOKS:
        drawn = differences[random.integers(n, size=(RESAMPLES, look))]
        signed = drawn * random.choice([-1.0, 1.0], size=drawn.shape)
        averages = np.sort(walsh_averages(signed), axis=-1)
        if look == LOOKS[0]:
            q95 = widening * float(np.quantile(np.abs(np.median(averages, axis=-1)), 0.95))
        lower_bounds = averages[:, wilcoxon_rank(look, LOOK_LEVEL) - 1]
        distances[look] = -widening * float(np.quantile(lower_bounds, 1 - POWER))
    return q95, distances
