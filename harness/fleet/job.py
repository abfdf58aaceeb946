"""What a session tells its board to do, worked out from the plan and the probe."""

from __future__ import annotations

from typing import Any

from harness.plan.plan import Plan, Skipped
from harness.plan.suites import Suite
from reports.results.records import Probe
from workloads.spec.messages import to_json

SHORTEST_BLOCK_TIMEOUT_S = 300.0
SLOW_BOARD = 60.0  # a block may take this many times its estimate before it is called hung
IDLE_S = 10.0  # measured before the first and after the last block


def skipped(item: Skipped) -> dict[str, Any]:
    """Return what session.json says of a case that is not measured."""
    return {"case": to_json(item.case), "case_key": item.case.key, "reason": item.reason}


def threads_of(probe: Probe) -> int:
    """Return how many threads the probed board has for torch."""
    threads = probe.threads
    return threads if threads is not None and 0 < threads <= 4096 else 1


def block_timeout_s(suite: Suite, plan: Plan) -> float:
    """Return when a block counts as hung: generous, but not the suite's limit for a short one."""
    average_s = plan.estimate_s / max(1, len(plan.blocks))
    return min(suite.block_timeout_s, max(SHORTEST_BLOCK_TIMEOUT_S, SLOW_BOARD * average_s))
