"""What a case is compared with: exact as it is fastest on this very target. Pure.

Exact convolutions are measured in NCHW (kernel ``torch``) and in channels-last
(``torch-channels-last``), exact steps of networks by further kernels as well. Each phase of a
workload has its own baseline: the exact kernel whose median over blocks is the smallest in that
phase, so that no speedup is one over what a user would not choose. Energy goes with the phase,
memory with the step; that of a network is compared with the strong baseline, which saves the least.
Choosing by the same data that is compared favours the baseline, never the method.
"""

from __future__ import annotations

import numpy as np

from reports.metrics.values import latencies_s
from reports.results.records import TargetRun
from workloads.spec.kernels import KERNELS, STRONGEST
from workloads.spec.messages import Case, kind_of
from workloads.spec.methods import BASELINE

EXACT = {name: kernel for name, kernel in KERNELS.items() if BASELINE in kernel.methods}
LAYOUTS = {name: kernel.layout for name, kernel in EXACT.items() if "layer" in kernel.workloads}


def baseline_of(target: TargetRun, case: Case, phase: str = "step") -> Case:
    """Return the exact case that this one is compared with in a phase."""
    measured = baselines_of(target, case, phase)
    return measured[0] if measured else _exact_cases(case)[0]


def baselines_of(target: TargetRun, case: Case, phase: str) -> tuple[Case, ...]:
    """Return the exact cases that were measured in a phase, the fastest first.

    One that mostly failed, or was left out after a pilot round, cannot be chosen, however quick
    its few blocks were.
    """
    measured = _measured(target, case, phase)
    most = max((len(rounds) for rounds in measured.values()), default=0)
    medians_s = {
        exact: float(np.median(list(rounds.values())))
        for exact, rounds in measured.items()
        if 2 * len(rounds) >= most
    }
    return tuple(sorted(medians_s, key=medians_s.__getitem__))


def memory_baseline_of(target: TargetRun, case: Case) -> Case:
    """Return the exact case whose bytes this one's are compared with."""
    strong = case._replace(method=BASELINE, patch_size=None, kernel=STRONGEST)
    if case.is_network and any(b.status == "ok" for b in target.blocks_of(strong, "memory")):
        return strong
    return baseline_of(target, case)


def baseline_words(target: TargetRun, case: Case, phase: str) -> str:
    """Say which exact kernel the baseline is; empty where only one was measured."""
    measured = len(_measured(target, case, phase))
    if measured < 2:
        return ""
    kernel = baseline_of(target, case, phase).kernel
    if case.is_network:
        return f"exact by {kernel}, the fastest of {measured} exact kernels here"
    return f"exact in {LAYOUTS[kernel]}, the faster layout here"


def baseline_phases(target: TargetRun, case: Case) -> tuple[str, ...]:
    """Return the phases in which this case is its workload's baseline."""
    return tuple(phase for phase in case.phases if case == baseline_of(target, case, phase))


def slow_baseline(target: TargetRun, device: str) -> str:
    """Say that exact on this device is not the best there is; empty where nothing is known of it.

    Without oneDNN torch's convolution unfolds its input into columns, which old versions keep.
    """
    if device != "cpu" or target.probe is None or not target.probe.lacks_onednn:
        return ""
    return "exact is torch's slow convolution here, not the best there is: this torch has no oneDNN"


def _measured(target: TargetRun, case: Case, phase: str) -> dict[Case, dict[int, float]]:
    measured = {exact: latencies_s(target, exact, phase) for exact in _exact_cases(case)}
    return {exact: latencies for exact, latencies in measured.items() if latencies}


def _exact_cases(case: Case) -> list[Case]:
    """Return the workload's exact cases, whether they were measured or not."""
    kind = kind_of(case.workload)
    names = [name for name, kernel in EXACT.items() if kind in kernel.workloads]
    return [case._replace(method=BASELINE, patch_size=None, kernel=name) for name in names]
