"""What a case is compared with: exact as it is fastest on this very target. Pure.

Exact convolutions are measured in NCHW (kernel ``torch``) and in channels-last
(``torch-channels-last``), networks with further exact kernels as well. Each phase of a workload has its own baseline: the layout whose median
over blocks is the smaller one in that phase, so that no speedup is one over a layout that a user
would not choose for it. Memory and energy go with the step's. Choosing by the same data that is
compared favours the baseline, never the method.
"""

from __future__ import annotations

import numpy as np

from reports.metrics.values import latencies_s
from reports.results.records import TargetRun
from workloads.spec.kernels import KERNELS
from workloads.spec.messages import Case, kind_of
from workloads.spec.methods import BASELINE

EXACT = {name: kernel for name, kernel in KERNELS.items() if BASELINE in kernel.methods}
LAYOUTS = {name: kernel.layout for name, kernel in EXACT.items() if "layer" in kernel.workloads}


def baseline_of(target: TargetRun, case: Case, phase: str = "step") -> Case:
    """Return the exact case that this one is compared with in a phase."""
    measured = _measured(target, case, phase)
    most = max((len(rounds) for rounds in measured.values()), default=0)
    # A layout that mostly failed cannot be chosen, however quick its few blocks were.
    medians = {
        layout: float(np.median(list(rounds.values())))
        for layout, rounds in measured.items()
        if 2 * len(rounds) >= most
    }
    return min(medians, key=medians.__getitem__, default=_layouts(case)[0])


def baseline_words(target: TargetRun, case: Case, phase: str) -> str:
    """Say which layout the baseline has; empty where only one was measured."""
    if len(_measured(target, case, phase)) < 2:
        return ""
    kernel = baseline_of(target, case, phase).kernel
    if case.is_network:
        return f"exact by {kernel}, the fastest here"
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
    measured = {layout: latencies_s(target, layout, phase) for layout in _layouts(case)}
    return {layout: latencies for layout, latencies in measured.items() if latencies}


def _layouts(case: Case) -> list[Case]:
    kind = kind_of(case.workload)
    names = [name for name, kernel in EXACT.items() if kind in kernel.workloads]
    return [case._replace(method=BASELINE, patch_size=None, kernel=name) for name in names]
