"""A gate over a run: a verdict on every pair of cases, metric and phase, and their sum. Pure.

Example:
    gate = judge(run, base="kernel=torch", new="kernel=native", margin=0.03)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reports.calibration.noise_floor import FloorsByTarget, NoiseFloor, conditions_of, staleness
from reports.errors import GfbenchError
from reports.gate.question import Question, answer
from reports.gate.verdict import Gate, Verdict
from reports.metrics.of_run import cases_of
from reports.metrics.over_workloads import over_workloads
from reports.metrics.selectors import CasePair, select_pairs
from reports.metrics.table import gate_names, judged_by
from reports.results.records import Rule, Run, TargetRun
from reports.stats.checks import discoveries
from reports.stats.intervals import Effect, ratio_effect
from reports.stats.pooling import Pooled, random_effects
from workloads.spec.messages import PHASES, Case, kind_of

EXIT_CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "INVALID": 3, "INFRA": 4}
EXIT_CODES_BY_PRECEDENCE = (4, 1, 3, 0)
POLICIES = {"warn": 3, "fail": 1, "pass": 0}  # the exit code of an INCONCLUSIVE
DEFAULT_PHASES = Rule.phases


class GateError(GfbenchError):
    """The rule of a gate is not valid, or does not fit the run; the message names the choices."""


def judge(
    run: Run,
    *,
    base: str,
    new: str,
    metrics: Sequence[str] = ("latency",),
    margin: float = 0.03,
    phases: Sequence[str] = DEFAULT_PHASES,
    floors: FloorsByTarget | None = None,
    inconclusive: str = "warn",
) -> Gate:
    """Return the verdicts on all pairs of cases that the two selectors choose.

    Args:
        run: finished or not; it is judged at the last look that its rounds reach.
        base: a case selector, see ``reports.metrics.selectors``.
        new: the selector of the cases that are compared with the base.
        metrics: by their names in a gate, such as latency, energy, memory.
        margin: the change that matters, as a fraction.
        phases: for metrics that have phases.
        floors: the machines' calibrations by target; stale ones are not used.
        inconclusive: warn, fail or pass: decides the exit code of an INCONCLUSIVE.

    Raises:
        GateError: an unknown metric, phase or policy, or a margin out of range.
        reports.metrics.selectors.SelectorError: a selector selects nothing or too much.
    """
    rule = Rule(
        base=base, new=new, metrics=tuple(metrics), phases=tuple(phases), margin=margin,
        inconclusive=inconclusive,
    )  # fmt: skip
    return judge_by(rule, run, floors or {})


def judge_by(rule: Rule, run: Run, floors: FloorsByTarget) -> Gate:
    """Return the verdicts on a run by a rule, with these noise floors; see ``judge``.

    Raises:
        GateError: an unknown metric, phase or policy, or a margin out of range.
        reports.metrics.selectors.SelectorError: a selector selects nothing or too much.
    """
    _check(run, rule)
    pairs = select_pairs(_all_cases(run), rule.base, rule.new)
    valid_floors, notes = _valid_floors(run, floors)
    verdicts = []
    for target in run.targets:
        for pair in _pairs_of(run, target, pairs):
            for metric, phase in metric_phases(rule.metrics, rule.phases):
                if phase and phase not in pair.new.phases:
                    continue
                question = Question(
                    target=target,
                    pair=pair,
                    metric=metric,
                    phase=phase,
                    margin=rule.margin,
                    floor=valid_floors.get(target.name),
                )
                verdicts.append(answer(question))
    return gate_of_verdicts(run.run_id, rule, tuple(verdicts), floors=floors, notes=notes)


def gate_of_verdicts(
    run_id: str,
    rule: Rule,
    verdicts: tuple[Verdict, ...],
    *,
    floors: FloorsByTarget,
    notes: tuple[str, ...],
) -> Gate:
    """Return the gate of these verdicts: what changed, means and the exit code."""
    summary = _summary(verdicts)
    return Gate(
        run_id=run_id,
        rule=rule,
        verdicts=verdicts,
        changed=_changed(verdicts),
        summary=summary,
        exit_code=exit_code((verdict.status for verdict in verdicts), rule.inconclusive),
        fleet=_fleet(summary),
        notes=notes,
        floors=floors,
    )


def parse_margin(text: str) -> float:
    """Return the fraction that ``3%`` or ``0.03`` stands for.

    Raises:
        GateError: the text is not a number, or not between 0 and 100 %.
    """
    number = text.strip().removesuffix("%")
    divisor = 100 if text.strip().endswith("%") else 1
    try:
        margin = float(number) / divisor
    except ValueError:
        raise GateError(f"{text!r} is not a margin — write 3% or 0.03") from None
    _check_margin(margin, text)
    return margin


def exit_code(statuses: Iterable[str], inconclusive: str = "warn") -> int:
    """Return the exit code that takes precedence among those of the verdicts; 0 without any."""
    code_of = {**EXIT_CODES, "INCONCLUSIVE": POLICIES[inconclusive]}
    codes = {code_of[status] for status in statuses} | {0}
    return next(code for code in EXIT_CODES_BY_PRECEDENCE if code in codes)


def metric_phases(metrics: Sequence[str], phases: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (metric, phase), each once; the phase of metrics without phases is empty."""
    for metric in dict.fromkeys(metrics):
        if judged_by(metric).phases == ("",):
            yield metric, ""
        else:
            yield from ((metric, phase) for phase in dict.fromkeys(phases))


def _check(run: Run, rule: Rule) -> None:
    timed = {phase for case in _all_cases(run) for phase in case.phases}
    planned = [phase for phase in PHASES if phase in timed & {*run.header.plan.phases}]
    _check_names("metric", rule.metrics, gate_names())
    if any(judged_by(metric).phases != ("",) for metric in rule.metrics):
        _check_names("phase", rule.phases, planned)
    _check_names("policy", (rule.inconclusive,), list(POLICIES))
    _check_margin(rule.margin, f"{rule.margin:g}")


def _check_margin(margin: float, text: str) -> None:
    if not 0 < margin < 1:
        raise GateError(
            f"the margin {text} is not between 0 and 100 % — write for example 3% or 0.03"
        )


def _check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    choices = f"choose from {', '.join(known)}"
    if not names:
        raise GateError(f"no {what} was chosen — {choices}")
    for name in names:
        if name not in known:
            raise GateError(f"this run has no {what} {name!r} — {choices}")


def _all_cases(run: Run) -> tuple[Case, ...]:
    return tuple(dict.fromkeys(case for t in run.targets for case in cases_of(run, t)))


def _pairs_of(run: Run, target: TargetRun, pairs: Sequence[CasePair]) -> list[CasePair]:
    """Return the pairs of which the target has at least one case."""
    cases = set(cases_of(run, target))
    return [pair for pair in pairs if pair.base in cases or pair.new in cases]


def _valid_floors(
    run: Run, floors: FloorsByTarget
) -> tuple[dict[str, NoiseFloor], tuple[str, ...]]:
    """Return by target the floors that are valid, and notes on missing and stale ones."""
    valid: dict[str, NoiseFloor] = {}
    notes = []
    for target in run.targets:
        floor, remedy = floors.get(target.name), f"gfbench calibrate -t {target.name}"
        if floor is None:
            notes.append(
                f"{target.name} has no noise floor, so the margin is used as given: {remedy}"
            )
            continue
        changes = staleness(floor, conditions=conditions_of(target))
        if changes:
            notes.append(f"{target.name}'s noise floor is stale ({'; '.join(changes)}): {remedy}")
        else:
            valid[target.name] = floor
    return valid, tuple(notes)


def _changed(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Return the verdicts whose difference is significant after the correction for many tests."""
    tested = [verdict for verdict in verdicts if verdict.p_value is not None]
    significant = discoveries(
        [verdict.p_value for verdict in tested if verdict.p_value is not None]
    )
    return tuple(itertools.compress(tested, significant))


def _summary(verdicts: Sequence[Verdict]) -> dict[tuple[str, str, str], Effect]:
    """Return the figure over workloads by target, metric and phase; ``n`` counts the workloads.

    There is no figure over layers and networks together.
    """
    groups: dict[tuple[str, str, str], list[Effect]] = {}
    kinds: dict[tuple[str, str, str], set[str]] = {}
    for verdict in verdicts:
        if verdict.log_ratios:
            key = (verdict.target, verdict.metric, verdict.phase)
            groups.setdefault(key, []).append(ratio_effect(verdict.log_ratios))
            kinds.setdefault(key, set()).add(kind_of(verdict.new.workload))
    summary = {}
    for key, effects in groups.items():
        figure = over_workloads(effects)
        if figure is not None and len(kinds[key]) == 1:
            summary[key] = replace(figure, n=len(effects))
    return summary


def _fleet(summary: Mapping[tuple[str, str, str], Effect]) -> dict[tuple[str, str], Pooled]:
    groups: dict[tuple[str, str], list[Effect]] = {}
    for (_, metric, phase), effect in summary.items():
        if effect.ci_low is not None:
            groups.setdefault((metric, phase), []).append(effect)
    return {key: random_effects(effects) for key, effects in groups.items() if len(effects) > 1}
