"""What a run holds for one comparison: pairs by round, and which rounds were lost to what. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.energy.by_round import energies_of, energy_figures, energy_ratios
from reports.energy.energy import Energy
from reports.gate.verdict import METRICS
from reports.metrics.selectors import CasePair
from reports.metrics.values import latencies_s, memory_figures, no_power_reason
from reports.results.records import BlockRecord, TargetRun
from workloads.spec.messages import Case

THROTTLED = "throttled"
NO_FIGURE = "no figure"
SAME_KIND = "compare two revisions of which both do, or both do not"
OTHER_PROTOCOL = (
    "one of them was timed by a revision of gfbench that does not change the inputs between "
    "iterations, the other by one that does"
)


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A round that gives no pair: the status of what is missing, and why."""

    status: str
    reason: str
    case: Case


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The logarithms of new / base by round, and the rounds without one.

    ``refusal`` says why no round may be compared at all. ``uncertainty`` is the 95 % relative
    uncertainty of a ratio that no number of rounds takes away (energy only).
    """

    log_ratios: Mapping[int, float]
    lost: Mapping[int, Lost]
    refusal: str = ""
    remedy: str = "gfbench doctor says what is read"
    uncertainty: float = 0.0

    def lost_to(self, *statuses: str) -> tuple[Lost, ...]:
        """Return the rounds lost to these statuses."""
        return tuple(one for one in self.lost.values() if one.status in statuses)


def evidence(target: TargetRun, pair: CasePair, metric: str, phase: str) -> Evidence:
    """Return what the target's blocks say of a pair of cases."""
    if metric != "memory" and _timed_differently(target, pair):
        return Evidence(log_ratios={}, lost={}, refusal=OTHER_PROTOCOL, remedy=SAME_KIND)
    if metric == "energy":
        return _energy(target, pair, phase)
    base, new = (figures(target, case, metric, phase) for case in (pair.base, pair.new))
    ratios = {r: math.log(new[r] / base[r]) for r in sorted(base.keys() & new.keys())}
    return Evidence(log_ratios=ratios, lost=_lost(target, pair, metric, ratios))


def _timed_differently(target: TargetRun, pair: CasePair) -> bool:
    """Tell whether inputs were changed between the iterations of one of the cases only."""
    found = []
    for case in (pair.base, pair.new):
        blocks = [b for b in target.blocks_of(case, "timing") if b.status == "ok"]
        found.append({bool(block.verified) for block in blocks})
    return bool(found[0] and found[1] and found[0] != found[1])


def figures(target: TargetRun, case: Case, metric: str, phase: str) -> dict[int, float]:
    """Return a case's figures of one metric (a key of METRICS) by round, where measured."""
    if metric == "latency":
        return latencies_s(target, case, phase)
    if metric == "energy":
        found = energy_figures(energies_of(target).get((case, phase), {}))
        return {round_: figure.value for round_, figure in found.items() if figure.value > 0}
    found_bytes = memory_figures(target, case, METRICS[metric])
    return {round_: value for round_, value in found_bytes.items() if value > 0}


def kind_of(metric: str) -> str:
    """Return the kind of block that measures a metric."""
    return "memory" if metric == "memory" else "timing"


def blocks_by_round(target: TargetRun, case: Case, metric: str) -> dict[int, BlockRecord]:
    """Return the case's blocks that a metric comes from, by round."""
    return {block.round: block for block in target.blocks_of(case, kind_of(metric))}


def used_blocks(
    target: TargetRun, pair: CasePair, metric: str, rounds: Sequence[int]
) -> tuple[BlockRecord, ...]:
    """Return both cases' blocks of these rounds, round by round."""
    base, new = (blocks_by_round(target, case, metric) for case in (pair.base, pair.new))
    return tuple(
        block for round_ in rounds for block in (base.get(round_), new.get(round_)) if block
    )


def _energy(target: TargetRun, pair: CasePair, phase: str) -> Evidence:
    energies = energies_of(target)
    base, new = (energies.get((case, phase), {}) for case in (pair.base, pair.new))
    ratios = energy_ratios(base, new)
    if isinstance(ratios, str):
        return Evidence(log_ratios={}, lost={}, refusal=ratios)
    logs = {round_: math.log(ratio) for round_, ratio in ratios.items() if ratio > 0}
    lost = {
        round_: _for_energy(one, pair, base.get(round_), new.get(round_))
        for round_, one in _lost(target, pair, "energy", logs).items()
    }
    if not energies and any(one.status == NO_FIGURE for one in lost.values()):
        return Evidence(log_ratios={}, lost=lost, refusal=no_power_reason(target))
    return Evidence(log_ratios=logs, lost=lost, uncertainty=_uncertainty(target, pair, phase, logs))


def _for_energy(lost: Lost, pair: CasePair, base: Energy | None, new: Energy | None) -> Lost:
    """Return why the windows of two good blocks have no energy, where that is what is missing."""
    if lost.status != NO_FIGURE:
        return lost
    for case, energy in ((pair.new, new), (pair.base, base)):
        if energy is not None and energy.status != "ok":
            words = "; ".join(part for part in (energy.reason, energy.remedy) if part)
            return Lost(status=energy.status, reason=words, case=case)
    return lost


def _uncertainty(
    target: TargetRun, pair: CasePair, phase: str, rounds: Mapping[int, float]
) -> float:
    """Return what windows that err alike leave open in the ratio; the sensor's gain cancels."""
    shares = []
    for case in (pair.base, pair.new):
        found = energy_figures(energies_of(target).get((case, phase), {}))
        kept = [found[round_].relative_u95 for round_ in rounds if round_ in found]
        shares.append(float(np.median(kept)) if kept else 0.0)
    return math.hypot(*shares)


def _lost(
    target: TargetRun, pair: CasePair, metric: str, kept: Mapping[int, float]
) -> dict[int, Lost]:
    base, new = (blocks_by_round(target, case, metric) for case in (pair.base, pair.new))
    rounds = sorted((base.keys() | new.keys()) - kept.keys())
    return {round_: next(_losses(pair, base.get(round_), new.get(round_))) for round_ in rounds}


def _losses(pair: CasePair, base: BlockRecord | None, new: BlockRecord | None) -> Iterator[Lost]:
    """Yield what kept two blocks from being a pair, a block's own trouble first."""
    for case, block in ((pair.new, new), (pair.base, base)):
        if block is not None and block.status != "ok":
            yield Lost(status=block.status, reason=block.reason or block.status, case=case)
    for case, block in ((pair.new, new), (pair.base, base)):
        if block is None:
            yield Lost(status="absent", reason="no block in this round", case=case)
    yield Lost(status=NO_FIGURE, reason="the block has no such figure", case=pair.new)
