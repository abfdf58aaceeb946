"""What a metric is, and how the rows of one case are built from it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from reports.metrics.rows import Row
from reports.metrics.status import Status, status_of, with_few_rounds, without_value
from reports.results.records import Run, TargetRun
from reports.stats.intervals import median_interval
from reports.text.wording import cut
from workloads.spec.messages import PHASES, Case

MAX_REASON = 500  # characters; a board may write anything
SUFFIXES = ("_s", "_bytes", "_j", "_w", "_c")  # units at the end of our own names

ByRound = Callable[[TargetRun, Case, str], Mapping[int, float]]  # (target, case, phase)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column that shows a metric in some table.

    ``place`` orders the columns of that table. The terminal leaves a column out where it is too
    narrow, unless ``narrow``, and where no case has a figure, if ``only_if_measured``.
    """

    place: int
    heading: str
    phase: str = ""
    narrow: bool = False
    only_if_measured: bool = False


@dataclass(frozen=True, kw_only=True)
class SensorFigures:
    """What a comparison has to know of figures that come from a sensor's readings.

    ``incomparable`` says why figures of two cases must not be divided, empty where they may.
    ``missing`` is the status and the reason of a round whose block is good but has no figure.
    ``uncertainty`` is the 95 % relative uncertainty of a case's figures that no number of rounds
    takes away. ``no_readings`` says why a target has no figure at all, empty where it has.
    """

    incomparable: Callable[[TargetRun, Case, Case, str], str]
    missing: Callable[[TargetRun, Case, str, int], Status]
    uncertainty: Callable[[TargetRun, Case, str, Collection[int]], float]
    no_readings: Callable[[TargetRun], str]


@dataclass(frozen=True, kw_only=True)
class RowBuilder:
    """Builds the rows of one metric of one case: fills in what they all share."""

    run: Run
    target: TargetRun
    case: Case
    metric: Metric

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of the metric that the run planned and the case has."""
        planned = self.run.header.plan.phases
        timed = [phase for phase in self.case.phases if phase in planned]
        return tuple(p for p in self.metric.phases if p in timed or p not in PHASES)

    @property
    def status(self) -> Status:
        """How the blocks went that the metric comes from."""
        return status_of(self.run, self.target, self.case, self.metric.block_kind)

    def by_round(self, phase: str) -> Mapping[int, float]:
        """Return the figures of one phase by round."""
        return self.metric.by_round(self.target, self.case, phase)

    def row(
        self,
        phase: str,
        status: Status,
        value: float | None = None,
        interval: tuple[float | None, float | None] | None = None,
        n: int = 0,
    ) -> Row:
        """Return one row."""
        low, high = interval or (None, None)
        return Row(
            run_id=self.run.run_id,
            target=self.target.name,
            platform=self.target.platform,
            workload=self.case.workload.name,
            method=self.case.method,
            patch_size=self.case.patch_size,
            kernel=self.case.kernel_label,
            device=self.case.device,
            dtype=self.case.dtype,
            batch=self.case.batch,
            phase=phase,
            metric=self.metric.name,
            unit=self.metric.unit,
            value=value,
            ci_low=low,
            ci_high=high,
            n=n,
            status=status.status,
            reason=cut(status.reason, MAX_REASON),
        )

    def median_row(self, phase: str, by_round: Mapping[int, float], status: Status) -> Row:
        """Return the median over rounds, or a row that says why there is none."""
        values = tuple(by_round.values())
        if not values:
            return self.row(phase, without_value(status, "not measured"))
        middle = float(np.median(values))
        return self.row(phase, status, middle, median_interval(values), len(values))


def median_over_rounds(builder: RowBuilder) -> Iterator[Row]:
    """Yield the median over rounds in each phase."""
    status, timed = builder.status, builder.metric.block_kind == "timing"
    for phase in builder.phases:
        by_round = builder.by_round(phase)
        own = with_few_rounds(status, len(by_round)) if timed else status
        yield builder.median_row(phase, by_round, own)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One thing that is measured, and everything that differs between it and other metrics.

    What it is: ``name`` and ``unit`` as files have them, ``label`` in words, its ``phases`` ("" is
    none), ``by_round`` the figures of one case and phase by round, ``rows`` how its rows come
    about. ``lower_is_better`` is None where neither direction is better. ``block_kind`` is the
    kind of block that it comes from. Rows of neighbours with the same ``group`` stand together by
    phase.

    Where it is: in every export if ``exported``; on a site with its ``history``; compared with the
    exact case if ``against_exact``; in the columns of ``terminal``, ``markdown`` and ``site``.
    ``speed_over`` says of a ratio of times (2 is twice as fast) over what it is: exact or torch.

    How it is judged: by ``gate_name`` (empty: not at all); ``worse`` and ``better`` are the words
    for a larger and a smaller figure. ``steady`` figures hardly scatter and do not depend on how
    fast the machine is: a few rounds are enough. ``sensor`` is set where a sensor is read.
    """

    name: str
    unit: str
    label: str
    by_round: ByRound
    phases: tuple[str, ...] = ("",)
    rows: Callable[[RowBuilder], Iterable[Row]] = median_over_rounds
    lower_is_better: bool | None = None
    block_kind: str = "timing"
    group: str = ""
    exported: bool = True
    history: bool = False
    against_exact: bool = False
    speed_over: str = ""
    terminal: tuple[Column, ...] = ()
    markdown: tuple[Column, ...] = ()
    site: tuple[Column, ...] = ()
    gate_name: str = ""
    worse: str = "more"
    better: str = "less"
    steady: bool = False
    sensor: SensorFigures | None = None

    @property
    def short_name(self) -> str:
        """The name without its unit."""
        for suffix in SUFFIXES:
            if self.name.endswith(suffix):
                return self.name.removesuffix(suffix)
        return self.name
