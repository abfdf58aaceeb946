"""One question of a gate and its verdict: is new worse than base in a metric and phase? Pure.

Nothing is measured here: the last look that the run's rounds reach decides. A FAIL is verified by
an independent batch of rounds, whose estimate must exceed the margin too. In a run that was
measured until decided, this batch is flagged as verification; in other runs, the rounds after the
last look serve if there are at least eight. Without such a batch the FAIL rests on the look's
interval alone, and a flag says that it was not verified.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from reports.calibration.noise_floor import NoiseFloor
from reports.gate import words
from reports.gate.causes import (
    Sentinel,
    environment_changes,
    holds_while_steady,
    sentinel_of,
    unequal_conditions,
)
from reports.gate.evidence import THROTTLED, Evidence, Lost, blocks_by_round, used_blocks
from reports.gate.evidence import evidence as evidence_of
from reports.gate.verdict import Margin, Verdict
from reports.metrics.metric import Metric
from reports.metrics.selectors import CasePair
from reports.metrics.table import judged_by
from reports.results.records import BlockRecord, TargetRun
from reports.stats.checks import cross_checks, outliers, t_test_p
from reports.stats.intervals import ratio_effect
from reports.stats.sequential import (
    LOOK_LEVEL,
    LOOKS,
    MIN_MEMORY_ROUNDS,
    MIN_VERIFICATION_PAIRS,
    VERIFICATION_ROUNDS,
    Decision,
    decide,
    decide_by_every_round,
    look_after,
    look_within,
    side,
    verified,
)
from workloads.spec.messages import Case

BROKEN = ("failed", "timeout", "out_of_memory", "interrupted", "absent")  # of a block
IMPOSSIBLE = "invalid"  # status of a block that was faster than the machine can be
MAX_THROTTLED = 0.5  # share of the rounds; with more, the board cannot be judged
THROTTLING_REMEDY = (
    "cool the board or lock its clocks, then repeat; gfbench doctor shows what limits them"
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about one target; ``margin`` is a fraction, ``floor`` a valid calibration."""

    target: TargetRun
    pair: CasePair
    metric: str
    phase: str
    margin: float
    floor: NoiseFloor | None = None

    @property
    def judged(self) -> Metric:
        """The metric that the gate calls by this name."""
        return judged_by(self.metric)

    @cached_property
    def evidence(self) -> Evidence:
        """The log ratios of the rounds that count, and the rounds that were lost."""
        return evidence_of(self.target, self.pair, self.metric, self.phase)

    @cached_property
    def effective_margin(self) -> Margin:
        """The largest of the user's margin, the board's floor, and the energy's uncertainty."""
        candidates = [Margin(fraction=self.margin)]
        floor = self.floor.of(self.metric, self.phase) if self.floor else None
        if floor is not None:
            candidates.append(Margin(fraction=floor.margin, source="noise floor"))
        uncertainty = self.evidence.uncertainty
        candidates.append(Margin(fraction=uncertainty, source="energy uncertainty"))
        return max(candidates, key=lambda margin: margin.fraction)

    @cached_property
    def round_s(self) -> float | None:
        """How long one more round of both cases takes: the sum of their median block durations."""
        round_s = 0.0
        for case in (self.pair.base, self.pair.new):
            blocks = blocks_by_round(self.target, case, self.judged.block_kind).values()
            windows = [block.window_s for block in blocks if block.window_s]
            if not windows:
                return None
            round_s += float(np.median([end - begin for begin, end in windows]))
        return round_s

    def verdict(self, status: str, reason: str, **fields: object) -> Verdict:
        """Return a verdict on this question with these further fields."""
        verdict = Verdict(
            target=self.target.name,
            base=self.pair.base,
            new=self.pair.new,
            metric=self.metric,
            phase=self.phase,
            status=status,
            margin=self.effective_margin,
            reason=reason,
        )
        return replace(verdict, **fields)  # type: ignore[arg-type]


def answer(question: Question) -> Verdict:
    """Return the verdict on one question."""
    evidence = question.evidence
    look = _look(question, len(evidence.log_ratios))
    if look is None or evidence.refusal:
        return _unanswerable(question)
    rounds = list(evidence.log_ratios)[:look]
    throttled = len(evidence.lost_to(THROTTLED))
    if throttled > MAX_THROTTLED * (len(evidence.log_ratios) + len(evidence.lost)):
        return _throttled(question)
    changes = _changes(question, rounds)
    if changes:
        reason = f"the environment changed between blocks: {'; '.join(changes)}"
        remedy = "keep the machine in one state and measure again; gfbench doctor says how"
        return question.verdict("INVALID", reason, remedy=remedy, cause="environment")
    logs = tuple(evidence.log_ratios[round_] for round_ in rounds)
    return _decided(question, rounds, logs)


def _look(question: Question, rounds: int) -> int | None:
    """Return how many rounds are judged, None if too few; steady metrics need only a few."""
    look = look_within(rounds)
    if look is None and question.judged.steady and rounds >= MIN_MEMORY_ROUNDS:
        return rounds
    return look


def _decided(question: Question, rounds: Sequence[int], logs: tuple[float, ...]) -> Verdict:
    """Return the verdict of the look, with its cause, flags and remedy."""
    margin = question.effective_margin
    if len(logs) < LOOKS[0]:
        decision = decide_by_every_round(logs, margin.fraction)
    else:
        decision = decide(logs, margin.fraction)
    sentinel = _sentinel(question)
    verdict = question.verdict(
        decision.status,
        words.decided(decision.status, decision.effect, question.metric, margin),
        effect=decision.effect,
        rounds=len(logs),
        log_ratios=logs,
        p_value=t_test_p(logs),
        outliers=len(outliers(logs)),
        flags=(
            *_disagreements(decision, logs, margin.fraction),
            *_lost_flags(question, len(logs)),
            *(_sentinel_flags(sentinel) if decision.status != "PASS" else ()),
        ),
    )
    if decision.status == "FAIL":
        return _failed(question, verdict, rounds, sentinel)
    if decision.status == "INCONCLUSIVE":
        return _undecided(question, verdict, rounds, sentinel)
    return verdict


def _failed(
    question: Question, verdict: Verdict, rounds: Sequence[int], sentinel: Sentinel | None
) -> Verdict:
    """Return the FAIL with its verification, or the verdict that takes its place."""
    margin = question.effective_margin
    batch = _verification_batch(question, len(rounds))
    cause = _cause(question, rounds, sentinel)
    remedy = "the machine changed, not only the code: keep it in one state and measure again"
    if cause == "code":
        remedy = "gfbench bisect finds the commit; gfbench report shows the rounds"
    if not batch:
        lost = question.evidence.lost_to(THROTTLED)
        if lost:
            reason = f"{verdict.reason}, but the board throttled in {words.lost_words(lost)}"
            return replace(
                verdict,
                status="INVALID",
                reason=reason,
                remedy=THROTTLING_REMEDY,
                cause="environment",
                verify=True,
            )
        flag = "not verified by an independent batch: gfbench run --until-decided measures one"
        return replace(
            verdict, cause=cause, verify=True, flags=(*verdict.flags, flag), remedy=remedy
        )
    effect = ratio_effect(batch, LOOK_LEVEL)
    batch_effect = words.effect_words(effect, question.metric)
    if verified(batch, margin.fraction):
        reason = f"{verdict.reason}; verified: {batch_effect}"
        return replace(verdict, verification=effect, cause=cause, reason=reason, remedy=remedy)
    return replace(
        verdict,
        status="INCONCLUSIVE",
        verification=effect,
        cause="noise",
        reason=f"{verdict.reason}, but an independent batch did not confirm it: {batch_effect}",
        remedy="measure again when the machine is idle; gfbench calibrate measures its noise floor",
        more_rounds=_more_rounds(question),
    )


def _undecided(
    question: Question, verdict: Verdict, rounds: Sequence[int], sentinel: Sentinel | None
) -> Verdict:
    """Return the INCONCLUSIVE verdict with what would decide it."""
    assert verdict.effect is not None
    margin, have = question.effective_margin, len(question.evidence.log_ratios)
    if verdict.rounds < LOOKS[0]:
        remedy = (
            f"the {verdict.rounds} rounds of memory disagree: raise memory_rounds in the suite to 8"
        )
    else:
        remedy = words.what_would_decide(
            verdict.log_ratios, have, verdict.effect, margin, question.round_s
        )
    cause = ""
    if verdict.effect.ratio > 1 + margin.fraction:
        cause = _cause(question, rounds, sentinel)
    return replace(verdict, remedy=remedy, more_rounds=_more_rounds(question), cause=cause)


def _more_rounds(question: Question) -> int:
    """Return how many more pairs the next look needs; 0 after the last look."""
    have = len(question.evidence.log_ratios)
    return (look_after(have) or have) - have


def _verification_batch(question: Question, used: int) -> tuple[float, ...]:
    """Return the log ratios of the flagged rounds, or of those after the last look."""
    flagged = evidence_of(
        question.target.verification_run, question.pair, question.metric, question.phase
    ).log_ratios
    if len(flagged) >= min(MIN_VERIFICATION_PAIRS, used):
        return tuple(flagged.values())
    spare = tuple(question.evidence.log_ratios.values())[used:]
    return spare if len(spare) >= VERIFICATION_ROUNDS else ()


def _unanswerable(question: Question) -> Verdict:
    """Return the verdict on a question without enough pairs: INFRA if blocks are missing."""
    evidence, session = question.evidence, question.target.session
    skipped = [skip for skip in session.skipped if skip.case in _cases(question)]
    if skipped:
        reason = f"{skipped[0].case.key} was skipped: {skipped[0].reason}"
        remedy = "gfbench list kernels -t TARGET shows what runs there"
        return question.verdict("INVALID", reason, remedy=remedy)
    if evidence.refusal:
        return question.verdict("INVALID", evidence.refusal, remedy=evidence.remedy)
    broken = evidence.lost_to(*BROKEN)
    if session.status != "ok" and not broken and not evidence.lost_to(THROTTLED):
        reason = session.reason or f"the session's status is {session.status}"
        remedy = session.remedy or "gfbench resume RUN continues it"
        return question.verdict("INFRA", reason, remedy=remedy, cause="board")
    impossible = evidence.lost_to(IMPOSSIBLE)
    if impossible and question.judged.sensor is None:
        remedy = "check whether the kernel really does the work"
        return question.verdict("INVALID", impossible[0].reason, remedy=remedy, cause="code")
    if broken:
        return _broken(question, broken)
    if evidence.lost_to(THROTTLED):
        return _throttled(question)
    return _too_few(question)


def _broken(question: Question, broken: Sequence[Lost]) -> Verdict:
    by_new = all(loss.case == question.pair.new and loss.status != "absent" for loss in broken)
    complete = len(question.evidence.log_ratios)
    return question.verdict(
        "INFRA",
        f"too few complete rounds ({complete}); lost {words.lost_words(broken)}",
        remedy="gfbench resume RUN repeats them; the report has the log of each block",
        cause="code" if by_new else "environment",
        more_rounds=_more_rounds(question),
    )


def _throttled(question: Question) -> Verdict:
    lost = question.evidence.lost_to(THROTTLED)
    return question.verdict(
        "INVALID",
        f"the board throttled in {words.lost_words(lost)}",
        remedy=THROTTLING_REMEDY,
        cause="environment",
        more_rounds=_more_rounds(question),
    )


def _too_few(question: Question) -> Verdict:
    """Return the INVALID verdict that says how many rounds are needed, or why rounds were lost."""
    evidence = question.evidence
    have = len(evidence.log_ratios)
    rounds = f"{have} round{'s' * (have != 1)}"
    if question.judged.steady:
        reason = f"{rounds} of memory; a verdict needs {MIN_MEMORY_ROUNDS}"
        return question.verdict("INVALID", reason, remedy="raise memory_rounds in the suite")
    more = LOOKS[0] - have
    lost = tuple(evidence.lost.values())
    if lost:
        reason = f"too few rounds ({have}); lost {words.lost_words(lost)}"
    else:
        reason = f"only {rounds}; the first verdict needs {LOOKS[0]}"
    return question.verdict(
        "INVALID",
        reason,
        remedy=f"{words.more_rounds(more, question.round_s)}: --rounds {LOOKS[0]} or more",
        more_rounds=more,
    )


def _cases(question: Question) -> tuple[Case, Case]:
    return question.pair.base, question.pair.new


def _changes(question: Question, rounds: Sequence[int]) -> tuple[str, ...]:
    """Return what changed in the environment; steady metrics do not depend on it."""
    if question.judged.steady:
        return ()
    return environment_changes(used_blocks(question.target, question.pair, "timing", rounds))


def _sentinel(question: Question) -> Sentinel | None:
    if question.judged.steady:  # which does not depend on how fast the machine is
        return None
    spread = question.floor.sentinel_spread if question.floor else None
    return sentinel_of(question.target, spread)


def _cause(question: Question, rounds: Sequence[int], sentinel: Sentinel | None) -> str:
    """Return the cause of an effect beyond the margin: code, environment, board or noise."""
    if question.judged.steady:
        return "code"
    logs = {round_: question.evidence.log_ratios[round_] for round_ in rounds}
    base, new = (_judged_blocks(question, case, logs) for case in _cases(question))
    if unequal_conditions(base, new):
        return "environment"
    limit = math.log1p(question.effective_margin.fraction)
    if sentinel and sentinel.beyond_floor and not holds_while_steady(logs, sentinel, limit):
        return "board"
    floor = question.floor.of(question.metric, question.phase) if question.floor else None
    effect = ratio_effect(list(logs.values()), LOOK_LEVEL)
    within_floor = floor is not None and abs(math.log(effect.ratio)) <= floor.effect_q95
    may_be_zero = effect.ci_low is not None and effect.ci_low <= 1
    return "noise" if within_floor or may_be_zero else "code"


def _judged_blocks(
    question: Question, case: Case, rounds: Mapping[int, float]
) -> dict[int, BlockRecord]:
    blocks = blocks_by_round(question.target, case, question.judged.block_kind)
    return {round_: block for round_, block in blocks.items() if round_ in rounds}


def _disagreements(decision: Decision, logs: Sequence[float], margin: float) -> tuple[str, ...]:
    """Return flags for cross-checks that put the effect on the other side of the margin."""
    if decision.status == "INCONCLUSIVE" or decision.effect.ci_low is None:
        return ()
    limit = math.log1p(margin)
    if min(logs) > limit or max(logs) < limit:  # then every method agrees
        return ()
    opposite = {"PASS": "FAIL", "FAIL": "PASS"}[decision.status]
    flags = []
    for check in cross_checks(logs, LOOK_LEVEL):
        beyond = "FAIL" if check.estimate > limit else "PASS"
        if opposite in (beyond, side(check.low, check.high, limit)):
            estimate = words.percent(math.expm1(check.estimate))
            flags.append(f"{check.method} disagrees: its estimate is {estimate}")
    return tuple(flags)


def _lost_flags(question: Question, used: int) -> tuple[str, ...]:
    evidence = question.evidence
    flags = []
    if evidence.lost:
        flags.append(f"lost {words.lost_words(tuple(evidence.lost.values()))}")
    spare = len(evidence.log_ratios) - used
    if 0 < spare < VERIFICATION_ROUNDS:
        flags.append(f"{spare} of {used + spare} rounds come after the last look and are not used")
    return tuple(flags)


def _sentinel_flags(sentinel: Sentinel | None) -> tuple[str, ...]:
    if sentinel is None or not sentinel.beyond_floor:
        return ()
    moved, floor = math.expm1(sentinel.moved), math.expm1(sentinel.floor)
    return (
        "the machine's speed changed during the run: its sentinel moved by "
        f"{100 * moved:.1f} % (floor {100 * floor:.1f} %)",
    )
