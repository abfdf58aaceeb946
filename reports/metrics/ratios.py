"""Ratios of two cases of one target, paired by round. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from reports.metrics.baseline import (
    baseline_of,
    baseline_words,
    baselines_of,
    memory_baseline_of,
)
from reports.metrics.kernel_ratios import is_compared, plain_of
from reports.metrics.metric import Metric, RowBuilder
from reports.metrics.rows import Row
from reports.metrics.status import (
    Status,
    joint_status,
    status_of,
    with_few_rounds,
    with_remark,
    without_value,
)
from reports.metrics.values import latencies_s, log_ratios
from reports.results.records import TargetRun
from reports.stats.intervals import Effect, paired_ratio, ratio_effect
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE


class Incomparable(ValueError):
    """Figures of two cases that must not be divided; says why."""


def log_ratios_of(
    metric: Metric, target: TargetRun, base: Case, new: Case, phase: str
) -> dict[int, float]:
    """Return the logarithms of new / base by round, of the rounds in which both were measured.

    Raises:
        Incomparable: they must not be compared.
    """
    if metric.sensor is not None:
        refusal = metric.sensor.incomparable(target, base, new, phase)
        if refusal:
            raise Incomparable(refusal)
    figures = (metric.by_round(target, case, phase) for case in (base, new))
    return log_ratios(*figures)


def ratio_of(metric: Metric, target: TargetRun, base: Case, new: Case, phase: str) -> Effect | None:
    """Return new / base with its interval; None where no round has both.

    Raises:
        Incomparable: they must not be compared.
    """
    logs = log_ratios_of(metric, target, base, new, phase)
    return ratio_effect(list(logs.values())) if logs else None


def exact_of(metric: Metric, target: TargetRun, case: Case, phase: str) -> Case:
    """Return the exact case with which the metric compares this one; no phase is the step's."""
    if metric.block_kind == "memory":
        return memory_baseline_of(target, case)
    return baseline_of(target, case, phase or "step")


def speedups(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the exact case's time over this one's by round."""
    if case.method == BASELINE:
        return {}
    return _quotients(target, baseline_of(target, case, phase), case, phase)


def kernel_speedups(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the time of kernel ``torch`` over that of the case's kernel by round."""
    return _quotients(target, plain_of(case), case, phase) if is_compared(case) else {}


def speedup_rows(builder: RowBuilder) -> Iterator[Row]:
    """Yield exact / method in each phase of the case, always together; exact itself has none."""
    target, case = builder.target, builder.case
    if case.method == BASELINE or not builder.phases:
        return
    for phase in builder.metric.phases:
        if phase not in case.phases:
            continue
        baseline = baseline_of(target, case, phase)
        theirs = status_of(builder.run, target, baseline, builder.metric.block_kind)
        status = joint_status(builder.status, theirs)
        effect = speedup_of(target, case, phase)
        if effect is None:
            reason = "no round has both this case and its exact baseline"
            yield builder.row(phase, without_value(status, reason))
            continue
        remark = baseline_words(target, case, phase)
        status = with_remark(with_few_rounds(status, effect.n), remark)
        interval = (effect.ci_low, effect.ci_high)
        yield builder.row(phase, status, effect.ratio, interval, effect.n)


def speedup_of(target: TargetRun, case: Case, phase: str) -> Effect | None:
    """Return the speedup over the baseline; None where no round has both.

    That of a network is no surer than over any exact kernel of the same rounds: its interval has
    the lowest of their lower ends, and the lowest of their upper ends.
    """
    effect = _speedup(target, baseline_of(target, case, phase), case, phase)
    if effect is None or effect.ci_low is None or effect.ci_high is None or not case.is_network:
        return effect
    lows, highs = [effect.ci_low], [effect.ci_high]
    for exact in baselines_of(target, case, phase)[1:]:
        over = _speedup(target, exact, case, phase)
        if over is not None and over.ci_low is not None and over.ci_high is not None:
            lows.append(over.ci_low)
            highs.append(over.ci_high)
    return replace(effect, ci_low=min(lows), ci_high=max(effect.ratio, min(highs)))


def kernel_ratio_rows(builder: RowBuilder) -> Iterator[Row]:
    """Yield torch / kernel in each phase that has rounds with both kernels."""
    if not is_compared(builder.case):
        return
    for phase in builder.metric.phases:
        effect = _speedup(builder.target, plain_of(builder.case), builder.case, phase)
        if effect is not None:
            interval = (effect.ci_low, effect.ci_high)
            yield builder.row(phase, Status(), effect.ratio, interval, effect.n)


def _quotients(target: TargetRun, base: Case, case: Case, phase: str) -> dict[int, float]:
    theirs, ours = latencies_s(target, base, phase), latencies_s(target, case, phase)
    return {round_: theirs[round_] / ours[round_] for round_ in sorted(theirs.keys() & ours.keys())}


def _speedup(target: TargetRun, base: Case, case: Case, phase: str) -> Effect | None:
    theirs, ours = latencies_s(target, base, phase), latencies_s(target, case, phase)
    rounds = sorted(theirs.keys() & ours.keys())
    if not rounds:
        return None
    return paired_ratio([ours[r] for r in rounds], [theirs[r] for r in rounds])
