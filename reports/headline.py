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

from reports.baseline import EXACT, baseline_of, latencies_s
from reports.comparison import cases_of, memory_figures
from reports.energy_table import energies_of, energy_ratios
from reports.kernel_ratios import is_compared, plain_of
from reports.records import Run, TargetRun
from reports.rows import Row
from reports.stats import Effect, hodges_lehmann, ratio_effect
from reports.wording import is_usable
from workloads.messages import Case

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
        if case.method != EXACT:
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
