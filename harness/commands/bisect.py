"""``gfbench bisect``: find the commit that made something worse."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from harness.commands.options import (
    PHASE,
    RESULTS,
    InventoryOption,
    JsonOption,
    KernelOption,
    MarginOption,
    MetricOption,
    OutputOption,
    PhaseOption,
    RoundsOption,
    SeedOption,
    SuiteOption,
    TargetOption,
    WindowOption,
    choose,
    exit_with,
    kernel_names,
    note,
    troubles,
)
from harness.errors import GfbenchError, TargetError, UsageError
from harness.experiments import bisection as bisecting
from harness.experiments import revisions as comparing
from harness.experiments.bisection import GOOD, SKIPPED, Bisection, Step, worst_first
from harness.experiments.revisions import Setup
from harness.fleet.live_view import LiveView
from harness.fleet.run import Finished
from harness.payloads import revisions
from harness.payloads.git import Commit
from harness.payloads.revisions import Revision, Source
from harness.plan.suites import Overrides
from reports.gate.document import verdict_document
from reports.gate.rule import rule_from_options
from reports.gate.verdict import Verdict
from reports.gate.words import effect_words
from reports.metrics.selectors import SelectorError, parse_selector
from reports.results.read import ResultError, load_run
from reports.results.records import Rule
from reports.text.wording import case_label
from workloads.spec.messages import SCHEMA

app = typer.Typer()

INCONCLUSIVE = 3


@app.command(
    epilog="Example: gfbench bisect --good v1.0 --bad HEAD -t nano-1 "
    "--case workload=quick-64ch-56x56,kernel=native,patch_size=2"
)
def bisect(
    good: Annotated[str, typer.Option(help="a git revision known to be good")],
    bad: Annotated[str, typer.Option(help="a later revision known to be worse")] = "HEAD",
    target: TargetOption = None,
    case: Annotated[str, typer.Option(help="the suite's cases with key=value[,key=value]")] = "",
    suite: SuiteOption = "quick",
    kernel: KernelOption = None,
    metric: MetricOption = "latency",
    phase: PhaseOption = PHASE,
    margin: MarginOption = "3%",
    rounds: RoundsOption = None,
    min_window: WindowOption = None,
    seed: SeedOption = None,
    output: OutputOption = RESULTS,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the first commit that is worse than a good one, measuring each in pairs with it.

    Exit code 0: found. 3: several commits are left, or the bad one is not worse.
    """
    rule = rule_from_options(
        good, bad, metric=metric, phase=phase, margin=margin, inconclusive="warn"
    )
    overrides = _overrides(case, kernel_names(kernel), rounds, min_window)
    parsed, targets = choose(inventory, target)
    setup = Setup(
        targets=targets,
        inventory=parsed,
        directory=output,
        argv=("gfbench", *sys.argv[1:]),
        seed=secrets.randbelow(2**31) if seed is None else seed,
    )
    source = revisions.source(kernel or (), Path.cwd())
    repository = source.repository
    ends = repository.commit(good), repository.commit(bad)
    revisions.check_committed(source, ends)
    commits = repository.between(*ends)
    reference = revisions.build(source, ends[0])
    tester = _Tester(
        source=source,
        reference=reference,
        suite=(suite, overrides),
        setup=setup,
        rule=rule,
        quiet=as_json,
    )
    tester.say(
        f"{len(commits)} commits after {reference.commit.title}: measuring the last one, then at "
        f"most {bisecting.most_steps(len(commits))} more"
    )
    ended = bisecting.bisect(commits, tester.test)
    if as_json:
        print(json.dumps(_document(reference, ended), indent=1, allow_nan=False))
    else:
        print("\n".join(_conclusion(ended)))
    exit_with(0 if ended.first_bad else INCONCLUSIVE)


@dataclass(kw_only=True)
class _Tester:
    """Measures one commit after another against the good one, on every target."""

    source: Source
    reference: Revision
    suite: tuple[str, Overrides]
    setup: Setup
    rule: Rule
    quiet: bool
    known: dict[str, Step] = field(default_factory=dict)  # by payload
    noted: set[str] = field(default_factory=set)

    def test(self, commit: Commit) -> Step:
        """Return what a commit is, and say so."""
        step = self._test(commit)
        self.say(_step_line(step))
        return step

    def say(self, line: str) -> None:
        """Print a line of progress, where results are for people."""
        if not self.quiet:
            print(line, flush=True)

    def _test(self, commit: Commit) -> Step:
        try:
            candidate = revisions.build(self.source, commit)
        except GfbenchError as error:
            return Step(commit=commit, status=SKIPPED, reason=str(error))
        if revisions.identical(self.reference, candidate):
            return Step(commit=commit, status=GOOD, reason="the same artefact as the good commit")
        sha256 = candidate.payload.sha256
        if sha256 not in self.known:
            self.known[sha256] = self._measured(candidate)
        known = self.known[sha256]
        return known if known.commit == commit else bisecting.same_as(known, commit)

    def _measured(self, candidate: Revision) -> Step:
        name, overrides = self.suite
        both = (self.reference, candidate)
        suite = comparing.suite_of(name, overrides, both, self.rule.metrics)
        rule = comparing.rule_for(self.rule, both)
        extend = overrides.rounds is None
        with LiveView([t.name for t in self.setup.targets], Console(stderr=True)) as view:
            finished = comparing.measure(both, suite, rule, self.setup, view, extend=extend)
        self._check_ended(finished)
        run, folder = load_run(finished.folder), str(finished.folder)
        why = comparing.why_not_run(run, self.reference.label)
        if why:
            raise ResultError(f"the good commit {self.reference.commit.title} does not run: {why}")
        why = comparing.why_not_run(run, candidate.label)
        if why:
            return Step(commit=candidate.commit, status=SKIPPED, reason=why, run=folder)
        verdicts = finished.gate.verdicts if finished.gate else ()
        return bisecting.step_of(candidate.commit, verdicts, folder)

    def _check_ended(self, finished: Finished) -> None:
        """Stop where a target could not be measured: that says nothing of a commit.

        Raises:
            KeyboardInterrupt: the user has stopped it.
            TargetError: the board was lost or is busy.
        """
        for line in troubles(finished):
            if line not in self.noted:  # every step has the same remarks on its targets
                note(line)
            self.noted.add(line)
        if any(outcome.exit_code == 130 for outcome in finished.outcomes):
            raise KeyboardInterrupt
        for outcome in finished.outcomes:
            if outcome.exit_code in (4, 70):
                raise TargetError(
                    outcome.target,
                    f"bisect stopped: {outcome.reason}",
                    remedy="solve that, then start again with the last good and bad commits",
                )


def _overrides(
    case: str, kernels: list[str] | None, rounds: int | None, min_window_s: float | None
) -> Overrides:
    """Return the suite's choices that a case selector stands for.

    Raises:
        UsageError: it is not a selector, or names what a bisection cannot choose.
    """
    try:
        chosen = parse_selector(case) if case else {}
        numbers = {name: [int(chosen[name])] for name in ("patch_size", "batch") if name in chosen}
    except SelectorError as problem:
        raise UsageError(f"--case: {problem}") from None
    except ValueError:
        raise UsageError(f"--case {case}: patch_size and batch must be whole numbers") from None
    if "revision" in chosen:
        raise UsageError("--case cannot name a revision: bisect compares each with the good one")

    def only(name: str) -> list[str] | None:
        return [chosen[name]] if name in chosen else None

    return Overrides(
        workloads=only("workload"),
        methods=only("method"),
        kernels=only("kernel") or kernels,
        devices=only("device"),
        dtypes=only("dtype"),
        patch_sizes=numbers.get("patch_size"),
        batches=numbers.get("batch"),
        rounds=rounds,
        min_window_s=min_window_s,
    )


def _step_line(step: Step) -> str:
    """Return ``bad       a1b2c3d Use a slower loop: 40.1 % slower [...]``."""
    rest = f": {step.reason}" if step.reason else ""
    return f"{step.status:<10} {step.commit.title}{rest}"


def _conclusion(ended: Bisection) -> list[str]:
    """Return the last lines: the commit and its effect, or what is left."""
    first = ended.first_bad
    if first is not None:
        return [f"first bad commit: {first.commit.title}", *map(_effect, worst_first(first))]
    if not ended.suspects:
        end = ended.end.commit.title
        return [f"{end} is {ended.end.status}, not bad: there is nothing to find"]
    return [
        "the first bad commit is one of these; some were skipped or undecided:",
        *(f"  {commit.title}" for commit in ended.suspects),
        "more --rounds, a wider --margin or a single --case may decide the undecided ones",
    ]


def _effect(verdict: Verdict) -> str:
    assert verdict.effect is not None
    what = " ".join(part for part in (verdict.metric, verdict.phase) if part)
    return (
        f"  {verdict.target}: {case_label(verdict.new)}: {what} "
        f"{effect_words(verdict.effect, verdict.metric)}, {verdict.rounds} rounds"
    )


def _document(reference: Revision, ended: Bisection) -> dict[str, Any]:
    first = ended.first_bad
    return {
        "schema": SCHEMA,
        "type": "bisection",
        "good": asdict(reference.commit),
        "end": _step(ended.end),
        "steps": [_step(step) for step in ended.steps],
        "first_bad": _step(first) if first else None,
        "suspects": [asdict(commit) for commit in ended.suspects],
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "commit": asdict(step.commit),
        "status": step.status,
        "reason": step.reason,
        "run": step.run or None,
        "verdicts": [verdict_document(verdict) for verdict in step.verdicts],
    }
