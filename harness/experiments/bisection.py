"""Find the first bad commit by tests that may stay undecided. Pure: the caller brings the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.payloads.git import Commit
from reports.gate.verdict import Verdict

GOOD, BAD, SKIPPED, UNDECIDED = "good", "bad", "skipped", "undecided"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One commit tested against the good one.

    A ``skipped`` commit cannot be measured; an ``undecided`` one was measured, but may be good or
    bad. Both have a ``reason``.
    ``verdicts`` are the gate's, the gravest first; ``run`` is the result folder's path.
    """

    commit: Commit
    status: str
    verdicts: tuple[Verdict, ...] = ()
    reason: str = ""
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class Bisection:
    """How a bisection ended.

    ``end`` is the test of the bad commit itself. ``suspects`` are the commits of which one is the
    first bad one, oldest first: one if all was decided, none if the bad commit is not bad.
    """

    end: Step
    steps: tuple[Step, ...] = ()
    suspects: tuple[Commit, ...] = ()

    @property
    def first_bad(self) -> Step | None:
        """The test of the first bad commit; None where several are left, or none."""
        if len(self.suspects) != 1:
            return None
        return next(step for step in (*self.steps, self.end) if step.commit == self.suspects[0])


def bisect(commits: Sequence[Commit], test: Callable[[Commit], Step]) -> Bisection:
    """Find the first bad of some commits, oldest first, of which the last is said to be bad.

    That is tested first: if it is not bad there is nothing to find. Then at most ceil(log2(n))
    commits are tested, and one more for each that is skipped or undecided: another takes its
    turn, as in ``git bisect skip``.
    """
    end = test(commits[-1])
    if end.status != BAD:
        return Bisection(end=end)
    steps: list[Step] = []
    unresolved: set[int] = set()  # tested, but skipped or undecided
    good, bad = -1, len(commits) - 1
    while (index := _next_index(good, bad, unresolved)) is not None:
        step = test(commits[index])
        steps.append(step)
        if step.status == GOOD:
            good = index
        elif step.status == BAD:
            bad = index
        else:
            unresolved.add(index)
    return Bisection(end=end, steps=tuple(steps), suspects=tuple(commits[good + 1 : bad + 1]))


def step_of(commit: Commit, verdicts: Sequence[Verdict], run: str = "") -> Step:
    """Return what a gate's verdicts against the good commit make of a commit.

    One FAIL is enough for bad, on whichever target and case; good is a PASS of them all.
    """
    statuses = {verdict.status for verdict in verdicts}
    if "FAIL" in statuses:
        status = BAD
    elif statuses == {"PASS"}:
        status = GOOD
    else:
        status = UNDECIDED
    step = Step(commit=commit, status=status, verdicts=tuple(verdicts), run=run)
    return replace(step, reason=_reason(step))


def same_as(known: Step, commit: Commit) -> Step:
    """Return the step of a commit whose artefact was tested already, as another commit's."""
    same = f"the same artefact as {known.commit.label}"
    return replace(known, commit=commit, reason=f"{same}; {known.reason}".rstrip("; "))


def worst_first(step: Step) -> tuple[Verdict, ...]:
    """Return the verdicts that make a commit bad, the largest effect first."""
    failed = [verdict for verdict in step.verdicts if verdict.status == "FAIL" and verdict.effect]
    return tuple(sorted(failed, key=_ratio, reverse=True))


def _ratio(verdict: Verdict) -> float:
    return verdict.effect.ratio if verdict.effect else 0.0


def _reason(step: Step) -> str:
    """Say in few words why: the worst effect, or what kept a verdict from being one."""
    if not step.verdicts:
        return "nothing was compared"
    undecided = [verdict for verdict in step.verdicts if verdict.status not in ("PASS", "FAIL")]
    shown = (worst_first(step) or undecided or step.verdicts)[0]
    what = " ".join(part for part in (shown.metric, shown.phase) if part)
    reason = f"{what} {shown.reason or shown.status}"
    return f"{shown.status}: {reason}" if shown in undecided else reason


def most_steps(commits: int) -> int:
    """Return how many commits are tested at most if each test decides: ceil(log2(n))."""
    return (commits - 1).bit_length()


def _next_index(good: int, bad: int, unresolved: set[int]) -> int | None:
    """Return the middle index of those that are left to test; None where all are tested."""
    left = [index for index in range(good + 1, bad) if index not in unresolved]
    return left[(len(left) - 1) // 2] if left else None
