"""``gfbench run``: measure a suite on targets."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from harness.commands.options import (
    METRICS,
    RESULTS,
    InventoryOption,
    OutputOption,
    Policy,
    StoreOption,
    TargetOption,
    check_store,
    choose,
    exit_with,
    note,
    shown_url,
    try_push,
)
from harness.errors import UsageError, gravest
from harness.fleet.live_view import LiveView
from harness.fleet.run import INTERRUPTED, Finished, start_run
from harness.fleet.until_decided import suite_for
from harness.payloads import user_kernels
from harness.plan.plan import make_plan
from harness.plan.suites import Overrides, Suite, load_suite
from reports.energy.window import MIN_WINDOW_S
from reports.gate.judge import DEFAULT_PHASES
from reports.gate.rule import rule_from_options
from reports.results.read import load_run
from reports.terminal import table
from reports.terminal import verdicts as gate_text
from reports.terminal.table import final_table
from reports.text.wording import duration
from targets.inventory import Target
from workloads.spec.messages import PHASES

app = typer.Typer()


@app.command(epilog="Example: gfbench run -t local --suite quick")
def run(
    target: TargetOption = None,
    suite: Annotated[str, typer.Option(help="a suite's name, or the path of its file")] = "quick",
    workload: Annotated[list[str] | None, typer.Option(help="only these; patterns work")] = None,
    method: Annotated[list[str] | None, typer.Option(help="only these and exact")] = None,
    kernel: Annotated[
        list[str] | None,
        typer.Option(help="a kernel's name, mine=FILE (.py or .c), or again=NAME for an A/A test"),
    ] = None,
    patch_size: Annotated[list[int] | None, typer.Option(help="r in the paper")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="images per step")] = None,
    device: Annotated[list[str] | None, typer.Option(help="cpu, cuda or auto")] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32, float64, ...")] = None,
    rounds: Annotated[int | None, typer.Option(help="blocks per case; an interval needs 6")] = None,
    min_window: Annotated[float | None, typer.Option(help="seconds per window")] = None,
    energy: Annotated[
        bool | None,
        typer.Option(
            "--energy/--no-energy", help="make windows long enough for energy [as in the suite]"
        ),
    ] = None,
    paper_mode: Annotated[
        bool,
        typer.Option("--paper-mode", help="time pooled g_x and g_w too, as published programs did"),
    ] = False,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided", help="as many rounds as it takes to judge --new against --base"
        ),
    ] = False,
    base: Annotated[str | None, typer.Option(help="cases to compare with: kernel=torch")] = None,
    new: Annotated[str | None, typer.Option(help="cases to judge: kernel=native")] = None,
    metric: Annotated[str, typer.Option(help=f"judge one or more of {METRICS}")] = "latency",
    margin: Annotated[str, typer.Option(help="smallest change that matters: 3% or 0.03")] = "3%",
    phase: Annotated[str, typer.Option(help=f"judge one or more of {','.join(PHASES)}")] = ",".join(
        DEFAULT_PHASES
    ),
    inconclusive: Annotated[
        Policy, typer.Option(help="exit code of an INCONCLUSIVE verdict: warn 3, fail 1, pass 0")
    ] = Policy.warn,
    seed: Annotated[
        int | None, typer.Option(help="seed of the order and the data [random]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show the plan")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="start the run and return; `gfbench resume` fetches it")
    ] = False,
    store: StoreOption = None,
    output: OutputOption = RESULTS,
    inventory: InventoryOption = None,
) -> None:
    """Measure a suite on targets and write the report; with --until-decided, judge it too."""
    if store is not None:
        check_store(store)
    rule = None
    if until_decided:
        if not base or not new:
            raise UsageError(
                "--until-decided needs --base and --new, such as "
                "--base kernel=torch --new kernel=native"
            )
        rule = rule_from_options(
            base, new, metric=metric, phase=phase, margin=margin, inconclusive=inconclusive.value
        )
        if rounds is not None:
            raise UsageError("--until-decided sets the rounds itself — leave out --rounds")
    elif base or new:
        raise UsageError("--base and --new are for --until-decided and for `gfbench gate RUN`")
    parsed, targets = choose(inventory, target)
    kernels, own_kernels = user_kernels.parse(kernel or ())
    overrides = Overrides(
        workloads=workload,
        methods=method,
        kernels=kernels,
        paper_mode=paper_mode,
        own_kernels=[own.info for own in own_kernels],
        patch_sizes=patch_size,
        batches=batch,
        devices=device,
        dtypes=dtype,
        rounds=rounds,
        min_window_s=min_window,
        energy=energy,
    )
    chosen = load_suite(suite, overrides)
    if rule is not None:
        chosen = suite_for(rule, chosen)
    if seed is None:
        seed = secrets.randbelow(2**31)
    if dry_run:
        _print_plan(chosen, targets, seed)
        return
    console = Console(stderr=True)
    with LiveView([chosen.name for chosen in targets], console) as view:
        finished = start_run(
            targets,
            chosen,
            inventory=parsed,
            seed=seed,
            directory=output,
            argv=["gfbench", *sys.argv[1:]],
            watch=view,
            detach=detach,
            own_kernels=own_kernels,
            rule=rule,
        )
    show_finished(finished, store)


def show_finished(finished: Finished, store: str | None = None) -> None:
    """Print the final table, what went wrong, and as the last line the report's path."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if finished.report is not None:
        done = load_run(finished.folder)
        lines = [*final_table(table.summary_rows(done), width), *table.notes_on_exact(done)]
        print("\n".join(lines))
    for outcome in finished.outcomes:
        for case in outcome.skipped:
            note(f"{outcome.target}: skipped {case['case_key']}: {case['reason']}")
        if outcome.reason:
            remedy = f" — {outcome.remedy}" if outcome.remedy else ""
            note(f"{outcome.target}: {outcome.status}: {outcome.reason}{remedy}")
        for remark in outcome.notes:
            if "\n" not in remark:  # a bug's traceback is in session.json
                note(f"{outcome.target}: note: {remark}")
        if outcome.shares_machine_with:
            others = ", ".join(outcome.shares_machine_with)
            note(f"{outcome.target} is the same machine as {others}: measured one after the other")
    for line in finished.invalid:
        note(line)
    if finished.gate is not None:
        print()
        print("\n".join(gate_text.lines(finished.gate, width)))
    kept = 0 if store is None else _push(finished, store)
    print(finished.report or finished.folder)
    exit_with(gravest((finished.exit_code, kept)))


def _push(finished: Finished, store: str) -> int:
    """Push a run that has ended; what can still be resumed would change in the store."""
    if finished.report is None or finished.exit_code == INTERRUPTED:
        note(f"not pushed yet — `gfbench resume {finished.folder} --store {shown_url(store)}`")
        return 0
    attempt = try_push(finished.folder, store)
    note(str(attempt.error) if attempt.error else f"pushed to {attempt.url}")
    return attempt.exit_code


def _print_plan(suite: Suite, targets: Sequence[Target], seed: int) -> None:
    if suite.energy:
        suite = replace(suite, min_window_s=max(suite.min_window_s, MIN_WINDOW_S))
    plan = make_plan(suite, seed=seed)
    print(f"suite {suite.name}: {suite.description}")
    print(f"targets: {', '.join(target.name for target in targets)}")
    print(f"{len(plan.cases)} cases, {suite.rounds} rounds, {len(plan.blocks)} blocks, seed {seed}")
    print(f"about {duration(plan.estimate_s)} per target")
    if suite.energy:
        print(f"energy takes windows of at least {MIN_WINDOW_S:g} s; some sensors need longer ones")
    for case in plan.cases:
        print(f"  {case.key}")
    for skipped in plan.skipped:
        print(f"  skipped {skipped.case.key}: {skipped.reason}")
