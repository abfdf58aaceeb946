"""What a run says in a sentence per method: over all workloads of one target. Pure.

Speedups of several workloads are combined inside each round (geometric mean of exact / method)
and then over rounds, so that what one round did to all workloads stays paired. Targets are
never pooled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.energy.by_round import energies_of, energy_ratios
from reports.metrics.baseline import baseline_of
from reports.metrics.kernel_ratios import is_compared, plain_of
from reports.metrics.of_run import cases_of
from reports.metrics.rows import Row
from reports.metrics.subjects import Subject
from reports.metrics.values import latencies_s, memory_figures, no_power_reason
from reports.results.records import Run, TargetRun
from reports.stats.intervals import Effect, hodges_lehmann, ratio_effect
from reports.text.wording import is_usable, without_numbers
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE

Figures = Callable[[Case], Mapping[int, float]]
Other = Callable[[Case], Case]  # what a case is compared with
LogRatios = dict[int, float]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A median over workloads and the range that it comes from."""

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One method on one target against exact, over workloads.

    ``backward`` and ``step`` are speedups (exact / method); ``saved``, ``peak_rss``,
    ``cuda_peak`` and ``energy`` are what is left (method / exact). ``workloads`` of
    ``workloads_planned`` have a speedup. ``torch_backward`` and ``torch_step`` are how much faster
    than kernel ``torch`` of the same method another kernel is.
    """

    target: str
    platform: str
    method: str
    patch_size: int | None
    kernel: str
    device: str
    dtype: str
    workloads: int
    workloads_planned: int
    backward: Effect | None
    step: Effect | None
    saved: Effect | None
    peak_rss: Effect | None
    cuda_peak: Effect | None
    energy: Effect | None
    energy_reason: str
    cosine_gx: Spread | None
    cosine_gw: Spread | None
    torch_backward: Effect | None = None
    torch_step: Effect | None = None

    @property
    def usable(self) -> bool:
        """Whether one can train with what the method computes."""
        return is_usable(self.method)

    @property
    def decided(self) -> int:
        """1 where the step is decidably quicker than exact, -1 where slower, 0 where neither."""
        if self.step is None or self.step.ci_low is None or self.step.ci_high is None:
            return 0
        return int(self.step.ci_low > 1) - int(self.step.ci_high < 1)

    @property
    def measured(self) -> bool:
        """Whether there is any figure in it."""
        figures = (self.backward, self.step, self.saved, self.peak_rss, self.energy, self.cosine_gx)
        return any(figure is not None for figure in figures)


def headlines(run: Run, target: TargetRun, rows: Sequence[Row]) -> tuple[Headline, ...]:
    """Return one headline per method, patch size, kernel, device and dtype, exact left out."""
    groups: dict[tuple[str, int | None, str, str, str], list[Case]] = {}
    for case in cases_of(run, target):
        if case.method != BASELINE:
            key = (case.method, case.patch_size, case.kernel_label, case.device, case.dtype)
            groups.setdefault(key, []).append(case)
    mine = [row for row in rows if row.run_id == run.run_id and row.target == target.name]
    return tuple(_headline(target, cases, mine) for cases in groups.values())


def _headline(target: TargetRun, cases: Sequence[Case], rows: Sequence[Row]) -> Headline:
    case = cases[0]
    own = [row for row in rows if _belongs(row, case)]

    def exact(phase: str = "step") -> Other:
        return lambda c: baseline_of(target, c, phase)

    def times(phase: str) -> Figures:
        return lambda c: latencies_s(target, c, phase)

    backward = _log_ratios(cases, exact("backward"), times("backward"))
    step = _log_ratios(cases, exact("step"), times("step"))
    others = [c for c in cases if is_compared(c)]
    energy, refusal = _energy_left(target, cases)
    return Headline(
        target=target.name,
        platform=target.platform,
        method=case.method,
        patch_size=case.patch_size,
        kernel=case.kernel_label,
        device=case.device,
        dtype=case.dtype,
        workloads=len(step or backward),
        workloads_planned=len(cases),
        backward=_combined(backward),
        step=_combined(step),
        saved=_left(cases, exact(), lambda c: memory_figures(target, c, "saved_bytes")),
        peak_rss=_left(cases, exact(), lambda c: memory_figures(target, c, "peak_rss_bytes")),
        cuda_peak=_left(cases, exact(), lambda c: memory_figures(target, c, "cuda_peak_bytes")),
        energy=energy,
        energy_reason="" if energy else refusal or _energy_reason(own),
        cosine_gx=_spread(own, "cosine_gx"),
        cosine_gw=_spread(own, "cosine_gw"),
        torch_backward=_combined(_log_ratios(others, plain_of, times("backward"))),
        torch_step=_combined(_log_ratios(others, plain_of, times("step"))),
    )


def _belongs(row: Row, case: Case) -> bool:
    ours = (case.method, case.patch_size, case.kernel_label, case.device, case.dtype)
    return (row.method, row.patch_size, row.kernel, row.device, row.dtype) == ours


def _log_ratios(cases: Sequence[Case], other: Other, figures: Figures) -> list[LogRatios]:
    """Return log(other / method) by round, of each case that has any."""
    found = []
    for case in cases:
        exact, method = figures(other(case)), figures(case)
        ratios = {
            round_: math.log(exact[round_] / method[round_])
            for round_ in sorted(exact.keys() & method.keys())
            if exact[round_] > 0 and method[round_] > 0
        }
        if ratios:
            found.append(ratios)
    return found


def _combined(ratios: Sequence[LogRatios]) -> Effect | None:
    """Average the workloads inside each round, then estimate over the rounds that all have."""
    if not ratios:
        return None
    rounds = sorted(set.intersection(*(set(one) for one in ratios)))
    if rounds:
        return ratio_effect([float(np.mean([one[r] for one in ratios])) for r in rounds])
    centre = float(np.mean([hodges_lehmann(list(one.values())) for one in ratios]))
    return Effect(ratio=math.exp(centre), ci_low=None, ci_high=None, n=0)


def _left(cases: Sequence[Case], other: Other, figures: Figures) -> Effect | None:
    """Return method / exact: what is left of memory or energy."""
    ratios = _log_ratios(cases, other, figures)
    return _combined([{round_: -log for round_, log in one.items()} for one in ratios])


def _energy_left(target: TargetRun, cases: Sequence[Case]) -> tuple[Effect | None, str]:
    """Return method / exact of the joules of a step, or why they must not be compared.

    The sensor's tolerance is the same in both and cancels.
    """
    energies, found = energies_of(target), []
    for case in cases:
        exact = energies.get((baseline_of(target, case), "step"), {})
        ratios = energy_ratios(exact, energies.get((case, "step"), {}))
        if isinstance(ratios, str):
            return None, ratios
        if ratios:
            found.append({round_: math.log(ratio) for round_, ratio in ratios.items()})
    return _combined(found), ""


def _energy_reason(rows: Sequence[Row]) -> str:
    """Return why a step has no energy."""
    reasons = [row.reason for row in rows if row.metric == "energy_j" and row.phase == "step"]
    commonest = Counter(reason for reason in reasons if reason).most_common(1)
    return commonest[0][0].removeprefix("energy ") if commonest else "not measured"


def _spread(rows: Sequence[Row], metric: str) -> Spread | None:
    """Return the spread over workloads on the 1/f spectrum."""
    values = [r.value for r in rows if r.metric == metric and r.phase == "" and r.value is not None]
    if not values:
        return None
    return Spread(median=float(np.median(values)), low=min(values), high=max(values), n=len(values))


@dataclass(frozen=True, kw_only=True)
class Story:
    """One subject's part of the summary."""

    subject: Subject
    headlines: tuple[Headline, ...]

    @property
    def no_energy(self) -> str:
        """Why no method's energy was measured, if that is so and for one reason; said once."""
        if self.subject.target.power is None:
            return no_power_reason(self.subject.target)
        reasons = {without_numbers(h.energy_reason): h.energy_reason for h in self.headlines}
        return next(iter(reasons.values())) if len(reasons) == 1 else ""

    @property
    def failed(self) -> bool:
        """Whether the session itself went wrong."""
        return self.subject.target.session.status != "ok"

    @property
    def best(self) -> Headline | None:
        """What the one sentence is of: the quickest decidable step that one can train with.

        Where none is decidably quicker than exact, the quickest of what was measured.
        """
        known = [h for h in self.headlines if h.usable and h.step is not None]
        return max(known, key=lambda h: (h.decided > 0, _ratio(h)), default=None)

    @property
    def shown(self) -> tuple[Headline, ...]:
        """The headlines worth a paragraph: on a failed target only those that have a figure."""
        return tuple(h for h in self.headlines if h.measured or not self.failed)


def _ratio(h: Headline) -> float:
    return h.step.ratio if h.step else 0.0


def stories_of(subjects: Sequence[Subject]) -> tuple[Story, ...]:
    """Return the summary of each subject."""
    return tuple(
        Story(subject=subject, headlines=headlines(subject.run, subject.target, subject.rows))
        for subject in subjects
    )
