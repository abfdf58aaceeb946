"""One question of a gate, one verdict: is new worse than base in this metric and phase? Pure.

On a finished run the answer is that of the largest look within its rounds; nothing is measured.
A FAIL asks for an independent batch whose estimate lies beyond the margin too. A run that was
measured until decided has one (rounds flagged as verification). In any other, rounds beyond the
last look serve, if there are eight; else the FAIL stands on the look's interval alone, and says
that it was not verified.
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
from reports.gate.evidence import THROTTLED, Evidence, blocks_by_round, evidence, used_blocks
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

BROKEN = ("failed", "timeout", "out_of_memory", "interrupted", "absent")
IMPOSSIBLE = "invalid"  # a block: faster than the machine can be
MOST_THROTTLED = 0.5  # of the rounds; a board that throttles more is not fit to judge on
REPEAT = "cool the board or lock its clocks, then repeat; gfbench doctor shows what holds it back"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of one target; ``floor`` is its calibration if that still holds."""

    target: TargetRun
    pair: CasePair
    metric: str
    phase: str
    margin: float
    floor: NoiseFloor | None = None

    @property
    def judged(self) -> Metric:
        """What is judged by that name."""
        return judged_by(self.metric)

    @cached_property
    def evidence(self) -> Evidence:
        """What the counted rounds say."""
        return evidence(self.target, self.pair, self.metric, self.phase)

    @cached_property
    def effective_margin(self) -> Margin:
        """The largest of the user's margin, the board's floor, and the energy's uncertainty."""
        candidates = [Margin(fraction=self.margin)]
        floor = self.floor.of(self.metric, self.phase) if self.floor else None
        if floor is not None:
            candidates.append(Margin(fraction=floor.margin, source="noise floor"))
        uncertainty = self.evidence.uncertainty
        candidates.append(Margin(fraction=uncertainty, source="energy uncertainty"))
        return max(candidates, key=lambda one: one.fraction)

    @cached_property
    def round_s(self) -> float | None:
        """How long one more round of both cases takes, from the blocks' own durations."""
        sums = []
        for case in (self.pair.base, self.pair.new):
            blocks = blocks_by_round(self.target, case, self.judged.block_kind).values()
            lengths_s = [end - begin for begin, end in (b.window_s for b in blocks if b.window_s)]
            if not lengths_s:
                return None
            sums.append(float(np.median(lengths_s)))
        return sum(sums)

    def verdict(self, status: str, reason: str, **more: object) -> Verdict:
        """Return a verdict on this question."""
        blank = Verdict(
            target=self.target.name,
            base=self.pair.base,
            new=self.pair.new,
            metric=self.metric,
            phase=self.phase,
            status=status,
            margin=self.effective_margin,
            reason=reason,
        )
        return replace(blank, **more)  # type: ignore[arg-type]


def answer(question: Question) -> Verdict:
    """Return the verdict on one question."""
    found = question.evidence
    look = _look(question, len(found.log_ratios))
    if look is None or found.refusal:
        return _unanswerable(question)
    rounds = list(found.log_ratios)[:look]
    share = len(found.lost_to(THROTTLED)) / (len(found.log_ratios) + len(found.lost))
    if share > MOST_THROTTLED:
        return _throttled(question)
    changes = _changes(question, rounds)
    if changes:
        reason = f"the environment changed between blocks: {'; '.join(changes)}"
        remedy = "measure again with nothing changing; gfbench doctor says how to hold it"
        return question.verdict("INVALID", reason, remedy=remedy, cause="environment")
    logs = tuple(found.log_ratios[round_] for round_ in rounds)
    return _decided(question, rounds, logs)


def _look(question: Question, rounds: int) -> int | None:
    """Return how many rounds are judged; a few are enough for what hardly scatters."""
    look = look_within(rounds)
    if look is None and question.judged.steady and rounds >= MIN_MEMORY_ROUNDS:
        return rounds
    return look


def _decided(question: Question, rounds: Sequence[int], logs: tuple[float, ...]) -> Verdict:
    """Return the verdict of the look, with all that goes with it."""
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
        return _alarm(question, verdict, rounds, sentinel)
    if decision.status == "INCONCLUSIVE":
        return _open(question, verdict, rounds, sentinel)
    return verdict


def _alarm(
    question: Question, verdict: Verdict, rounds: Sequence[int], sentinel: Sentinel | None
) -> Verdict:
    """Return a FAIL that was verified or could not be, or what it turned into."""
    margin = question.effective_margin
    batch = _verification(question, len(rounds))
    cause = _cause(question, rounds, sentinel)
    if not batch:
        lost = question.evidence.lost_to(THROTTLED)
        if lost:
            reason = f"{verdict.reason}, but the board throttled in {words.lost_words(lost)}"
            return replace(
                verdict, status="INVALID", reason=reason, remedy=REPEAT, cause="environment",
                verify=True,
            )  # fmt: skip
        flag = "not verified by an independent batch: gfbench run --until-decided measures one"
        return replace(
            verdict, cause=cause, verify=True, flags=(*verdict.flags, flag),
            remedy=_alarm_remedy(cause),
        )  # fmt: skip
    effect = ratio_effect(batch, LOOK_LEVEL)
    again = words.effect_words(effect, question.metric)
    if verified(batch, margin.fraction):
        reason = f"{verdict.reason}; verified: {again}"
        return replace(
            verdict, verification=effect, cause=cause, reason=reason, remedy=_alarm_remedy(cause)
        )
    return replace(
        verdict,
        status="INCONCLUSIVE",
        verification=effect,
        cause="noise",
        reason=f"{verdict.reason}, but an independent batch did not confirm it: {again}",
        remedy="measure again when the machine is quiet; gfbench calibrate tells its noise floor",
        more_rounds=_more(question),
    )


def _alarm_remedy(cause: str) -> str:
    if cause == "code":
        return "gfbench bisect finds the commit; gfbench report shows the rounds"
    return "the machine changed, not only the code: hold it still and measure again"


def _open(
    question: Question, verdict: Verdict, rounds: Sequence[int], sentinel: Sentinel | None
) -> Verdict:
    """Return an INCONCLUSIVE with what would decide it."""
    assert verdict.effect is not None
    margin, have = question.effective_margin, len(question.evidence.log_ratios)
    if verdict.rounds < LOOKS[0]:
        remedy = f"{verdict.rounds} rounds of memory differ: raise memory_rounds in the suite to 8"
    else:
        remedy = words.what_would_decide(
            verdict.log_ratios, have, verdict.effect, margin, question.round_s
        )
    alarming = verdict.effect.ratio > 1 + margin.fraction
    cause = _cause(question, rounds, sentinel) if alarming else ""
    return replace(verdict, remedy=remedy, more_rounds=_more(question), cause=cause)


def _more(question: Question) -> int:
    """Return how many more pairs the next look takes; 0 after the last."""
    have = len(question.evidence.log_ratios)
    return (look_after(have) or have) - have


def _verification(question: Question, used: int) -> tuple[float, ...]:
    """Return the independent batch: flagged rounds, else those beyond the last look."""
    flagged = evidence(
        question.target.verification_run, question.pair, question.metric, question.phase
    ).log_ratios
    if len(flagged) >= min(MIN_VERIFICATION_PAIRS, used):
        return tuple(flagged.values())
    spare = tuple(question.evidence.log_ratios.values())[used:]
    return spare if len(spare) >= VERIFICATION_ROUNDS else ()


def _unanswerable(question: Question) -> Verdict:
    """Say why there is nothing to judge: INFRA where blocks are missing, else INVALID."""
    found, session = question.evidence, question.target.session
    skipped = [skip for skip in session.skipped if skip.case in _cases(question)]
    if skipped:
        reason = f"{skipped[0].case.key} was left out: {skipped[0].reason}"
        return question.verdict("INVALID", reason, remedy="see gfbench list kernels -t TARGET")
    if found.refusal:
        return question.verdict("INVALID", found.refusal, remedy=found.remedy)
    broken = found.lost_to(*BROKEN)
    if session.status != "ok" and not broken and not found.lost_to(THROTTLED):
        reason = session.reason or f"the session is {session.status}"
        remedy = session.remedy or "gfbench resume RUN continues it"
        return question.verdict("INFRA", reason, remedy=remedy, cause="board")
    impossible = found.lost_to(IMPOSSIBLE)
    if impossible and question.judged.sensor is None:
        remedy = "look at what the kernel does instead of the work"
        return question.verdict("INVALID", impossible[0].reason, remedy=remedy, cause="code")
    if broken:
        return _broken(question)
    if found.lost_to(THROTTLED):
        return _throttled(question)
    return _too_few(question)


def _broken(question: Question) -> Verdict:
    broken = question.evidence.lost_to(*BROKEN)
    ours = all(one.case == question.pair.new and one.status != "absent" for one in broken)
    return question.verdict(
        "INFRA",
        f"too few rounds are whole ({len(question.evidence.log_ratios)}); lost "
        f"{words.lost_words(broken)}",
        remedy="gfbench resume RUN repeats them; the report has each block's log",
        cause="code" if ours else "environment",
        more_rounds=_more(question),
    )


def _throttled(question: Question) -> Verdict:
    lost = question.evidence.lost_to(THROTTLED)
    return question.verdict(
        "INVALID",
        f"the board throttled in {words.lost_words(lost)}",
        remedy=REPEAT,
        cause="environment",
        more_rounds=_more(question),
    )


def _too_few(question: Question) -> Verdict:
    """Say how many rounds a verdict takes, or why the energy windows do not count."""
    found = question.evidence
    have = len(found.log_ratios)
    if question.judged.steady:
        reason = f"{have} rounds of memory; it takes {MIN_MEMORY_ROUNDS}"
        return question.verdict("INVALID", reason, remedy="raise memory_rounds in the suite")
    more = LOOKS[0] - have
    windows = tuple(found.lost.values())
    if windows:
        reason = f"too few samples: of {words.lost_words(windows)}"
    else:
        reason = f"{have} round{'s' * (have != 1)}; the first look is after {LOOKS[0]}"
    return question.verdict(
        "INVALID",
        reason,
        remedy=f"{words.more_rounds(more, question.round_s)}: --rounds {LOOKS[0]} or more",
        more_rounds=more,
    )


def _cases(question: Question) -> tuple[Case, Case]:
    return question.pair.base, question.pair.new


def _changes(question: Question, rounds: Sequence[int]) -> tuple[str, ...]:
    """Return what the environment did between the blocks; steady figures do not depend on it."""
    if question.judged.steady:
        return ()
    return environment_changes(used_blocks(question.target, question.pair, "timing", rounds))


def _sentinel(question: Question) -> Sentinel | None:
    if question.judged.steady:  # which does not depend on how fast the machine is
        return None
    spread = question.floor.sentinel_spread if question.floor else None
    return sentinel_of(question.target, spread)


def _cause(question: Question, rounds: Sequence[int], sentinel: Sentinel | None) -> str:
    """Return what an alarm is put down to; see ``reports.gate.causes``."""
    if question.judged.steady:
        return "code"
    logs = {round_: question.evidence.log_ratios[round_] for round_ in rounds}
    base, new = (_kept(question, case, logs) for case in _cases(question))
    if unequal_conditions(base, new):
        return "environment"
    limit = math.log1p(question.effective_margin.fraction)
    if sentinel and sentinel.beyond_floor and not holds_while_steady(logs, sentinel, limit):
        return "board"
    floor = question.floor.of(question.metric, question.phase) if question.floor else None
    effect = ratio_effect(list(logs.values()), LOOK_LEVEL)
    within_floor = floor is not None and abs(math.log(effect.ratio)) <= floor.effect_q95
    no_effect_fits = effect.ci_low is not None and effect.ci_low <= 1
    return "noise" if within_floor or no_effect_fits else "code"


def _kept(question: Question, case: Case, rounds: Mapping[int, float]) -> dict[int, BlockRecord]:
    blocks = blocks_by_round(question.target, case, question.judged.block_kind)
    return {round_: block for round_, block in blocks.items() if round_ in rounds}


def _disagreements(decision: Decision, logs: Sequence[float], margin: float) -> tuple[str, ...]:
    """Flag a method that puts a decided effect on the margin's other side."""
    if decision.status == "INCONCLUSIVE" or decision.effect.ci_low is None:
        return ()
    limit = math.log1p(margin)
    if min(logs) > limit or max(logs) < limit:  # every estimate and interval is there too
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
    found = question.evidence
    flags = [f"lost {words.lost_words(tuple(found.lost.values()))}"] if found.lost else []
    spare = len(found.log_ratios) - used
    if 0 < spare < VERIFICATION_ROUNDS:
        flags.append(f"{spare} of {used + spare} rounds lie beyond the look and are not used")
    return tuple(flags)


def _sentinel_flags(sentinel: Sentinel | None) -> tuple[str, ...]:
    if sentinel is None or not sentinel.beyond_floor:
        return ()
    moved, floor = (f"{100 * math.expm1(x):.1f} %" for x in (sentinel.moved, sentinel.floor))
    return (f"the machine moved during the run: its sentinel by {moved}, floor {floor}",)
