"""A gate over a finished run: every pair, metric and phase judged, and what it amounts to. Pure.

gate = judge(run, base="kernel=torch", new="kernel=native", margin=0.03)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from reports.calibration.noise_floor import FloorsByTarget, NoiseFloor, conditions_of, staleness
from reports.errors import GfbenchError
from reports.gate.question import Question, answer
from reports.gate.verdict import METRICS, Gate, Verdict
from reports.metrics.of_run import cases_of
from reports.metrics.selectors import CasePair, select_pairs
from reports.results.records import Rule, Run, TargetRun
from reports.stats.checks import discoveries
from reports.stats.intervals import Effect
from reports.stats.pooling import Pooled, geometric_mean_over, random_effects
from workloads.spec.messages import PHASES, Case

EXIT_CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "INVALID": 3, "INFRA": 4}
PRECEDENCE = (4, 1, 3, 0)
POLICIES = {"warn": 3, "fail": 1, "pass": 0}  # of an INCONCLUSIVE
DEFAULT_PHASES = Rule.phases


class GateProblem(GfbenchError):
    """A gate that cannot be asked for; says what can."""


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
    """Return the verdicts on all pairs that the two selectors choose.

    Args:
        run: finished or not; what it has is judged at the largest look within its rounds.
        base: a case selector, see ``reports.metrics.selectors``.
        new: another.
        metrics: of latency, energy, memory.
        margin: the change that matters, as a fraction.
        phases: of latency and energy; memory has none.
        floors: the machines' calibrations by target; one that is stale is not used.
        inconclusive: warn, fail or pass: which exit code an INCONCLUSIVE has.

    Raises:
        GateProblem: an unknown metric, phase or policy, or a margin out of range.
        reports.metrics.selectors.SelectorProblem: selectors that select nothing or too much.
    """
    rule = Rule(
        base=base, new=new, metrics=tuple(metrics), phases=tuple(phases), margin=margin,
        inconclusive=inconclusive,
    )  # fmt: skip
    return judge_by(rule, run, floors or {})


def judge_by(rule: Rule, run: Run, floors: FloorsByTarget) -> Gate:
    """Return the verdicts on a run by a rule, with these noise floors; see ``judge``.

    Raises:
        GateProblem: an unknown metric, phase or policy, or a margin out of range.
        reports.metrics.selectors.SelectorProblem: selectors that select nothing or too much.
    """
    _check(run, rule)
    pairs = select_pairs(_all_cases(run), rule.base, rule.new)
    held, notes = _still_valid(run, floors)
    verdicts = tuple(
        answer(
            Question(
                target=target, pair=pair, metric=metric, phase=phase, margin=rule.margin,
                floor=held.get(target.name),
            )
        )
        for target in run.targets
        for pair in _pairs_of(run, target, pairs)
        for metric, phase in _asked(rule.metrics, rule.phases)
    )  # fmt: skip
    return gate_of_verdicts(run.run_id, rule, verdicts, floors=floors, notes=notes)


def gate_of_verdicts(
    run_id: str,
    rule: Rule,
    verdicts: tuple[Verdict, ...],
    *,
    floors: FloorsByTarget,
    notes: tuple[str, ...],
) -> Gate:
    """Return what verdicts amount to together."""
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
    """Return the fraction that ``3%`` or ``0.03`` means.

    Raises:
        GateProblem: it is neither, or not between 0 and 100 %.
    """
    number = text.strip().removesuffix("%")
    try:
        margin = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        raise GateProblem(f"{text!r} is not a margin — write 3% or 0.03") from None
    _check_margin(margin, text)
    return margin


def exit_code(statuses: Iterable[str], inconclusive: str = "warn") -> int:
    """Return the exit code that counts when several verdicts hold."""
    codes = {**EXIT_CODES, "INCONCLUSIVE": POLICIES[inconclusive]}
    present = {codes[status] for status in statuses} | {0}
    return next(code for code in PRECEDENCE if code in present)


def _check(run: Run, rule: Rule) -> None:
    planned = [phase for phase in PHASES if phase in run.header.plan.phases]
    _check_names("metric", rule.metrics, list(METRICS))
    if set(rule.metrics) != {"memory"}:
        _check_names("phase", rule.phases, planned)
    _check_names("policy", (rule.inconclusive,), list(POLICIES))
    _check_margin(rule.margin, f"{rule.margin:g}")


def _check_margin(margin: float, text: str) -> None:
    if not 0 < margin < 1:
        raise GateProblem(f"a margin lies between 0 and 100 %, not at {text} — write 3% or 0.03")


def _check_names(what: str, names: Sequence[str], there: Sequence[str]) -> None:
    unknown = [name for name in names if name not in there]
    if unknown or not names:
        named = repr(unknown[0]) if unknown else "nothing"
        raise GateProblem(f"this run has no {what} {named} — choose from {', '.join(there)}")


def _all_cases(run: Run) -> tuple[Case, ...]:
    return tuple(dict.fromkeys(case for t in run.targets for case in cases_of(run, t)))


def _pairs_of(run: Run, target: TargetRun, pairs: Sequence[CasePair]) -> list[CasePair]:
    """Return the pairs that concern a target; one case of a pair is enough to miss the other."""
    there = set(cases_of(run, target))
    return [pair for pair in pairs if pair.base in there or pair.new in there]


def _asked(metrics: Sequence[str], phases: Sequence[str]) -> Iterator[tuple[str, str]]:
    for metric in dict.fromkeys(metrics):
        for phase in ("",) if metric == "memory" else dict.fromkeys(phases):
            yield metric, phase


def _still_valid(run: Run, floors: FloorsByTarget) -> tuple[dict[str, NoiseFloor], tuple[str, ...]]:
    """Return the calibrations that still hold, and a note on each that is missing or stale."""
    held: dict[str, NoiseFloor] = {}
    notes = []
    for target in run.targets:
        floor, mend = floors.get(target.name), f"gfbench calibrate -t {target.name}"
        if floor is None:
            notes.append(f"{target.name} has no noise floor, the margin is taken as given: {mend}")
            continue
        changes = staleness(floor, conditions=conditions_of(target))
        if changes:
            notes.append(f"{target.name}'s noise floor is stale ({'; '.join(changes)}): {mend}")
        else:
            held[target.name] = floor
    return held, tuple(notes)


def _changed(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Return what differs beyond chance, given how many differences were looked at."""
    tested = [verdict for verdict in verdicts if verdict.p_value is not None]
    found = discoveries([verdict.p_value for verdict in tested if verdict.p_value is not None])
    return tuple(verdict for verdict, real in zip(tested, found, strict=True) if real)


def _summary(verdicts: Sequence[Verdict]) -> dict[tuple[str, str, str], Effect]:
    groups: dict[tuple[str, str, str], list[Sequence[float]]] = {}
    for verdict in verdicts:
        if verdict.log_ratios:
            key = (verdict.target, verdict.metric, verdict.phase)
            groups.setdefault(key, []).append(verdict.log_ratios)
    return {key: geometric_mean_over(workloads) for key, workloads in groups.items()}


def _fleet(summary: Mapping[tuple[str, str, str], Effect]) -> dict[tuple[str, str], Pooled]:
    groups: dict[tuple[str, str], list[Effect]] = {}
    for (_, metric, phase), effect in summary.items():
        if effect.ci_low is not None:
            groups.setdefault((metric, phase), []).append(effect)
    return {key: random_effects(effects) for key, effects in groups.items() if len(effects) > 1}
