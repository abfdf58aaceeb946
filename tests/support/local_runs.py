"""Real runs on this machine, as small as they can be, with a power source of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.fleet.run import start_run
from harness.plan.suites import load_suite
from reports.results.read import load_run
from reports.results.records import TargetRun
from targets.inventory import Inventory, Power, Target

SUITE = """
workloads:
  - {name: tiny, in_channels: 4, out_channels: 4, height: 8, width: 8}
patch_sizes: [2]
rounds: 2
memory_rounds: 0
fidelity_rounds: 0
isolation: fork
min_window_s: 0.3
"""


class Nobody:
    """Looks on without a word."""

    def state(self, target: str, state: str) -> None: ...

    def planned(self, target: str, blocks: int, done: int, estimate_s: float) -> None: ...

    def block(self, target: str, record: Mapping[str, Any]) -> None: ...


def measured(folder: Path, power: Power, *, sysroot: str = "/") -> TargetRun:
    """Run a tiny suite on this machine, with sensors below the sysroot; return its result."""
    (folder / "tmp").mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(SUITE)
    target = Target(
        name="local",
        python=sys.executable,
        workdir=str(folder / "work"),
        threads=1,
        power=power,
        sysroot=sysroot,
        env={"TMPDIR": str(folder / "tmp")},
    )
    finished = start_run(
        (target,),
        load_suite(str(folder / "suite.yaml")),
        inventory=Inventory(path=folder / "inventory.yaml", targets={}, groups={}),
        seed=1,
        directory=folder / "results",
        argv=["gfbench"],
        watch=Nobody(),
    )
    (outcome,) = finished.outcomes
    assert outcome.status == "ok", outcome.reason
    return load_run(finished.folder).targets[0]
