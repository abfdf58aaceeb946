"""From a run to its table: one row per target, case, phase and metric. Pure.

Which rows there are, and how each comes about, is in ``reports.metrics.table``. What could not be
measured is a row without a value, with its status and the reason (``reports.metrics.status``).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from reports.metrics.kernel_ratios import is_compared
from reports.metrics.metric import RowBuilder
from reports.metrics.rows import Row
from reports.metrics.status import all_blocks_there
from reports.metrics.table import exported_metrics, metric_of
from reports.results.records import Run, TargetRun
from workloads.spec.messages import Case


def compare(run: Run) -> tuple[Row, ...]:
    """Return all rows of a run in stable order: target, case, metric, phase."""
    rows: list[Row] = []
    for target in run.targets:
        for case in cases_of(run, target):
            rows += _case_rows(run, target, case)
    return tuple(rows)


def cases_of(run: Run, target: TargetRun) -> tuple[Case, ...]:
    """Return the cases of one target: the plan's order, then what else its journal has.

    The session has the target's own plan, made from its probe; a target that was never probed
    has the run's. A case of the run's plan that a finished session neither measured nor skipped
    was planned for other targets.
    """
    present = dict.fromkeys(block.case for block in target.blocks)
    present.update(dict.fromkeys(skip.case for skip in target.session.skipped))
    planned = target.session.cases or run.header.plan.cases
    if target.session.status == "ok" and all_blocks_there(target):
        planned = tuple(case for case in planned if case in present)
    return tuple(dict.fromkeys((*planned, *present)))


def kernel_rows(run: Run, target: TargetRun) -> tuple[Row, ...]:
    """Return the rows, not in the export, that compare kernels with kernel ``torch``."""
    metric = metric_of("kernel_ratio")
    rows: list[Row] = []
    for case in dict.fromkeys(block.case for block in target.blocks):
        if is_compared(case):
            rows += metric.rows(RowBuilder(run=run, target=target, case=case, metric=metric))
    return tuple(rows)


def _case_rows(run: Run, target: TargetRun, case: Case) -> Iterator[Row]:
    """Yield the rows of one case; those of metrics of one group by phase."""
    for _, group in groupby(exported_metrics(), key=lambda metric: metric.group or metric.name):
        metrics = tuple(group)
        rows: list[Row] = []
        for metric in metrics:
            rows += metric.rows(RowBuilder(run=run, target=target, case=case, metric=metric))
        phases = metrics[0].phases
        yield from sorted(rows, key=lambda row: phases.index(row.phase))
