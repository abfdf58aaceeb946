"""Finding the first bad commit by tests that may not decide. Pure: what a test is, others say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.repository import Commit
from reports.verdict import Verdict

GOOD, BAD, SKIPPED, UNDECIDED = "good", "bad", "skipped", "undecided"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One commit tested against the good one.

    ``skipped`` does not run, ``undecided`` was measured and could be either; both say ``reason``.
    ``verdicts`` are the gate's, the gravest first; ``run`` is the result folder's path.
    """

    commit: Commit
    status: str
    verdicts: tuple[Verdict, ...] = ()
    reason: str = ""
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
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


def bisect(commits: Sequence[Commit], test: Callable[[Commit], Step]) -> Found:
    """Find the first bad of some commits, oldest first, of which the last is said to be bad.

    That is tested first: if it is not bad there is nothing to find. Then at most ceil(log2(n))
    commits are tested, and one more for each that is skipped or undecided: another one takes its
    place, as in ``git bisect skip``.
    """
    end = test(commits[-1])
    if end.status != BAD:
        return Found(end=end)
    steps: list[Step] = []
    open_: set[int] = set()  # tested, and known no better
    good, bad = -1, len(commits) - 1
    while (place := _next(good, bad, open_)) is not None:
        step = test(commits[place])
        steps.append(step)
        if step.status == GOOD:
            good = place
        elif step.status == BAD:
            bad = place
        else:
            open_.add(place)
    return Found(end=end, steps=tuple(steps), suspects=tuple(commits[good + 1 : bad + 1]))


def most_steps(commits: int) -> int:
    """Return how many commits are tested at most if each test decides: ceil(log2(n))."""
    return (commits - 1).bit_length()


def _next(good: int, bad: int, open_: set[int]) -> int | None:
    """Return the untested place nearest to the middle; None where none is left."""
    middle = (good + bad) // 2
    left = [place for place in range(good + 1, bad) if place not in open_]
    return min(left, key=lambda place: (abs(place - middle), place), default=None)
