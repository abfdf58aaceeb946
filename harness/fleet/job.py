"""What a session has its board do, worked out from the suite, the probe and the rails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.plan.plan import Skipped, TargetPlan, make_plan
from harness.plan.suites import Suite
from harness.power.log import converts_in_an_instant, job_power
from reports.energy.window import recommended_window_s
from reports.results.power import RailMap
from reports.results.records import Probe
from targets.inventory import Target
from workloads.spec.messages import SCHEMA, Job, to_json

SHORTEST_BLOCK_TIMEOUT_S = 300.0
SLOW_BOARD = 60.0  # a block may take this many times its estimate before it is called hung
IDLE_S = 10.0  # measured before the first and after the last block
FOLDED = 1.5  # more instants than are asked for at least, since chance leaves phases out


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job as it was planned, and what a reader has to know of it."""

    job: Job
    plan: TargetPlan
    notes: tuple[str, ...]


def plan_job(
    suite: Suite,
    target: Target,
    *,
    run_id: str,
    seed: int,
    probe: Probe,
    rail_map: RailMap | None,
    payloads: Mapping[str, str],
) -> NewJob:
    """Plan a suite for a board.

    Args:
        suite: the run's; its windows are made long enough for energy where that is measured.
        target: the board's entry in the inventory.
        run_id: the run's.
        seed: the run's.
        probe: what the board has.
        rail_map: its power; None where that is off.
        payloads: revision -> file name of its payload, where the run compares revisions.
    """
    notes = []
    suite = replace(suite, min_window_s=target.min_window_s or suite.min_window_s)
    energy = suite.energy and rail_map is not None and bool(rail_map.total)
    instants = rail_map is not None and converts_in_an_instant(rail_map)
    if energy and rail_map is not None:
        needed_s = recommended_window_s(rail_map) * (FOLDED if instants else 1)
        suite = replace(suite, min_window_s=max(suite.min_window_s, needed_s))
    elif suite.energy:
        notes.append("energy was asked for, but power cannot be measured here")
    plan = make_plan(suite, seed=seed, probe=probe)
    job = Job(
        schema=SCHEMA,
        run_id=run_id,
        target=target.name,
        blocks=plan.blocks,
        min_window_s=suite.min_window_s,
        isolation=suite.isolation,
        threads=target.threads or threads_of(probe),
        block_timeout_s=block_timeout_s(suite, plan),
        sysroot=target.sysroot,
        power=job_power(rail_map),
        idle_s=IDLE_S if energy else 0.0,
        pauses=energy and instants,
        payloads=dict(payloads),
        energy=energy,
        unfolds=probe.lacks_onednn,
        pilot=suite.pilot,
    )
    return NewJob(job=job, plan=plan, notes=(*notes, *plan.notes))


def skipped(item: Skipped) -> dict[str, Any]:
    """Return what session.json says of a case that is not measured."""
    return {"case": to_json(item.case), "case_key": item.case.key, "reason": item.reason}


def threads_of(probe: Probe) -> int:
    """Return how many threads the probed board has for torch."""
    threads = probe.threads
    return threads if threads is not None and 0 < threads <= 4096 else 1


def block_timeout_s(suite: Suite, plan: TargetPlan) -> float:
    """Return when a block counts as hung: generous, but not the suite's limit for a short one."""
    average_s = plan.estimate_s / max(1, len(plan.blocks))
    return min(suite.block_timeout_s, max(SHORTEST_BLOCK_TIMEOUT_S, SLOW_BOARD * average_s))
