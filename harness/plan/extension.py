"""More rounds for a run that has ended: blocks appended to the stored job of a target.

The job file is the truth of what a target is to measure. The next session finds it longer than
its journal and goes on, as it does after an interrupt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.plan.plan import plan_rounds
from harness.plan.suites import Suite
from reports.results.write import write_json_atomic
from workloads.spec.messages import Block, Case, job_from_json, to_json

JOB = "job.json"


@dataclass(frozen=True, kw_only=True)
class More:
    """Rounds of some cases; ``verification`` keeps them apart from all others."""

    cases: tuple[Case, ...]
    rounds: int
    verification: bool = False


def extend_job(folder: Path, suite: Suite, seed: int, wanted: Iterable[More]) -> int:
    """Append the rounds wanted to the job in a target's folder; returns how many blocks.

    Raises:
        reports.results.write.StorageError: it cannot be written.
    """
    path = folder / JOB
    job = job_from_json(json.loads(path.read_text(encoding="utf-8")))
    blocks = list(job.blocks)
    for more in wanted:
        blocks += _rounds(blocks, suite, seed, more)
    write_json_atomic(path, to_json(job._replace(blocks=tuple(blocks))))
    return len(blocks) - len(job.blocks)


def _rounds(planned: list[Block], suite: Suite, seed: int, more: More) -> tuple[Block, ...]:
    """Return further rounds in the planned order of the cases, numbered on from what is there."""
    cases = [case for case in dict.fromkeys(block.case for block in planned) if case in more.cases]
    first = 1 + max((block.round for block in planned), default=-1)
    return plan_rounds(
        suite,
        cases,
        range(first, first + more.rounds),
        seed=seed,
        order=1 + max((block.order for block in planned), default=-1),
        verification=more.verification,
    )
