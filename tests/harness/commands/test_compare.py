"""``gfbench compare`` and ``gfbench bisect``: real repositories and verdicts, planted figures."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_measurement import FakeMeasurement
from git_repositories import GitRepository, kernel
from make_run import FakeTarget, make_run

from harness import cli
from harness.experiments import revisions as comparing

SUITE = """
workloads:
  - {name: small, in_channels: 4, out_channels: 4, height: 8, width: 8}
  - {name: other, in_channels: 4, out_channels: 8, height: 8, width: 8}
patch_sizes: [2]
isolation: fork
"""
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMeasurement:
    made = FakeMeasurement()
    monkeypatch.setattr(comparing, "measure", made)
    return made


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run the command line in the repository; returns exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gfbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return run


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitRepository:
    """A repository of eight commits after the first, of which the sixth slows the kernel."""
    made = GitRepository(tmp_path / "kernels")
    made.commit("Start", {"mine.py": kernel(), "tiny.yaml": SUITE})
    for number in range(1, 9):
        cost = 1.4 if number >= 6 else 1.0
        made.commit(f"Commit {number}", {"mine.py": kernel(cost, version=str(number))})
    monkeypatch.chdir(made.root)
    return made


OF_KERNEL = ("-t", "local", "--kernel", "mine=mine.py", "--suite", "tiny.yaml", "-o", "../results")


def compare(call: Call, base: str, new: str, *more: str) -> tuple[int, str, str]:
    return call("compare", "--base", base, "--new", new, *OF_KERNEL, *more)


def bisect(call: Call, *more: str, good: str = "HEAD~8") -> tuple[int, str, str]:
    return call("bisect", "--good", good, "--bad", "HEAD", *OF_KERNEL, *more)


# compare --base REV --new REV --------------------------------------------------------------------


def test_a_slower_commit_fails_and_the_workloads_and_the_effect_are_named(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    code, out, err = compare(call, "HEAD~3", "HEAD~2")
    assert code == 1
    assert "4 FAIL" in out  # two workloads, backward and step
    assert "small" in out
    assert "other" in out
    assert out.count("+40") + out.count("+39") >= 4
    assert kernels.git("rev-parse", "--short=7", "HEAD~2") in out
    assert "Commit 6 (HEAD~2)" in err
    (suite,) = fake.suites
    assert suite.methods == ("gradient_filter",)  # exact is torch's own
    assert suite.checked_revisions == suite.revisions


def test_a_commit_that_changes_nothing_that_runs_passes(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    code, out, _ = compare(call, "HEAD~4", "HEAD~3")
    assert code == 0
    assert "4 PASS" in out


def test_identical_artefacts_are_not_measured(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    kernels.commit("Tell more", {"README.md": "more"})
    code, out, _ = compare(call, "HEAD~1", "HEAD")
    assert (code, fake.measured) == (0, [])
    assert "the artefacts are identical" in out
    code, out, _ = compare(call, "HEAD~1", "HEAD", "--json")
    assert code == 0
    assert json.loads(out)["identical"] is True
    assert json.loads(out)["gate"] is None


def test_a_comparison_as_json_has_both_payloads_and_every_verdict(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    code, out, _ = compare(call, "HEAD~3", "HEAD~2", "--json", "--metric", "latency")
    said = json.loads(out)
    assert code == 1
    assert said["base"]["payload"]["sha256"] != said["new"]["payload"]["sha256"]
    assert said["new"]["commit"] == kernels.git("rev-parse", "HEAD~2")
    verdicts = said["gate"]["verdicts"]
    assert {verdict["status"] for verdict in verdicts} == {"FAIL"}
    assert {verdict["new"]["revision"] for verdict in verdicts} == {said["new"]["label"]}
    assert all(math.isclose(one["effect"]["ratio"], 1.4, rel_tol=0.02) for one in verdicts)


@pytest.mark.parametrize(
    ("base", "new", "words"),
    [
        ("no-such", "HEAD", "has no revision 'no-such'"),
        ("HEAD~8", "HEAD~80", "has no revision 'HEAD~80'"),
    ],
)
def test_what_cannot_be_compared_is_wrong_usage(
    kernels: GitRepository, call: Call, fake: FakeMeasurement, base: str, new: str, words: str
) -> None:
    code, _, err = compare(call, base, new)
    assert code == 2
    assert words in err
    assert fake.measured == []


def test_uncommitted_changes_are_refused_with_the_remedy(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    (kernels.root / "mine.py").write_text(kernel(9))
    code, _, err = compare(call, "HEAD~1", "HEAD")
    assert code == 2
    assert "uncommitted changes are not measured" in err
    assert "git stash" in err
    assert compare(call, "HEAD~2", "HEAD~1")[0] == 0  # HEAD is not asked for


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--base", "HEAD"),
        ("one", "two", "three"),
        ("kernel=torch", "kernel=native"),
        ("run", "--run", "run", "--base", "kernel=torch", "--new", "kernel=native"),
    ],
)
def test_a_comparison_that_is_none_shows_what_there_is(
    kernels: GitRepository, call: Call, arguments: tuple[str, ...]
) -> None:
    code, _, err = call("compare", *arguments)
    assert code == 2
    assert "compare RUN RUN" in err or "no target is given" in err


@pytest.mark.parametrize(
    ("option", "value"), [("--metric", "speed"), ("--phase", "sideways"), ("--margin", "much")]
)
def test_terms_are_checked_before_anything_is_measured(
    kernels: GitRepository, call: Call, fake: FakeMeasurement, option: str, value: str
) -> None:
    code, _, err = compare(call, "HEAD~1", "HEAD", option, value)
    assert code == 2
    assert value in err
    assert fake.measured == []


# compare RUN, compare RUN RUN --------------------------------------------------------------------


def test_two_cases_of_a_run_are_judged_in_both_spellings(tmp_path: Path, call: Call) -> None:
    run = str(make_run(tmp_path, targets=(FakeTarget(noise=0.002, drift=0.0),), rounds=8))
    base, new = "method=exact", "method=gradient_filter,patch_size=2"
    code, out, _ = call("compare", run, "--base", base, "--new", new, "--phase", "backward")
    assert code == 0
    assert "3 PASS" in out
    assert call("compare", base, new, "--run", run, "--phase", "backward")[:2] == (code, out)
    code, out, _ = call("compare", new, base, "--run", run, "--phase", "backward")
    assert code == 1
    assert "3 FAIL" in out


def test_two_runs_are_shown_side_by_side_without_a_verdict(tmp_path: Path, call: Call) -> None:
    quick, slow = (FakeTarget(noise=0.002, drift=0.0, speed=speed) for speed in (1.0, 1.3))
    runs = [
        str(make_run(tmp_path, targets=(target,), rounds=8, run_id=name, seed=seed))
        for seed, (name, target) in enumerate((("first", quick), ("second", slow)))
    ]
    code, out, _ = call("compare", *runs)
    assert code == 0
    assert "not measured in the same rounds" in out
    assert "FAIL" not in out
    assert "PASS" not in out
    code, out, _ = call("compare", *runs, "--json")
    said = json.loads(out)
    assert len({shift["status"] for shift in said["shifts"]}) == 1
    assert said["shifts"][0]["status"] in ("higher", "lower")
    assert call("compare", *runs, "--metric", "energy")[0] == 3  # nothing to compare


# bisect ------------------------------------------------------------------------------------------


def test_bisect_over_eight_commits_finds_the_planted_one(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    code, out, _ = bisect(call)
    assert code == 0
    last = out[out.index("first bad commit:") :]
    assert f"{kernels.git('rev-parse', '--short=7', 'HEAD~2')} Commit 6" in last
    assert "40." in last or "39." in last
    assert "slower [+3" in last
    assert len(fake.measured) <= 1 + 3
    good = kernels.git("rev-parse", "--short=7", "HEAD~8")
    assert {base for base, _ in fake.measured} == {good}


def test_bisect_as_json_has_every_step(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    code, out, _ = bisect(call, "--json", "--case", "workload=small,kernel=mine,patch_size=2")
    said = json.loads(out)
    assert code == 0
    assert said["first_bad"]["commit"]["subject"] == "Commit 6"
    assert said["end"]["status"] == "bad"
    assert len(said["steps"]) <= 3
    effect = said["first_bad"]["verdicts"][0]["effect"]
    assert effect["ci_low"] < 1.4 < effect["ci_high"] or math.isclose(
        effect["ratio"], 1.4, rel_tol=0.01
    )
    assert {layer.name for suite in fake.suites for layer in suite.layers} == {"small"}


def test_bisect_skips_what_does_not_run_or_cannot_be_packed(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    kernels.git("reset", "--quiet", "--hard", "HEAD~8")
    texts = [kernel(1, "1"), "def (", kernel(1, "3"), kernel(1, "4") + "raise\n"]
    for number, text in enumerate([*texts, *(kernel(1.4, str(n)) for n in (5, 6, 7, 8))], 1):
        kernels.commit(f"Commit {number}", {"mine.py": text})
    code, out, _ = bisect(call)
    assert code == 3
    assert "skipped" in out
    assert "one of these" in out
    left = out[out.index("one of these") :]
    assert "Commit 4" in left  # it does not run, so it or the next may be the first
    assert "Commit 5" in left
    assert "Commit 3" not in left
    assert "Commit 6" not in left


def test_bisect_tests_the_same_artefact_once(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    kernels.git("reset", "--quiet", "--hard", "HEAD~8")
    kernels.commit("Slow it down", {"mine.py": kernel(1.4)})
    for number in range(7):
        kernels.commit(f"Words {number}", {"README.md": str(number)})
    code, out, _ = bisect(call)
    assert code == 0
    assert "first bad commit" in out
    assert "Slow it down" in out[out.index("first bad commit") :]
    assert len(fake.measured) == 1


def test_bisect_ends_when_the_bad_commit_is_not_bad(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    code, out, _ = call("bisect", "--good", "HEAD~5", "--bad", "HEAD~3", *OF_KERNEL)
    assert code == 3
    assert "there is nothing to find" in out
    assert len(fake.measured) == 1


def test_bisect_says_what_it_cannot_decide(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    fake.noise = 0.5
    code, out, _ = bisect(call)
    assert code == 3
    assert "undecided" in out


def test_bisect_stops_when_the_board_is_lost(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    fake.lost = "local"
    code, _, err = bisect(call)
    assert code == 4
    assert "bisect stopped: no route to host" in err
    assert len(fake.measured) == 1


def test_bisect_stops_when_the_good_commit_does_not_run(
    kernels: GitRepository, call: Call, fake: FakeMeasurement
) -> None:
    kernels.git("reset", "--quiet", "--hard", "HEAD~8")
    kernels.commit("Broken", {"mine.py": kernel(1) + "raise\n"})
    kernels.commit("Mended", {"mine.py": kernel(1, "2")})
    code, _, err = bisect(call, good="HEAD~1")
    assert code == 2
    assert "the good commit" in err
    assert "does not run" in err


@pytest.mark.parametrize("case", ["nonsense", "patch_size=two", "revision=HEAD", "kernel=none"])
def test_a_case_that_bisect_cannot_choose_is_wrong_usage(
    kernels: GitRepository, call: Call, fake: FakeMeasurement, case: str
) -> None:
    code, _, err = bisect(call, "--case", case)
    assert code == 2
    assert err
    assert fake.measured == []
