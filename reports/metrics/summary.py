"""What is kept of a run for stores and dashboards: the export's rows, with when and on what.

One summary row is one row of the export and what a history has to know of it: when it was
measured, on which machine as it then was (its fingerprint), with which kernel and which gfbench.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from reports.metrics.of_run import cases_of, compare
from reports.metrics.ratios import Incomparable, exact_of, ratio_of
from reports.metrics.rows import Row, row_case
from reports.metrics.table import exported_metrics
from reports.results.records import KernelFacts, Run, TargetRun
from workloads.spec.methods import BASELINE

FINGERPRINT_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class SummaryRow(Row):
    """One figure of a run and its circumstances; the fields are the columns of a summary, in order.

    ``fingerprint`` is the hash of ``environment``, a JSON object of all facts of the machine that
    figures may depend on; both are empty where the machine was never probed. ``boot_id`` tells
    one start of the machine from another. ``kernel_sha256`` is the hash of the kernel's source.
    ``of_exact`` is the figure over the exact case's, paired by round: what a figure over workloads
    is made of where only summaries are at hand. None where there is no such pair.
    """

    started_at: str
    fingerprint: str
    environment: str
    boot_id: str
    kernel_version: str
    kernel_sha256: str
    tool_version: str
    suite: str
    of_exact: float | None = None


def summary_of(run: Run) -> tuple[SummaryRow, ...]:
    """Return one row per figure of the run, in the order of the export."""
    kernels = {kernel.name: kernel for kernel in run.header.kernels}
    machines = {target.name: environment_of(target) for target in run.targets}
    boots = {target.name: _boot_id(target) for target in run.targets}
    ratios = _ratios_to_exact(run)
    rows = []
    for row in compare(run):
        environment = machines[row.target]
        kernel = kernels.get(row.kernel) or KernelFacts()
        rows.append(
            SummaryRow(
                **vars(row),
                started_at=run.header.started_at,
                fingerprint=environment_fingerprint(environment),
                environment=json.dumps(environment, sort_keys=True) if environment else "",
                boot_id=boots[row.target],
                kernel_version=kernel.version,
                kernel_sha256=kernel.source_sha256,
                tool_version=run.header.tool.version,
                suite=run.header.suite.name,
                of_exact=ratios.get((row.case, row.metric, row.phase)),
            )
        )
    return tuple(rows)


def _ratios_to_exact(run: Run) -> dict[tuple[object, str, str], float]:
    """Return every figure over the exact case's by case, metric and phase, as a row names them."""
    compared = [metric for metric in exported_metrics() if metric.against_exact]
    ratios: dict[tuple[object, str, str], float] = {}
    for target in run.targets:
        for case in cases_of(run, target):
            if case.method == BASELINE:
                continue
            own_case = row_case(target.name, case)
            for metric in compared:
                for phase in metric.phases:
                    baseline = exact_of(metric, target, case, phase)
                    with suppress(Incomparable):
                        effect = ratio_of(metric, target, baseline, case, phase)
                        if effect is not None:
                            ratios[own_case, metric.name, phase] = effect.ratio
    return ratios


def environment_of(target: TargetRun) -> dict[str, str | int | float | None]:
    """Return the facts of a machine that its figures may depend on; empty if it was not probed.

    The host name is left out: containers have a new one each time, and the target's name tells
    boards apart.
    """
    probe = target.probe
    if probe is None:
        return {}
    cpu, memory, torch = probe.cpu, probe.memory, probe.torch
    cuda = torch.cuda if torch else None
    return {
        "model": probe.model,
        "machine": probe.machine,
        "cpu": cpu.model if cpu else "",
        "cores": cpu.logical if cpu else None,
        "max_mhz": cpu.max_mhz if cpu else None,
        "governor": cpu.governor if cpu else "",
        "memory_bytes": memory.total_bytes if memory else None,
        "power_mode": _power_mode(target),
        "os": probe.os,
        "linux": probe.kernel,
        "l4t": probe.l4t,
        "libc": probe.libc,
        "python": probe.python,
        "torch": torch.version if torch else "",
        "cuda": f"{cuda.device} CUDA {cuda.version}" if cuda else "",
        "threads": _threads(target),
    }


def environment_fingerprint(environment: Mapping[str, object]) -> str:
    """Return the short hash of all facts that figures may depend on; empty where there are none."""
    if not environment:
        return ""
    text = json.dumps(environment, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def _boot_id(target: TargetRun) -> str:
    return target.session.boot_id or (target.probe.boot_id if target.probe else "")


def _power_mode(target: TargetRun) -> str:
    """Return the power mode before the first block, on one line."""
    states = (block.state_before for block in target.blocks)
    return next((" ".join(s.power_mode.split()) for s in states if s and s.power_mode), "")


def _threads(target: TargetRun) -> int | None:
    counts = (block.threads for block in target.blocks if block.threads is not None)
    return next(counts, target.probe.threads if target.probe else None)
