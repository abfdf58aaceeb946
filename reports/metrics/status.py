"""How the measurement of a case went, and why: what stands beside a figure or in its place. Pure.

Statuses: ok; partial (some blocks failed, the value is of the others); skipped (left out on
purpose); missing (not measured here); invalid (energy that the readings cannot carry); a block's
own (failed, timeout, out_of_memory, interrupted, throttled) or the session's (failed, infra,
interrupted, running). Blocks that were left out after a pilot round are no trouble: the figures of
the pilot round stand, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reports.results.records import BlockRecord, Run, TargetRun
from workloads.spec.messages import Case

FEWEST_FOR_INTERVAL = 6  # rounds, at 95 %
FEW_ROUNDS = "fewer than 6 rounds: no 95 % interval"
LEFT_OUT = "left_out"  # the status of a block that was not repeated after the pilot round


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a case or a part of it went, and why."""

    status: str = "ok"
    reason: str = ""

    @property
    def has_value(self) -> bool:
        """Whether at least some blocks were measured well."""
        return self.status in ("ok", "partial")


def status_of(run: Run, target: TargetRun, case: Case, kind: str) -> Status:
    """Say how the case's blocks of one kind went."""
    blocks = target.blocks_of(case, kind)
    measured = [block for block in blocks if block.status != LEFT_OUT]
    left_out = [block for block in blocks if block.status == LEFT_OUT]
    bad = [block for block in measured if block.status != "ok"]
    if measured and len(bad) == len(measured):
        return Status(status=bad[-1].status, reason=_commonest_reason(bad))
    if bad:
        reason = f"{len(bad)} of {len(measured)} blocks: {_commonest_reason(bad)}"
        return Status(status="partial", reason=reason)
    if left_out:
        status = "ok" if measured else "skipped"
        return Status(status=status, reason=_commonest_reason(left_out))
    if blocks:
        return _broken_off(run, target, len(blocks), kind)
    return _absent(target, case)


def all_blocks_there(target: TargetRun) -> bool:
    """Tell whether the journal has every block that was planned."""
    planned = target.session.blocks_planned
    return planned is None or len(target.all_blocks) >= planned


def without_value(status: Status, reason: str) -> Status:
    """Return the status of a row without a value, which is never ok nor partial."""
    if status.status == "ok":
        return Status(status="missing", reason=reason)
    if status.status == "partial":
        return Status(status="missing", reason=f"{reason}; {status.reason}")
    return status


def joint_status(ours: Status, baseline: Status) -> Status:
    """Return the worse of a case and its baseline; the case's own trouble comes first."""
    if not ours.has_value:
        return ours
    if not baseline.has_value:
        return Status(status=baseline.status, reason=f"exact baseline: {baseline.reason}")
    if ours.status == "partial":
        return ours
    if baseline.status == "partial":
        return Status(status="partial", reason=f"exact baseline: {baseline.reason}")
    return ours


def with_few_rounds(status: Status, n: int) -> Status:
    """Say so where there are too few rounds for an interval."""
    if status.status == "ok" and 0 < n < FEWEST_FOR_INTERVAL:
        return with_remark(status, FEW_ROUNDS)
    return status


def with_remark(status: Status, remark: str) -> Status:
    """Add a remark to the reason."""
    reason = "; ".join(part for part in (status.reason, remark) if part)
    return Status(status=status.status, reason=reason)


def _commonest_reason(blocks: Sequence[BlockRecord]) -> str:
    reasons = Counter(block.reason or block.status for block in blocks)
    return reasons.most_common(1)[0][0]


def _broken_off(run: Run, target: TargetRun, done: int, kind: str) -> Status:
    """Say partial where a session ended before all rounds of the timing were done."""
    rounds = run.header.rounds or 0
    finished = target.session.status == "ok" and all_blocks_there(target)
    if kind != "timing" or done >= rounds or finished:
        return Status()
    why = target.session.reason or target.session.status
    return Status(status="partial", reason=f"{done} of {rounds} rounds: {why}")


def _absent(target: TargetRun, case: Case) -> Status:
    for skip in target.session.skipped:
        if skip.case == case:
            return Status(status="skipped", reason=skip.reason or "left out, no reason recorded")
    if target.session.status != "ok":
        reason = target.session.reason or f"the session is {target.session.status}"
        return Status(status=target.session.status, reason=reason)
    return Status(status="missing", reason="not measured")
