"""Two runs side by side: not the same rounds, hence no pairs and no verdict. Pure.

What drifts between two runs (heat, clocks, other users, a system's update) is in the difference,
and no statistics take it out again. The estimate is the Hodges-Lehmann shift of the logarithms,
its interval the exact one of Mann and Whitney (Hollander & Wolfe, Nonparametric Statistical
Methods, section 4.3); both tell of the scatter within the runs only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from reports.comparison import cases_of
from reports.energy_table import why_incomparable
from reports.gate_evidence import figures
from reports.records import Run, TargetRun
from reports.stats import Effect, Floats
from reports.summary import environment_of
from workloads.messages import Case

STATUSES = ("higher", "lower", "alike", "undecided", "not comparable")
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Shift:
    """What one metric of one case is in the second run, relative to the first.

    ``effect`` is second / first, its ``n`` the smaller number of blocks; None where there is none.
    ``status`` is one of STATUSES: higher, lower and alike only where the interval lies beyond the
    margin, or within it.
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
    """All shifts between two runs, and what else differs: ``differences`` by target, in words."""

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

    Raises:
        ValueError: a margin that is none.
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin of {margin:g} is out of range — write 3% or 0.03")
    targets, notes = _targets(first, second)
    return SideBySide(
        first=first.run_id,
        second=second.run_id,
        shifts=tuple(
            _shift(one, other, case, metric, phase, margin)
            for one, other in targets
            for case in _common(first, one, second, other)
            for metric, phase in _asked(metrics, phases)
        ),
        differences={other.name: differences(first, one, second, other) for one, other in targets},
        notes=notes,
    )


def shift(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Effect:
    """Return second / first of two independent samples of positive figures.

    Raises:
        ValueError: no values, one that is not positive and finite, or a level outside (0, 1).
    """
    sides = [np.asarray(values, dtype=np.float64) for values in (first, second)]
    if not all(one.size and np.isfinite(one).all() and (one > 0).all() for one in sides):
        raise ValueError("a shift needs positive values on both sides")
    apart = np.sort(np.subtract.outer(np.log(sides[1]), np.log(sides[0])).ravel())
    cut = _cut(len(first), len(second), level)
    low, high = (math.exp(apart[cut - 1]), math.exp(apart[-cut])) if cut else (None, None)
    centre = math.exp(float(np.median(apart)))
    return Effect(ratio=centre, ci_low=low, ci_high=high, n=min(len(first), len(second)))


def differences(
    first: Run, first_target: TargetRun, second: Run, second_target: TargetRun
) -> tuple[str, ...]:
    """Return what differs between two runs besides the figures: ``torch: 2.1.0, now 2.4.0``."""
    ours, theirs = (
        {
            **environment_of(target),
            "host name": target.probe.hostname if target.probe else "",
            "window_s": run.header.plan.min_window_s,
            "isolation": run.header.plan.isolation,
            "inputs": _inputs(target),
            "gfbench": run.header.tool.version,
            "payload": run.header.payload.sha256[:12] if run.header.payload else "",
            **{f"kernel {kernel.name}": kernel.source_sha256[:12] for kernel in run.header.kernels},
        }
        for run, target in ((first, first_target), (second, second_target))
    )
    found = [
        f"{name.replace('_', ' ')}: {_known(ours[name])}, then {_known(theirs[name])}"
        for name in ours
        if name in theirs and ours[name] != theirs[name]
    ]
    boots = (first_target.session.boot_id, second_target.session.boot_id)
    if all(boots) and boots[0] != boots[1]:
        found.append("the machine restarted in between")
    return tuple(found)


def _inputs(target: TargetRun) -> str:
    """Say what was done to the inputs between iterations; older versions did nothing."""
    changed = any(block.verified for block in target.blocks)
    return "changed before each iteration" if changed else "the same in each iteration"


@cache
def rank_sum_distribution(m: int, n: int) -> Floats:
    """Return P(U = u) for u = 0 .. mn under the null, by dynamic programming over the larger."""
    ways = np.zeros((m + 1, m * n + 1))  # [i, u]: i of the first sample placed, u pairs so far
    ways[0, 0] = 1.0
    for place in range(1, m + n + 1):
        for i in range(min(m, place), 0, -1):
            beaten = place - i  # of the second sample, that lie below
            if beaten <= n:
                ways[i, beaten:] += ways[i - 1, : m * n + 1 - beaten]
    return np.asarray(ways[m] / ways[m].sum())


def _cut(m: int, n: int, level: float) -> int:
    """Return the rank, from either end, of the difference that bounds the interval; 0: none."""
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not {level}")
    below = np.cumsum(rank_sum_distribution(m, n))
    return int(np.searchsorted(below, (1 - level) / 2 * (1 + 1e-12), side="right"))


def _shift(
    first: TargetRun, second: TargetRun, case: Case, metric: str, phase: str, margin: float
) -> Shift:
    ours, theirs = (
        tuple(figures(target, case, metric, phase).values()) for target in (first, second)
    )
    refusal = (metric == "energy" and why_incomparable(first, second)) or ""
    effect = shift(ours, theirs) if ours and theirs and not refusal else None
    status, reason = _judged(effect, margin) if effect else ("not comparable", refusal)
    if not effect and not reason:
        reason = f"not measured in {' and '.join(_lacking(ours, theirs))}"
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
        return "undecided", "too few blocks for an interval: it takes 4 in each run"
    if effect.ci_low > 1 + margin:
        return "higher", ""
    if effect.ci_high < 1 - margin:
        return "lower", ""
    if effect.ci_low >= 1 - margin and effect.ci_high <= 1 + margin:
        return "alike", ""
    return "undecided", f"the interval lies on both sides of {100 * margin:.3g} %"


def _lacking(ours: Sequence[float], theirs: Sequence[float]) -> list[str]:
    both = (("the first run", ours), ("the second run", theirs))
    return [name for name, values in both if not values]


def _targets(
    first: Run, second: Run
) -> tuple[tuple[tuple[TargetRun, TargetRun], ...], tuple[str, ...]]:
    """Return the targets to be compared: those of one name, or the only one of each run."""
    theirs = {target.name: target for target in second.targets}
    common = tuple((one, theirs[one.name]) for one in first.targets if one.name in theirs)
    left = [one.name for one in first.targets if one.name not in theirs]
    left += [name for name in theirs if name not in {one.name for one, _ in common}]
    if not common and len(first.targets) == len(second.targets) == 1:
        pair = (first.targets[0], second.targets[0])
        return (pair,), (f"different targets: {pair[0].name}, then {pair[1].name}",)
    return common, tuple(f"{name} is in only one of the runs" for name in left)


def _common(
    first: Run, first_target: TargetRun, second: Run, second_target: TargetRun
) -> tuple[Case, ...]:
    there = set(cases_of(second, second_target))
    return tuple(case for case in cases_of(first, first_target) if case in there)


def _asked(metrics: Sequence[str], phases: Sequence[str]) -> Iterator[tuple[str, str]]:
    for metric in dict.fromkeys(metrics):
        for phase in ("",) if metric == "memory" else dict.fromkeys(phases):
            yield metric, phase


def _known(value: object) -> str:
    return "unknown" if value in (None, "") else str(value)
