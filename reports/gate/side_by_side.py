"""Two runs side by side: they share no rounds, so there are no pairs and no verdict. Pure.

Whatever changed between the two runs (heat, clocks, other users, a system update) is part of the
difference, and no statistics can remove it. The estimate is the Hodges-Lehmann shift of the
logarithms with the exact interval based on the Mann-Whitney statistic (Hollander & Wolfe,
"Nonparametric Statistical Methods", section 4.3); both only describe the scatter within the runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from reports.energy.by_round import why_incomparable
from reports.gate.evidence import figures
from reports.gate.judge import metric_phases
from reports.metrics.of_run import cases_of
from reports.metrics.summary import environment_of
from reports.metrics.table import judged_by
from reports.results.records import Run, TargetRun
from reports.stats.intervals import Effect, Floats, bounding_rank
from workloads.spec.messages import Case

CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Shift:
    """One metric of one case in the second run, relative to the first.

    ``effect`` is second / first, with the smaller number of blocks as ``n``; None if it could not
    be compared. ``status`` is higher or lower (the interval lies beyond the margin), alike (within
    it), undecided or not comparable.
    """

    first_target: str
    target: str
    case: Case
    metric: str
    phase: str
    status: str
    effect: Effect | None = None
    blocks: tuple[int, int] = (0, 0)
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """All shifts between two runs; ``differences`` in other facts are text, by target."""

    first: str
    second: str
    shifts: tuple[Shift, ...]
    differences: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()


def side_by_side(
    first: Run,
    second: Run,
    *,
    metrics: Sequence[str] = ("latency",),
    phases: Sequence[str] = ("backward", "step"),
    margin: float = 0.03,
) -> SideBySide:
    """Return how the cases that two runs have in common differ, target by target.

    Args:
        first: the run to compare with.
        second: the run that is compared.
        metrics: by their names in a gate.
        phases: for metrics that have phases.
        margin: the change that matters, as a fraction.

    Raises:
        ValueError: the margin is not between 0 and 1.
    """
    if not 0 < margin < 1:
        raise ValueError(
            f"the margin {margin:g} is not between 0 and 100 % — write for example 3% or 0.03"
        )
    targets, notes = _common_targets(first, second)
    shifts = []
    for ours, theirs in targets:
        for case in _common_cases(first, ours, second, theirs):
            for metric, phase in metric_phases(metrics, phases):
                shifts.append(_shift(ours, theirs, case, metric, phase, margin))
    return SideBySide(
        first=first.run_id,
        second=second.run_id,
        shifts=tuple(shifts),
        differences={
            theirs.name: differences(first, ours, second, theirs) for ours, theirs in targets
        },
        notes=notes,
    )


def shift(
    first: Sequence[float], second: Sequence[float], level: float = CONFIDENCE_LEVEL
) -> Effect:
    """Return second / first of two independent samples of positive figures.

    Raises:
        ValueError: there are no values, one is not positive and finite, or the level is outside
            (0, 1).
    """
    samples = [np.asarray(values, dtype=np.float64) for values in (first, second)]
    for values in samples:
        if not values.size or not np.isfinite(values).all() or (values <= 0).any():
            raise ValueError("a shift needs positive values on both sides")
    log_ratios = np.sort(np.subtract.outer(np.log(samples[1]), np.log(samples[0])).ravel())
    ratio = math.exp(float(np.median(log_ratios)))
    n = min(len(first), len(second))
    below = np.cumsum(rank_sum_distribution(len(first), len(second)))
    rank = bounding_rank(below, level)
    if rank == 0:
        return Effect(ratio=ratio, ci_low=None, ci_high=None, n=n)
    low, high = math.exp(log_ratios[rank - 1]), math.exp(log_ratios[-rank])
    return Effect(ratio=ratio, ci_low=low, ci_high=high, n=n)


def differences(
    first: Run, first_target: TargetRun, second: Run, second_target: TargetRun
) -> tuple[str, ...]:
    """Return what differs between two runs besides the figures: ``torch: 2.1.0, then 2.4.0``."""
    ours, theirs = _facts(first, first_target), _facts(second, second_target)
    changes = []
    for name in ours:
        if name in theirs and ours[name] != theirs[name]:
            then = f"{_known(ours[name])}, then {_known(theirs[name])}"
            changes.append(f"{name.replace('_', ' ')}: {then}")
    boots = (first_target.session.boot_id, second_target.session.boot_id)
    if all(boots) and boots[0] != boots[1]:
        changes.append("the machine was restarted in between")
    return tuple(changes)


def _facts(run: Run, target: TargetRun) -> dict[str, object]:
    header = run.header
    inputs_changed = any(block.verified for block in target.blocks)  # older versions did not
    facts: dict[str, object] = {
        **environment_of(target),
        "host name": target.probe.hostname if target.probe else "",
        "window_s": header.plan.min_window_s,
        "isolation": header.plan.isolation,
        "inputs": "changed before each iteration"
        if inputs_changed
        else "the same in each iteration",
        "gfbench": header.tool.version,
        "payload": header.payload.sha256[:12] if header.payload else "",
    }
    for kernel in header.kernels:
        facts[f"kernel {kernel.name}"] = kernel.source_sha256[:12]
    return facts


@cache
def rank_sum_distribution(m: int, n: int) -> Floats:
    """Return P(U = u) for u = 0 .. mn of the Mann-Whitney statistic under the null hypothesis.

    Dynamic programming over the m + n ranks: ``counts[i, u]`` is the number of orders in which i
    of the ranks so far belong to the first sample and U is u.
    """
    counts = np.zeros((m + 1, m * n + 1))
    counts[0, 0] = 1.0
    for rank in range(1, m + n + 1):
        for i in range(min(m, rank), 0, -1):
            lower = rank - i  # values of the second sample below the i-th of the first
            if lower <= n:
                counts[i, lower:] += counts[i - 1, : m * n + 1 - lower]
    return np.asarray(counts[m] / counts[m].sum())


def _shift(
    first: TargetRun, second: TargetRun, case: Case, metric: str, phase: str, margin: float
) -> Shift:
    ours = tuple(figures(first, case, metric, phase).values())
    theirs = tuple(figures(second, case, metric, phase).values())
    reason = (judged_by(metric).sensor and why_incomparable(first, second)) or ""
    effect, status = None, "not comparable"
    if not reason and not (ours and theirs):
        lacking = [name for name, values in (("first", ours), ("second", theirs)) if not values]
        reason = f"not measured in {' and '.join(f'the {name} run' for name in lacking)}"
    elif not reason:
        effect = shift(ours, theirs)
        status, reason = _judged(effect, margin)
    return Shift(
        first_target=first.name,
        target=second.name,
        case=case,
        metric=metric,
        phase=phase,
        status=status,
        effect=effect,
        blocks=(len(ours), len(theirs)),
        reason=reason,
    )


def _judged(effect: Effect, margin: float) -> tuple[str, str]:
    if effect.ci_low is None or effect.ci_high is None:
        return "undecided", "too few blocks for an interval: each run needs at least 4"
    if effect.ci_low > 1 + margin:
        return "higher", ""
    if effect.ci_high < 1 - margin:
        return "lower", ""
    if effect.ci_low >= 1 - margin and effect.ci_high <= 1 + margin:
        return "alike", ""
    return "undecided", f"the interval lies on both sides of {100 * margin:.3g} %"


def _common_targets(
    first: Run, second: Run
) -> tuple[tuple[tuple[TargetRun, TargetRun], ...], tuple[str, ...]]:
    """Return the pairs of targets to compare, and notes on targets without a partner.

    Targets of the same name are compared; if each run has one target, these two are.
    """
    ours = {target.name: target for target in first.targets}
    theirs = {target.name: target for target in second.targets}
    common = tuple((target, theirs[name]) for name, target in ours.items() if name in theirs)
    if not common and len(ours) == len(theirs) == 1:
        pair = (first.targets[0], second.targets[0])
        return (pair,), (f"different targets: {pair[0].name}, then {pair[1].name}",)
    alone = [name for name in ours if name not in theirs]
    alone += [name for name in theirs if name not in ours]
    return common, tuple(f"{name} is only in one of the runs" for name in alone)


def _common_cases(
    first: Run, first_target: TargetRun, second: Run, second_target: TargetRun
) -> tuple[Case, ...]:
    theirs = set(cases_of(second, second_target))
    return tuple(case for case in cases_of(first, first_target) if case in theirs)


def _known(value: object) -> str:
    return "unknown" if value in (None, "") else str(value)
