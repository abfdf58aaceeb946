"""What the charts of networks are drawn from: one network on one target, way by way. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from reports.charts.style import Colours
from reports.metrics.baseline import baseline_of, memory_baseline_of
from reports.metrics.of_run import cases_of
from reports.metrics.rows import Row, row_case
from reports.metrics.subjects import (
    Method,
    Subject,
    Workload,
    method_of,
    method_of_case,
    workload_of,
    workload_of_case,
)
from reports.results.records import ByLayer, LayerFidelity
from reports.text.wording import has_exact_gradients
from workloads.spec.messages import Case


@dataclass(frozen=True, kw_only=True)
class NetworkCases:
    """One network on one target, trained in several ways."""

    subject: Subject
    workload: Workload
    cases: tuple[Case, ...]

    @property
    def label(self) -> str:
        """The network, as the page names it."""
        return self.subject.workloads[self.workload]

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the network."""
        return tuple(row for row in self.subject.rows if workload_of(row) == self.workload)

    def row(self, method: Method, metric: str, phase: str = "") -> Row | None:
        """Return the row of a figure that was measured; None where it was not."""
        for row in self.rows:
            is_meant = (method_of(row), row.metric, row.phase) == (method, metric, phase)
            if is_meant and row.value is not None:
                return row
        return None

    def methods(self, colours: Colours) -> list[Method]:
        """Return the ways of training that were planned, in the order of the legend."""
        planned = {method_of_case(case) for case in self.cases}
        return [method for method in colours if method in planned]

    @cached_property
    def fastest(self) -> Case:
        """The exact case with the fastest step."""
        return baseline_of(self.subject.target, self.cases[0])

    @cached_property
    def compared(self) -> tuple[Case, ...]:
        """The cases to look into: the fastest exact one, the strong baseline, the filtered ones."""
        strong = memory_baseline_of(self.subject.target, self.cases[0])
        chosen = [case for case in self.cases if not has_exact_gradients(case.method)]
        return tuple(case for case in self.cases if case in (self.fastest, strong, *chosen))

    def by_layer(self, case: Case) -> ByLayer | None:
        """Return where a step of the case goes, as it was measured first."""
        for block in self.subject.target.blocks_of(case, "by_layer"):
            if block.status == "ok" and block.by_layer is not None:
                return block.by_layer
        return None

    def layer_fidelity(self, case: Case) -> Sequence[LayerFidelity]:
        """Return the fidelity of the case's layers, as it was measured first."""
        for block in self.subject.target.blocks_of(case, "fidelity"):
            if block.status == "ok" and block.layer_fidelity:
                return block.layer_fidelity
        return ()


def networks_of(subjects: Sequence[Subject]) -> list[NetworkCases]:
    """Return the networks of all subjects that have figures."""
    networks = []
    for subject in subjects:
        by_workload: dict[Workload, list[Case]] = {}
        for case in cases_of(subject.run, subject.target):
            if case.is_network:
                by_workload.setdefault(workload_of_case(case), []).append(case)
        measured = {row.case for row in subject.rows if row.value is not None}
        for workload, cases in by_workload.items():
            if any(row_case(subject.target.name, case) in measured for case in cases):
                networks.append(
                    NetworkCases(subject=subject, workload=workload, cases=tuple(cases))
                )
    return networks
