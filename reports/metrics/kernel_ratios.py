"""How kernels of one method compare with the plain one, paired by round. Pure.

A ratio is the time of kernel ``torch`` divided by the other kernel's, of the same method, patch
size and workload in the same rounds: above 1 is faster than ``torch``.
"""

from __future__ import annotations

from collections.abc import Iterable

from reports.metrics.rows import Row
from reports.metrics.values import latencies_s
from reports.results.records import Run, TargetRun
from reports.stats.intervals import paired_ratio
from workloads.spec.messages import PHASES, Case
from workloads.spec.methods import BASELINE

PLAIN = "torch"
METRIC = "kernel_ratio"


def plain_of(case: Case) -> Case:
    """Return the same case by kernel ``torch``."""
    return case._replace(kernel=PLAIN)


def is_compared(case: Case) -> bool:
    """Tell whether the case has another kernel than the plain one."""
    return case.method != BASELINE and case.kernel != PLAIN


def kernel_rows(run: Run, target: TargetRun) -> tuple[Row, ...]:
    """Return a row per workload, kernel and phase that has rounds with both kernels."""
    cases = dict.fromkeys(block.case for block in target.blocks if is_compared(block.case))
    return tuple(row for case in cases for row in _rows(run, target, case))


def _rows(run: Run, target: TargetRun, case: Case) -> Iterable[Row]:
    for phase in PHASES:
        theirs = latencies_s(target, plain_of(case), phase)
        ours = latencies_s(target, case, phase)
        rounds = sorted(theirs.keys() & ours.keys())
        if not rounds:
            continue
        effect = paired_ratio([ours[r] for r in rounds], [theirs[r] for r in rounds])
        yield Row(
            run_id=run.run_id,
            target=target.name,
            platform=target.platform,
            workload=case.layer.name,
            method=case.method,
            patch_size=case.patch_size,
            kernel=case.kernel_label,
            device=case.device,
            dtype=case.dtype,
            batch=case.batch,
            phase=phase,
            metric=METRIC,
            unit="1",
            value=effect.ratio,
            ci_low=effect.ci_low,
            ci_high=effect.ci_high,
            n=effect.n,
            status="ok",
            reason="",
        )
