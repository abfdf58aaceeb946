"""Measure until a gate is decided: more rounds at the looks, repeats, a batch that confirms a FAIL.

After each stretch of rounds the gate judges the run's folder and says what each verdict still
lacks; that much is appended to the targets' jobs and measured in the same folder. Nothing is
remembered but what the folder holds, so that a resumed run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.fleet.outcome import Outcome
from harness.plan.extension import More, extend_job
from harness.plan.plan import all_cases
from harness.plan.suites import Suite
from reports.gate.evidence import evidence
from reports.gate.recorded import judge_run
from reports.gate.verdict import Gate, Verdict
from reports.metrics.selectors import CasePair, select_pairs
from reports.metrics.table import judged_by
from reports.results.read import load_run
from reports.results.records import Rule, Run, TargetRun
from reports.stats.sequential import LOOKS, VERIFICATION_ROUNDS
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE

REPEATS = 8  # rounds that throttling or a failure may cost, of the looks and of the verification
EVERY_ROUND = 1_000_000
OPEN = ("INCONCLUSIVE", "INVALID")

Measure = Callable[[Sequence[str]], Sequence[Outcome]]
Cool = Callable[[Sequence[str]], None]
Lacking = list[tuple[Verdict, int]]  # rounds


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The last judgement, and how each target's last session ended."""

    gate: Gate
    outcomes: tuple[Outcome, ...]


def suite_for(rule: Rule, suite: Suite) -> Suite:
    """Return the suite with what the rule compares, in the rounds of the first look.

    Memory is measured in every round if it is judged; fidelity, which has nothing to do with the
    question, once.

    Raises:
        SelectorError: the selectors choose nothing, or too much.
    """
    pairs = select_pairs(all_cases(suite), rule.base, rule.new)
    cases = [case for pair in pairs for case in (pair.base, pair.new)]
    filtered = _named(suite.kernels, [case for case in cases if case.method != BASELINE])
    exact = _named(suite.exact_kernels, [case for case in cases if case.method == BASELINE])
    methods = {case.method for case in cases}
    judges_memory = any(judged_by(metric).block_kind == "memory" for metric in rule.metrics)
    return replace(
        suite,
        methods=tuple(method for method in suite.methods if method in methods),
        kernels=filtered or suite.kernels,
        exact_kernels=exact or suite.exact_kernels,
        rounds=LOOKS[0],
        memory_rounds=EVERY_ROUND if judges_memory else min(1, suite.memory_rounds),
        fidelity_rounds=min(1, suite.fidelity_rounds),
    )


def until_decided(
    rule: Rule,
    folder: Path,
    suite: Suite,
    seed: int,
    outcomes: Sequence[Outcome],
    measure: Measure,
    cool: Cool,
) -> Decided:
    """Judge, and measure what is missing, until every verdict is decided or nothing may be added.

    Args:
        rule: what is to be decided.
        folder: the run's.
        suite: the run's, as its first rounds were planned.
        seed: the run's.
        outcomes: how the targets' sessions ended so far.
        measure: measures these targets' extended jobs.
        cool: lets these targets cool down, which have just throttled.

    Raises:
        reports.results.read.ResultError: the folder cannot be read.
        reports.results.write.StorageError: a job cannot be written.
    """
    latest = {outcome.target: outcome for outcome in outcomes}
    while True:
        run = load_run(folder)
        gate = judge_run(run, rule)
        longer = []  # targets whose jobs have been extended
        for name, more in wanted_rounds(run, gate).items():
            if _has_ended_well(latest.get(name)):
                added = extend_job(folder / "targets" / name, suite, seed, more)
                if added:
                    longer.append(name)
        if not longer:
            return Decided(gate=gate, outcomes=tuple(latest.values()))
        hot = [name for name in longer if _throttles(run.target(name))]
        if hot:
            cool(hot)
        latest |= {outcome.target: outcome for outcome in measure(longer)}


def wanted_rounds(run: Run, gate: Gate) -> dict[str, tuple[More, ...]]:
    """Return what each target has to measure before the gate can say more; nothing where decided.

    The cases of all open verdicts take part in the same rounds. What throttled or failed is
    repeated as a new round, a bounded number of times.
    """
    wanted: dict[str, tuple[More, ...]] = {}
    for target in run.targets:
        verdicts = [verdict for verdict in gate.verdicts if verdict.target == target.name]
        alarms = [verdict for verdict in verdicts if verdict.verify]
        open_ = [v for v in verdicts if v.status in OPEN and not v.verify]
        looks = (_next_look(target, open_), _verification(target, alarms))
        more = tuple(rounds for rounds in looks if rounds)
        if more:
            wanted[target.name] = more
    return wanted


def _has_ended_well(outcome: Outcome | None) -> bool:
    """Return whether a session measured all it had to, even if blocks failed."""
    return outcome is not None and outcome.status in ("ok", "failed") and outcome.exit_code < 2


def _throttles(target: TargetRun) -> bool:
    """Return whether the last round has a block that throttled."""
    last = max((block.round for block in target.all_blocks), default=0)
    return any(b.status == "throttled" and b.round == last for b in target.all_blocks)


def _next_look(target: TargetRun, verdicts: Sequence[Verdict]) -> More | None:
    """Return the rounds that bring every open verdict to its next look."""
    most = LOOKS[-1] + REPEATS
    lacking = [
        (verdict, min(verdict.more_rounds, most - _rounds(target, verdict))) for verdict in verdicts
    ]
    return _more(lacking, verification=False)


def _verification(target: TargetRun, verdicts: Sequence[Verdict]) -> More | None:
    """Return what an independent batch lacks for the alarms."""
    batch = target.verification_run
    lacking: Lacking = []
    for verdict in verdicts:
        pair = CasePair(base=verdict.base, new=verdict.new)
        good = len(evidence(batch, pair, verdict.metric, verdict.phase).log_ratios)
        allowed = VERIFICATION_ROUNDS + REPEATS - _rounds(batch, verdict)
        lacking.append((verdict, min(VERIFICATION_ROUNDS - good, allowed)))
    return _more(lacking, verification=True)


def _more(lacking: Lacking, *, verification: bool) -> More | None:
    wanted = [(verdict, rounds) for verdict, rounds in lacking if rounds > 0]
    if not wanted:
        return None
    cases = dict.fromkeys(case for verdict, _ in wanted for case in (verdict.base, verdict.new))
    rounds = max(rounds for _, rounds in wanted)
    return More(cases=tuple(cases), rounds=rounds, verification=verification)


def _rounds(target: TargetRun, verdict: Verdict) -> int:
    """Return how many rounds the pair has had, good or not."""
    blocks = target.blocks_of(verdict.new, "timing")
    return len({block.round for block in blocks})


def _named(names: Sequence[str], cases: Sequence[Case]) -> tuple[str, ...]:
    kernels = {case.kernel for case in cases}
    return tuple(name for name in names if name in kernels)
