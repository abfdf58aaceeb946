"""What a figure is about: the method, the workload, and the case as a row names it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from reports.metrics.of_run import cases_of, compare
from reports.metrics.ratios import exact_of
from reports.metrics.rows import Row, row_case
from reports.metrics.table import exported_metrics
from reports.results.records import Run, TargetRun
from reports.text.wording import method_label
from workloads.spec.messages import Case

Method = tuple[str, int | None, str]  # method, patch_size, kernel
Workload = tuple[str, int, str, str]  # name, batch, device, dtype
RowCase = tuple[str, str, str, int | None, str, str, str, int]  # as Row.case has it


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One target of one run, with its rows: what a panel shows.

    ``first_row`` is the place of the first of them among the rows of the whole page.
    """

    label: str
    run: Run
    target: TargetRun
    rows: tuple[Row, ...]
    first_row: int = 0

    @cached_property
    def places(self) -> dict[Row, int]:
        """Where each row stands among the rows of the whole page."""
        return {row: self.first_row + place for place, row in enumerate(self.rows)}

    @cached_property
    def baselines(self) -> dict[Row, Row]:
        """The row of the exact baseline of each row, of the same metric and phase."""
        row_of = {(row.case, row.metric, row.phase): row for row in self.rows}
        compared = [metric for metric in exported_metrics() if metric.against_exact]
        baselines: dict[Row, Row] = {}
        for case in cases_of(self.run, self.target):
            own_case = row_case(self.target.name, case)
            for metric in compared:
                for phase in metric.phases:
                    exact = exact_of(metric, self.target, case, phase)
                    exact_case = row_case(self.target.name, exact)
                    own = row_of.get((own_case, metric.name, phase))
                    baseline = row_of.get((exact_case, metric.name, phase))
                    if own is not None and baseline is not None:
                        baselines[own] = baseline
        return baselines

    @cached_property
    def networks(self) -> frozenset[Workload]:
        """The workloads that are networks."""
        cases = cases_of(self.run, self.target)
        return frozenset(workload_of_case(case) for case in cases if case.is_network)

    @cached_property
    def added_up(self) -> frozenset[Workload]:
        """The workloads whose joules may be added up: the layers, or else the networks."""
        layers = frozenset(self.workloads) - self.networks
        return layers or self.networks

    @cached_property
    def workloads(self) -> dict[Workload, str]:
        """The workloads in order, with labels that name what differs between them."""
        keys = list(dict.fromkeys(workload_of(row) for row in self.rows))
        varies = [len({key[part] for key in keys}) > 1 for part in range(4)]
        return {key: _workload_label(key, varies) for key in keys}


def method_of(row: Row) -> Method:
    """Return what tells methods apart."""
    return row.method, row.patch_size, row.kernel


def workload_of(row: Row) -> Workload:
    """Return what tells workloads apart."""
    return row.workload, row.batch, row.device, row.dtype


def method_of_case(case: Case) -> Method:
    """Return the method of a case, as ``method_of`` does of a row."""
    return case.method, case.patch_size, case.kernel_label


def workload_of_case(case: Case) -> Workload:
    """Return the workload of a case, as ``workload_of`` does of a row."""
    return case.workload.name, case.batch, case.device, case.dtype


def _workload_label(key: Workload, varies: Sequence[bool]) -> str:
    parts = [key[0]]
    parts += [f"b{key[1]}"] if varies[1] else []
    parts += [str(key[part]) for part in (2, 3) if varies[part]]
    return " · ".join(parts)


def label_of(method: Method) -> str:
    """Return the method in words."""
    return method_label(*method)


def method_words(case: Case) -> str:
    """Return the method of a case as legends have it."""
    return method_label(*method_of_case(case))


def subjects_of(runs: Sequence[Run]) -> tuple[Subject, ...]:
    """Return one subject per target of each run; the run's id joins the label where needed."""
    subjects: list[Subject] = []
    for run in runs:
        rows = compare(run)
        for target in run.targets:
            subjects.append(
                Subject(
                    label=target.name if len(runs) == 1 else f"{target.name} · {run.run_id}",
                    run=run,
                    target=target,
                    rows=tuple(row for row in rows if row.target == target.name),
                    first_row=sum(len(subject.rows) for subject in subjects),
                )
            )
    return tuple(subjects)
