"""What a run says in a sentence per method: over all layers of one target, of each network. Pure.

How several layers become one figure is in ``reports.metrics.over_workloads``. Networks and targets
are never pooled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.metrics.baseline import (
    baseline_of,
    baseline_words,
    memory_baseline_of,
    slow_baseline,
)
from reports.metrics.kernel_ratios import is_compared, plain_of
from reports.metrics.of_run import cases_of
from reports.metrics.over_workloads import over_workloads
from reports.metrics.ratios import Incomparable, exact_of, ratio_of
from reports.metrics.rows import Row, row_case
from reports.metrics.subjects import Subject
from reports.metrics.table import metric_of
from reports.metrics.values import forward_shares, no_power_reason
from reports.results.records import Run, TargetRun
from reports.stats.intervals import Effect
from reports.text.wording import has_exact_gradients, is_usable, without_numbers
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A median over workloads and the range that it comes from."""

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """The exact ways of training a network that a method is compared with.

    ``step`` says which is the fastest, ``memory`` which kernel the bytes are compared with.
    ``forward_share`` is the forward's share of the fastest step.
    """

    step: str
    memory: str
    forward_share: float | None

    @property
    def bound(self) -> float | None:
        """The speedup of the step that a backward which takes no time at all would give."""
        return 1 / self.forward_share if self.forward_share else None


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One method on one target against exact, over layers or on one network.

    ``network`` is the network's name, with its batch; empty for layers, which have no ``rivals``.

    ``backward`` and ``step`` are speedups (exact / method); ``saved``, ``peak_rss``,
    ``cuda_peak`` and ``energy`` are what is left (method / exact). ``workloads`` of
    ``workloads_planned`` have a speedup. ``torch_backward`` and ``torch_step`` are how much faster
    than kernel ``torch`` of the same method another kernel is. ``exact_note`` is what a reader of
    the speedups has to know of exact.
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
    exact_note: str = ""
    network: str = ""
    rivals: Rivals | None = None
    train_step: Effect | None = None

    @property
    def usable(self) -> bool:
        """Whether one can train with what the method computes."""
        return is_usable(self.method)

    @property
    def has_exact_gradients(self) -> bool:
        """Whether the method only spends time or memory in another way than exact."""
        return has_exact_gradients(self.method)

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
    """Return one headline per method, patch size, kernel, device and dtype, exact left out.

    All layers have one together, each network has its own.
    """
    groups: dict[tuple[str, str, int | None, str, str, str], list[Case]] = {}
    for case in cases_of(run, target):
        if case.method != BASELINE:
            method = (case.method, case.patch_size, case.kernel_label, case.device, case.dtype)
            groups.setdefault((_network_name(case), *method), []).append(case)
    mine = [row for row in rows if row.run_id == run.run_id and row.target == target.name]
    return tuple(_headline(target, cases, mine) for cases in groups.values())


def _network_name(case: Case) -> str:
    return f"{case.workload.name}, batch {case.batch}" if case.is_network else ""


def _headline(target: TargetRun, cases: Sequence[Case], rows: Sequence[Row]) -> Headline:
    case = cases[0]
    own_cases = {row_case(target.name, case) for case in cases}
    own = [row for row in rows if row.case in own_cases]
    backward, step = (_speedups(own, phase) for phase in ("backward", "step"))
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
        backward=over_workloads(backward),
        step=over_workloads(step),
        saved=_left(target, cases, "saved_bytes", ""),
        peak_rss=_left(target, cases, "peak_rss_bytes", ""),
        cuda_peak=_left(target, cases, "cuda_peak_bytes", ""),
        energy=energy,
        energy_reason="" if energy else refusal or _energy_reason(own),
        cosine_gx=_spread(own, "cosine_gx"),
        cosine_gw=_spread(own, "cosine_gw"),
        torch_backward=_over_torch(target, cases, "backward"),
        torch_step=_over_torch(target, cases, "step"),
        exact_note=slow_baseline(target, case.device),
        network=_network_name(case),
        rivals=_rivals(target, case) if case.is_network else None,
        train_step=over_workloads(_speedups(own, "train_step")),
    )


def _rivals(target: TargetRun, case: Case) -> Rivals:
    fastest = baseline_of(target, case)
    shares = list(forward_shares(target, fastest, "").values())
    return Rivals(
        step=baseline_words(target, case, "step") or f"exact by {fastest.kernel_label}",
        memory=memory_baseline_of(target, case).kernel_label,
        forward_share=float(np.median(shares)) if shares else None,
    )


def _speedups(rows: Sequence[Row], phase: str) -> list[Effect]:
    """Return the speedup of each workload that has one."""
    return [
        Effect(ratio=row.value, ci_low=row.ci_low, ci_high=row.ci_high, n=row.n)
        for row in rows
        if row.metric == "speedup" and row.phase == phase and row.value is not None
    ]


def _left(target: TargetRun, cases: Sequence[Case], name: str, phase: str) -> Effect | None:
    """Return method / exact over workloads: what is left of memory or energy.

    Raises:
        Incomparable: figures of one of the cases must not be compared.
    """
    metric = metric_of(name)
    effects = []
    for case in cases:
        effect = ratio_of(metric, target, exact_of(metric, target, case, phase), case, phase)
        if effect is not None:
            effects.append(effect)
    return over_workloads(effects)


def _energy_left(target: TargetRun, cases: Sequence[Case]) -> tuple[Effect | None, str]:
    """Return method / exact of the joules of a step, or why they must not be compared.

    The sensor's tolerance is the same in both and cancels.
    """
    try:
        return _left(target, cases, "energy_j", "step"), ""
    except Incomparable as refusal:
        return None, str(refusal)


def _over_torch(target: TargetRun, cases: Sequence[Case], phase: str) -> Effect | None:
    """Return how much faster the kernel is than kernel ``torch``, over workloads."""
    effects = []
    for case in filter(is_compared, cases):
        effect = ratio_of(metric_of("latency_s"), target, case, plain_of(case), phase)
        if effect is not None:
            effects.append(effect)
    return over_workloads(effects)


def _energy_reason(rows: Sequence[Row]) -> str:
    """Return why a step has no energy."""
    reasons = [row.reason for row in rows if row.metric == "energy_j" and row.phase == "step"]
    commonest = Counter(reason for reason in reasons if reason).most_common(1)
    return commonest[0][0].removeprefix("energy ") if commonest else "not measured"


def _spread(rows: Sequence[Row], metric: str) -> Spread | None:
    """Return the spread over workloads: of layers on the 1/f spectrum, of networks as captured."""
    values = [r.value for r in rows if r.metric == metric and r.phase == "" and r.value is not None]
    if not values:
        return None
    return Spread(median=float(np.median(values)), low=min(values), high=max(values), n=len(values))


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """What a story says of one network, or of all layers (``network`` is then empty)."""

    network: str
    headlines: tuple[Headline, ...]

    @property
    def best(self) -> Headline | None:
        """What the one sentence is of: the quickest decidable step that one can train with.

        Where none is decidably quicker than exact, the quickest of what was measured.
        """
        known = [h for h in self.headlines if h.usable and h.step is not None]
        return max(known, key=lambda h: (h.decided > 0, _ratio(h)), default=None)


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
    def chapters(self) -> tuple[Chapter, ...]:
        """What there is to say of each network, then of the layers.

        On a failed target only what has a figure.
        """
        by_network: dict[str, list[Headline]] = {}
        for headline in self.headlines:
            if headline.measured or not self.failed:
                by_network.setdefault(headline.network, []).append(headline)
        chapters = [
            Chapter(network=network, headlines=tuple(own)) for network, own in by_network.items()
        ]
        return tuple(sorted(chapters, key=lambda chapter: not chapter.network))


def _ratio(h: Headline) -> float:
    return h.step.ratio if h.step else 0.0


def stories_of(subjects: Sequence[Subject]) -> tuple[Story, ...]:
    """Return the summary of each subject."""
    return tuple(
        Story(subject=subject, headlines=headlines(subject.run, subject.target, subject.rows))
        for subject in subjects
    )
