"""Stands in for ``harness.experiments.revisions.measure``: a real result folder, planted figures.

What a kernel costs is read from the payload of its revision (COST), as a board would find out by
running it; one that contains ``raise`` fails its check, as on a board.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.experiments.revisions import Setup
from harness.fleet.outcome import Outcome
from harness.fleet.run import Finished
from harness.fleet.session import Watch
from harness.payloads.payload import content
from harness.payloads.revisions import Revision
from harness.plan.plan import all_cases, make_plan
from harness.plan.suites import Suite
from reports.gate.recorded import judge_run
from reports.results.journal import append_journal
from reports.results.read import JOURNAL, SESSION, load_run
from reports.results.records import Rule
from reports.results.write import create_run, target_folder, write_json_atomic
from workloads.spec.messages import PHASES, SCHEMA, Block, to_json

LATENCY_S = 0.01


@dataclass
class FakeMeasurement:
    """Remembers what it was asked to measure; ``noise`` is of a block, ``lost`` names a target."""

    noise: float = 0.003
    lost: str = ""
    measured: list[tuple[str, str]] = field(default_factory=list)  # labels
    suites: list[Suite] = field(default_factory=list)

    def __call__(
        self,
        both: tuple[Revision, Revision],
        suite: Suite,
        rule: Rule,
        place: Setup,
        watch: Watch,
        *,
        extend: bool,
    ) -> Finished:
        """Write the run and judge it."""
        self.measured.append((both[0].label, both[1].label))
        self.suites.append(suite)
        header = {
            "seed": place.seed,
            "rounds": suite.rounds,
            "plan": {
                "cases": to_json(all_cases(suite)),
                "phases": PHASES[:3],
                "min_window_s": 1.0,
                "isolation": "fork",
            },
        }
        folder = create_run(place.directory, header)
        outcomes = [self._target(folder, target.name, both, suite) for target in place.targets]
        gate = judge_run(load_run(folder), rule)
        return Finished(folder=folder, report=None, outcomes=tuple(outcomes), gate=gate)

    def _target(self, run: Path, name: str, both: Sequence[Revision], suite: Suite) -> Outcome:
        outcome = Outcome(target=name, platform="linux-x86", status="ok", boot_id="b")
        folder = target_folder(run, name)
        if name == self.lost:
            outcome.status, outcome.exit_code, outcome.reason = "infra", 4, "no route to host"
        else:
            kernels = {one.label: _kernel(one) for one in both}
            rng = random.Random(len(self.measured))
            blocks = make_plan(suite, seed=1).blocks
            lines = [json.dumps(self._record(block, kernels, rng)) for block in blocks]
            append_journal(folder / JOURNAL, ("\n".join(lines) + "\n").encode())
            outcome.blocks_planned = len(blocks)
        write_json_atomic(folder / SESSION, {**asdict(outcome), "schema": SCHEMA})
        return outcome

    def _record(self, block: Block, kernels: dict[str, str], rng: random.Random) -> dict[str, Any]:
        record = {"schema": SCHEMA, "type": "block", "case_key": block.case.key, **to_json(block)}
        kernel = kernels.get(block.case.revision, "COST = 1")
        if "raise" in kernel:
            return {**record, "status": "failed", "reason": "RuntimeError: not now"}
        found = re.search(r"^COST = ([0-9.]+)", kernel, re.MULTILINE)
        assert found is not None
        latency_s = LATENCY_S * float(found[1])
        begin = float(block.order)
        timing = {
            phase: {
                "times_s": [latency_s * math.exp(rng.gauss(0, self.noise))],
                "window_s": [begin, begin + 0.5],
            }
            for phase in PHASES[:3]
        }
        return {**record, "status": "ok", "timing": timing, "window_s": [begin, begin + 0.9]}


def _kernel(revision: Revision) -> str:
    return content(revision.payload, "workloads/kernels/user_mine.py").decode()
