"""The states of machines and the versions of kernels in the runs of a site. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports.site.archive import KernelVersion, Machine
from reports.site.views import Fleet, environment_change
from reports.text.wording import quantity


@dataclass(frozen=True, kw_only=True)
class Used:
    """A version of a kernel or a state of a machine, with its first, last and number of runs."""

    first: int
    last: int
    runs: int
    version: str = ""
    sha256: str = ""
    fingerprint: str = ""
    changed: str = ""

    @property
    def first_run(self) -> int:
        """The number of the first run."""
        return self.first


def machine_facts(machine: Machine | None) -> list[tuple[str, str]]:
    """Return the facts of a machine as (name, text)."""
    if machine is None:
        return []
    facts = json.loads(machine.environment or "{}")
    shown = [("platform", machine.platform), ("fingerprint", machine.fingerprint)]
    for name, value in facts.items():
        text = str(value or "")
        if name == "memory_bytes" and value:
            text = quantity(value, "B")
        shown.append((name.replace("_bytes", "").replace("_", " "), text))
    return [(name, text[:200]) for name, text in shown if text]


def states_of(fleet: Fleet, target: str) -> list[Used]:
    """Return the states of a machine, newest first, each with what changed from the one before."""
    runs: dict[int, set[int]] = {}
    for series, line in fleet.lines.items():
        if series.target == target:
            for state in np.unique(line.machine).tolist():
                runs.setdefault(state, set()).update(line.run[line.machine == state].tolist())
    used = []
    before: Machine | None = None

    def first_start(state: int) -> str:
        return min(fleet.runs[run].started_at for run in runs[state])

    for state in sorted(runs, key=first_start):
        own = sorted(runs[state], key=lambda run: fleet.runs[run].started_at)
        machine = fleet.machines[state]
        used.append(
            Used(
                first=own[0],
                last=own[-1],
                runs=len(own),
                fingerprint=machine.fingerprint,
                changed=environment_change(before, machine) if before else "",
            )
        )
        before = machine
    return used[::-1]


def kernel_use(fleet: Fleet) -> Mapping[KernelVersion, Used]:
    """Return the runs that used each version of a kernel."""
    runs: dict[int, set[int]] = {}
    for line in fleet.lines.values():
        for kernel in np.unique(line.kernel).tolist():
            runs.setdefault(kernel, set()).update(line.run[line.kernel == kernel].tolist())
    all_kernels = fleet.archive.kernels.all
    used = {}
    for number, members in runs.items():
        own = sorted(members, key=lambda run: fleet.runs[run].started_at)
        kernel = all_kernels[number]
        used[kernel] = Used(
            first=own[0], last=own[-1], runs=len(own), version=kernel.version, sha256=kernel.sha256
        )
    return used
