"""What a run holds for one comparison: pairs by round, and which rounds were lost to what. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.metrics.metric import Metric
from reports.metrics.ratios import Incomparable, log_ratios_of
from reports.metrics.selectors import CasePair
from reports.metrics.table import judged_by
from reports.results.records import BlockRecord, TargetRun
from workloads.spec.messages import Case

THROTTLED = "throttled"
NO_FIGURE = "no figure"
SAME_KIND = "compare two revisions that both change the inputs, or two that both do not"
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
    remedy: str = "gfbench doctor shows which sensors are read"
    uncertainty: float = 0.0

    def lost_to(self, *statuses: str) -> tuple[Lost, ...]:
        """Return the rounds lost to these statuses."""
        return tuple(loss for loss in self.lost.values() if loss.status in statuses)


def evidence(target: TargetRun, pair: CasePair, metric: str, phase: str) -> Evidence:
    """Return what the target's blocks say of a pair of cases, in a metric by its gate's name."""
    judged = judged_by(metric)
    if judged.block_kind == "timing" and _timed_differently(target, pair):
        return Evidence(log_ratios={}, lost={}, refusal=OTHER_PROTOCOL, remedy=SAME_KIND)
    try:
        ratios = log_ratios_of(judged, target, pair.base, pair.new, phase)
    except Incomparable as refusal:
        return Evidence(log_ratios={}, lost={}, refusal=str(refusal))
    lost = _lost(target, pair, judged, phase, ratios)
    if judged.sensor is None:
        return Evidence(log_ratios=ratios, lost=lost)
    no_readings = judged.sensor.no_readings(target)
    if no_readings and any(loss.status == NO_FIGURE for loss in lost.values()):
        return Evidence(log_ratios={}, lost=lost, refusal=no_readings)
    uncertainties = [
        judged.sensor.uncertainty(target, case, phase, ratios) for case in (pair.base, pair.new)
    ]
    return Evidence(log_ratios=ratios, lost=lost, uncertainty=math.hypot(*uncertainties))


def _timed_differently(target: TargetRun, pair: CasePair) -> bool:
    """Tell whether inputs were changed between the iterations of one of the cases only."""
    changed = []
    for case in (pair.base, pair.new):
        blocks = [b for b in target.blocks_of(case, "timing") if b.status == "ok"]
        changed.append({bool(block.verified) for block in blocks})
    base, new = changed
    return bool(base and new and base != new)


def figures(target: TargetRun, case: Case, metric: str, phase: str) -> dict[int, float]:
    """Return a case's positive figures of one metric (by its gate's name) by round."""
    by_round = judged_by(metric).by_round(target, case, phase)
    return {round_: value for round_, value in by_round.items() if value > 0}


def blocks_by_round(target: TargetRun, case: Case, kind: str) -> dict[int, BlockRecord]:
    """Return the case's blocks of one kind by round."""
    return {block.round: block for block in target.blocks_of(case, kind)}


def used_blocks(
    target: TargetRun, pair: CasePair, kind: str, rounds: Sequence[int]
) -> tuple[BlockRecord, ...]:
    """Return both cases' blocks of one kind in these rounds, round by round."""
    base, new = (blocks_by_round(target, case, kind) for case in (pair.base, pair.new))
    blocks = []
    for round_ in rounds:
        blocks += [side[round_] for side in (base, new) if round_ in side]
    return tuple(blocks)


def _lost(
    target: TargetRun, pair: CasePair, metric: Metric, phase: str, kept: Mapping[int, float]
) -> dict[int, Lost]:
    """Return why there is no pair in each round that has a block of either case but is not kept."""
    base, new = (blocks_by_round(target, case, metric.block_kind) for case in (pair.base, pair.new))
    lost = {}
    for round_ in sorted((base.keys() | new.keys()) - kept.keys()):
        loss = _loss(pair, base.get(round_), new.get(round_))
        if loss.status == NO_FIGURE and metric.sensor is not None:
            for case in (pair.base, pair.new):  # the new case's reason counts
                status = metric.sensor.missing(target, case, phase, round_)
                if status.status != "ok":
                    loss = Lost(status=status.status, reason=status.reason, case=case)
        lost[round_] = loss
    return lost


def _loss(pair: CasePair, base: BlockRecord | None, new: BlockRecord | None) -> Lost:
    """Return why two blocks do not make a pair; a block that failed counts before a missing one."""
    for case, block in ((pair.new, new), (pair.base, base)):
        if block is not None and block.status != "ok":
            return Lost(status=block.status, reason=block.reason or block.status, case=case)
    for case, block in ((pair.new, new), (pair.base, base)):
        if block is None:
            return Lost(status="absent", reason="no block in this round", case=case)
    return Lost(status=NO_FIGURE, reason="the block has no such figure", case=pair.new)
