"""The plan of a comparison of revisions: each case by each of them, next to each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby

from harness.plan.plan import make_plan
from harness.plan.suites import load_suite
from reports.results.records import Probe, TorchFacts

SUITE = replace(
    load_suite("quick"),
    methods=("gradient_filter",),
    kernels=("torch", "native"),
    revisions=("aaaaaaa", "bbbbbbb"),
    checked_revisions=("bbbbbbb",),
    rounds=40,
)


def test_the_revisions_of_a_case_are_measured_next_to_each_other_in_random_order() -> None:
    plan = make_plan(SUITE, seed=3)
    timing = [block for block in plan.blocks if block.kind == "timing"]
    pairs = [timing[at : at + 2] for at in range(0, len(timing), 2)]
    assert len(pairs) == 40 * 3 * 2 * 2  # rounds, layers, patch sizes, kernels
    first: Counter[str] = Counter()
    for one, other in pairs:
        assert one.case._replace(revision="") == other.case._replace(revision="")
        assert {one.case.revision, other.case.revision} == {"aaaaaaa", "bbbbbbb"}
        assert (one.round, one.seed) == (other.round, other.seed)  # the same data for both
        first[one.case.revision] += 1
    assert 0.4 < first["aaaaaaa"] / len(pairs) < 0.6


def test_pairs_of_a_workload_change_places_too() -> None:
    plan = make_plan(SUITE, seed=3)
    timing = [block for block in plan.blocks if block.kind == "timing"]
    firsts = {
        next(group).case._replace(revision="")
        for _, group in groupby(timing, lambda block: (block.round, block.case.layer))
    }
    assert len(firsts) == 12


def test_only_a_revision_that_knows_the_check_is_checked() -> None:
    plan = make_plan(SUITE, seed=3)
    checked = [block.case for block in plan.blocks if block.kind == "check"]
    assert {case.revision for case in checked} == {"bbbbbbb"}
    assert len(checked) == 12


def test_a_kernel_that_a_revision_lacks_is_left_out_and_no_other_takes_its_place() -> None:
    reason = "at aaaaaaa: ValueError: kernel must be one of torch, not 'native'"
    probe = Probe(torch=TorchFacts(version="2"), kernels={"native": {"cpu": reason}})
    plan = make_plan(replace(SUITE, kernels=("native",)), seed=1, probe=probe)
    assert plan.cases == ()
    assert all("at aaaaaaa" in skipped.reason for skipped in plan.skipped)
    assert all("measured instead" not in note for note in plan.notes)
