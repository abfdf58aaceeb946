"""Bisection by tests that may not decide: how many, and what is said in the end."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from harness.experiments.bisection import (
    BAD,
    GOOD,
    SKIPPED,
    UNDECIDED,
    Bisection,
    Step,
    bisect,
    most_steps,
)
from harness.payloads.git import Commit


def commits(count: int) -> tuple[Commit, ...]:
    return tuple(
        Commit(asked=str(n), sha=str(n), label=str(n), subject=f"Commit {n}") for n in range(count)
    )


def find(count: int, first_bad: int, other: Mapping[int, str] | None = None) -> Bisection:
    """Bisect commits of which those from ``first_bad`` on are bad; ``other`` do not decide."""

    def test(commit: Commit) -> Step:
        place = int(commit.sha)
        known = BAD if place >= first_bad else GOOD
        return Step(commit=commit, status=(other or {}).get(place, known))

    return bisect(commits(count), test)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 20])
def test_every_planted_commit_is_found_in_as_few_steps_as_can_be(count: int) -> None:
    for planted in range(count):
        found = find(count, planted)
        assert found.first_bad is not None
        assert found.first_bad.commit.subject == f"Commit {planted}"
        assert found.first_bad.status == BAD
        assert len(found.steps) <= most_steps(count) == math.ceil(math.log2(count))


def test_no_commit_is_tested_twice() -> None:
    tested = [step.commit.sha for step in find(20, 13, {9: SKIPPED, 10: UNDECIDED}).steps]
    assert len(tested) == len(set(tested))
    assert "19" not in tested  # the end was tested before


def test_a_bad_commit_that_is_not_bad_is_told_after_one_test() -> None:
    found = find(8, 8)
    assert found.end.status == GOOD
    assert found.steps == ()
    assert found.suspects == ()
    assert found.first_bad is None


@pytest.mark.parametrize("status", [SKIPPED, UNDECIDED])
def test_a_commit_that_does_not_decide_costs_one_more_step(status: str) -> None:
    for planted in range(8):
        for place in range(7):
            found = find(8, planted, {place: status})
            steps = [step for step in found.steps if step.status != status]
            assert len(found.steps) <= most_steps(8) + 1
            assert commits(8)[planted] in found.suspects
            if place not in (planted, planted - 1):
                assert found.first_bad is not None
            assert all(step.status in (GOOD, BAD) for step in steps)


def test_neighbours_that_cannot_be_tested_are_suspects_together() -> None:
    found = find(8, 4, {3: SKIPPED, 4: UNDECIDED})
    assert [commit.sha for commit in found.suspects] == ["3", "4", "5"]
    assert found.first_bad is None


def test_with_nothing_in_between_that_runs_all_are_suspects() -> None:
    found = find(5, 0, dict.fromkeys(range(4), SKIPPED))
    assert [commit.sha for commit in found.suspects] == ["0", "1", "2", "3", "4"]
    assert len(found.steps) == 4
