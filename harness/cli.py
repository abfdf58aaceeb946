"""The command line: one short function per command. The only file that prints or exits."""

from __future__ import annotations

import csv
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from harness import calibration as calibrations
from harness import doctor as doctors
from harness import listing, progress, running, trust, user_kernels
from harness.errors import GfbenchError, UsageError
from harness.plan import make_plan
from harness.suites import Overrides, Suite, load_suite, suite_from_json
from reports import exports, results, table
from reports.energy_window import MIN_WINDOW_S
from targets import inventory as inventories
from targets.inventory import Inventory, InventoryProblem, Target

BUG = 70
INTERRUPTED = 130

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Benchmark exact and gradient-filtered backward passes on edge boards.",
)


class Listed(str, Enum):
    """What ``gfbench list`` can list."""

    targets = "targets"
    suites = "suites"
    workloads = "workloads"
    methods = "methods"
    kernels = "kernels"
    platforms = "platforms"
    sensors = "sensors"


class Format(str, Enum):
    """The formats of ``gfbench export``."""

    csv = "csv"
    json = "json"


InventoryOption = Annotated[
    Path | None, typer.Option("-i", "--inventory", help="inventory file [./inventory.yaml]")
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option("-t", "--target", help="a target's name, @group, tag:WORD, all, or local"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(metadata.version("gfbench"))
        raise typer.Exit


@app.callback()
def _main_options(
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Take the options that come before a command."""


@app.command(epilog="Example: gfbench init -o inventory.yaml")
def init(
    output: Annotated[Path, typer.Option("-o", "--output", help="where to write it")] = Path(
        "inventory.yaml"
    ),
) -> None:
    """Write a commented inventory.yaml to start from."""
    try:
        with output.open("x") as file:
            file.write(inventories.example_text())
    except FileExistsError:
        raise UsageError(f"{output} is there already — choose another name with -o") from None
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    print(output)


@app.command("list", epilog="Example: gfbench list workloads")
def list_(
    what: Annotated[Listed, typer.Argument(help="what to list")] = Listed.targets,
    target: TargetOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what there is: targets, suites, workloads, methods, kernels, platforms, sensors."""
    rows = _listed(what, inventory, target)
    if as_json:
        print(json.dumps([dict(row) for row in rows], indent=1))
        return
    _print_rows(rows)


@app.command(epilog="Example: gfbench schema > inventory.schema.json")
def schema() -> None:
    """Print the JSON Schema of inventory.yaml, so that an editor completes and checks it."""
    print(json.dumps(inventories.json_schema(), indent=1))


@app.command(name="trust", epilog="Example: gfbench trust -t nano-1")
def trust_(
    target: TargetOption = None,
    inventory: InventoryOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="record without asking; you have checked it")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="also replace a key that has changed")
    ] = False,
) -> None:
    """Show a target's host key and, after yes, record it in known_hosts."""
    if not target:
        raise UsageError("no target is given — use -t NAME, or -t user@host:port for a gateway")
    found = _inventory(inventory)
    for chosen in _to_trust(found, target):
        key = trust.fetch_host_key(chosen, found)
        print(f"{chosen.name}: {key.host_entry} {key.key_type} {key.fingerprint} ({key.status})")
        if key.status == "known":
            continue
        if not yes and not typer.confirm(
            "Is this the fingerprint that the machine itself shows?", err=True
        ):
            raise UsageError(f"{chosen.name}: the key was not recorded")
        print(f"recorded in {trust.record(key, replace=replace)}")


@app.command(epilog="Example: gfbench doctor -t nano-1")
def doctor(
    target: TargetOption = None, inventory: InventoryOption = None, as_json: JsonOption = False
) -> None:
    """Say what stands between a target and a credible result, each with what mends it."""
    found, targets = _chosen(inventory, target or ["local"])
    examined = [doctors.examine(chosen, found) for chosen in targets]
    if as_json:
        print(json.dumps([one.to_json() for one in examined], indent=1))
    else:
        for one in examined:
            print("\n".join(one.lines()))
    _exit(running.gravest(one.exit_code for one in examined))


@app.command(epilog="Example: gfbench run -t local --suite quick")
def run(
    target: TargetOption = None,
    suite: Annotated[str, typer.Option(help="a suite's name, or the path of its file")] = "quick",
    workload: Annotated[list[str] | None, typer.Option(help="only these; patterns work")] = None,
    method: Annotated[list[str] | None, typer.Option(help="only these, and exact")] = None,
    kernel: Annotated[
        list[str] | None,
        typer.Option(help="a kernel's name, mine=FILE.py or .c, or again=NAME for A/A"),
    ] = None,
    patch_size: Annotated[list[int] | None, typer.Option(help="r of the paper")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="images per step")] = None,
    device: Annotated[list[str] | None, typer.Option(help="cpu, cuda or auto")] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32, float64, ...")] = None,
    rounds: Annotated[int | None, typer.Option(help="blocks per case; 6 for intervals")] = None,
    min_window: Annotated[float | None, typer.Option(help="seconds per window")] = None,
    energy: Annotated[
        bool | None,
        typer.Option("--energy/--no-energy", help="windows long enough for energy [the suite's]"),
    ] = None,
    paper_mode: Annotated[
        bool,
        typer.Option("--paper-mode", help="time pooled g_x and g_w too, as published programs did"),
    ] = False,
    seed: Annotated[int | None, typer.Option(help="of order and data [random]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan only")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="start it and leave; `gfbench resume` collects")
    ] = False,
    output: Annotated[Path, typer.Option("-o", "--output", help="result folder")] = Path("results"),
    inventory: InventoryOption = None,
) -> None:
    """Measure a suite on targets and write the report."""
    found, targets = _chosen(inventory, target)
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
    if seed is None:
        seed = secrets.randbelow(2**31)
    if dry_run:
        _print_plan(chosen, targets, seed)
        return
    console = Console(stderr=True)
    with progress.LiveView([one.name for one in targets], console) as view:
        finished = running.start_run(
            targets,
            chosen,
            inventory=found,
            seed=seed,
            directory=output,
            argv=["gfbench", *sys.argv[1:]],
            watch=view,
            detach=detach,
            own_kernels=own_kernels,
        )
    _show(finished)


@app.command(epilog="Example: gfbench resume results/20261122-190000-abc123")
def resume(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    inventory: InventoryOption = None,
) -> None:
    """Continue a run: follow what still runs, measure what is missing, render the report."""
    header = running.read_header(run)
    found = _inventory(inventory)
    names = list(header.get("targets") or {})
    targets = inventories.select(found, names)
    suite = suite_from_json(header.get("suite"))
    with progress.LiveView(names, Console(stderr=True)) as view:
        finished = running.resume_run(run, targets, suite, inventory=found, watch=view)
    _show(finished)


@app.command(epilog="Example: gfbench calibrate -t nano-1 --sampler-overhead")
def calibrate(
    target: TargetOption = None,
    sampler_overhead: Annotated[
        bool, typer.Option("--sampler-overhead", help="what sampling power costs")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="6 for intervals")] = 8,
    seed: Annotated[int | None, typer.Option(help="of the order [random]")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="result folder")] = Path("results"),
    inventory: InventoryOption = None,
) -> None:
    """Measure what measuring costs on a target; reports of later runs show it."""
    if not sampler_overhead:
        raise UsageError("say what to calibrate — there is --sampler-overhead")
    found, targets = _chosen(inventory, target)
    for chosen in targets:
        about = progress.duration(calibrations.estimate_s(rounds))
        _note(f"{chosen.name}: {rounds} rounds, about {about}")
        done = calibrations.calibrate_sampler(
            chosen,
            found,
            output,
            rounds=rounds,
            seed=secrets.randbelow(2**31) if seed is None else seed,
        )
        print(f"{done.target}: {done.cost.words}")
        print(done.path)


@app.command(epilog="Example: gfbench report results/20261122-190000-abc123")
def report(
    runs: Annotated[list[Path], typer.Argument(help="one run's folder, or several")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="file [report.html of the first run]")
    ] = None,
) -> None:
    """Render the HTML report again, of one run or of several side by side."""
    own = output is None and len(runs) == 1
    path = running.write_report(runs, output or runs[0] / results.REPORT)
    if own:
        results.write_manifest(runs[0])
    print(path)


@app.command(epilog="Example: gfbench export results/20261122-190000-abc123 --format csv")
def export(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    format: Annotated[Format, typer.Option(help="the format")] = Format.csv,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="file [standard output]")
    ] = None,
) -> None:
    """Write a run's figures, one row per target, case, phase and metric."""
    text = exports.export(results.load_run(run), format.value)
    if output is None:
        sys.stdout.write(text)
        return
    results.write_bytes_atomic(output, text.encode())
    print(output)


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        code = app(standalone_mode=False) or 0  # what typer.Exit carries comes back as a value
    except (KeyboardInterrupt, typer.Abort):
        code = _say("interrupted; what was measured is saved", INTERRUPTED)
    except GfbenchError as error:
        code = _say(str(error), error.exit_code)
    except InventoryProblem as problem:
        code = _say(str(problem), 2)
    except results.ResultProblem as problem:
        code = _say(str(problem), 2)
    except results.ResultStorageProblem as problem:
        code = _say(str(problem), 4)
    except BrokenPipeError:
        code = 0
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the interpreter's own flush
    except SystemExit as ended:  # Typer's answer to a closed pipe
        code = 0 if isinstance(ended.__context__, BrokenPipeError) else int(ended.code or 0)
    except Exception as error:
        code = _usage(error) if hasattr(error, "format_message") else _bug(error)
    _flush()
    raise SystemExit(code)


def _as_interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _usage(error: Any) -> int:
    """Report what Typer found wrong with the options, with the usage line."""
    context = getattr(error, "ctx", None)
    usage = f"{context.get_usage()}\n" if context else ""
    message = error.format_message()
    if message.startswith("Usage:"):  # no command at all: the help is the answer
        print(message, file=sys.stderr)
        return 2
    return _say(message, 2, before=usage)


def _bug(error: Exception) -> int:
    try:
        handle, path = tempfile.mkstemp(prefix="gfbench-bug-", suffix=".log")
        with os.fdopen(handle, "w") as file:
            file.write(f"{sys.argv}\n{sys.version}\n{traceback.format_exc()}")
    except OSError as problem:
        path = f"lost ({problem.strerror})"
    return _say(f"this is a bug: {type(error).__name__}: {error}; the log is {path}", BUG)


def _say(message: str, code: int, before: str = "") -> int:
    print(f"{before}gfbench: {message}", file=sys.stderr)
    return code


def _flush() -> None:
    try:
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)


def _inventory(path: Path | None) -> Inventory | None:
    """Return the inventory named, or the one in this folder; None if there is none."""
    if path is None and not inventories.DEFAULT_PATH.exists():
        return None
    return inventories.load_inventory(path or inventories.DEFAULT_PATH)


def _chosen(
    path: Path | None, selectors: Sequence[str] | None
) -> tuple[Inventory | None, tuple[Target, ...]]:
    if not selectors:
        raise UsageError("no target is given — use -t NAME, or -t local for this machine")
    found = _inventory(path)
    return found, inventories.select(found, selectors)


def _to_trust(found: Inventory | None, selectors: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets meant, which here may also be a gateway's own address."""
    if all("@" in selector[1:] or ":" in selector[4:] for selector in selectors):
        return tuple(trust.trust_target(selector, found) for selector in selectors)
    return tuple(one for one in inventories.select(found, selectors) if not one.local)


def _show(finished: running.Finished) -> None:
    """Print the final table, what went wrong, and as the last line the report's path."""
    if finished.report is not None:
        rows = table.summary_rows(results.load_run(finished.folder))
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(progress.final_table(rows, width)))
    for outcome in finished.outcomes:
        for case in outcome.skipped:
            _note(f"{outcome.target}: skipped {case['case_key']}: {case['reason']}")
        if outcome.reason:
            remedy = f" — {outcome.remedy}" if outcome.remedy else ""
            _note(f"{outcome.target}: {outcome.status}: {outcome.reason}{remedy}")
        for note in outcome.notes:
            if "\n" not in note:  # a bug's traceback is in session.json
                _note(f"{outcome.target}: note: {note}")
        if outcome.shares_machine_with:
            others = ", ".join(outcome.shares_machine_with)
            _note(f"{outcome.target} is the same machine as {others}: measured one after the other")
    print(finished.report or finished.folder)
    _exit(finished.exit_code)


def _note(message: str) -> None:
    print(message, file=sys.stderr)


def _print_plan(suite: Suite, targets: Sequence[Target], seed: int) -> None:
    if suite.energy:
        suite = replace(suite, min_window_s=max(suite.min_window_s, MIN_WINDOW_S))
    plan = make_plan(suite, seed=seed)
    print(f"suite {suite.name}: {suite.description}")
    print(f"targets: {', '.join(target.name for target in targets)}")
    print(f"{len(plan.cases)} cases, {suite.rounds} rounds, {len(plan.blocks)} blocks, seed {seed}")
    print(f"about {progress.duration(plan.estimate_s)} per target")
    if suite.energy:
        print(f"windows of at least {MIN_WINDOW_S:g} s for energy; some sensors need longer ones")
    for case in plan.cases:
        print(f"  {case.key}")
    for skipped in plan.skipped:
        print(f"  skipped {skipped.case.key}: {skipped.reason}")


def _listed(what: Listed, path: Path | None, selectors: Sequence[str] | None) -> listing.Rows:
    if what is Listed.targets:
        return listing.targets(_inventory(path))
    if what is Listed.sensors:
        found, targets = _chosen(path, selectors or ["local"])
        return listing.sensors(targets, found)
    if what is Listed.kernels and selectors:
        found, targets = _chosen(path, selectors)
        return listing.kernels(targets, found)
    plain: dict[Listed, Callable[[], listing.Rows]] = {
        Listed.suites: listing.suites,
        Listed.workloads: listing.workloads,
        Listed.methods: listing.methods,
        Listed.kernels: listing.kernels,
        Listed.platforms: listing.platform_ids,
    }
    return plain[what]()


def _print_rows(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    if not sys.stdout.isatty():
        writer = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
        return
    shown = Table(box=None, header_style="bold")
    for name in rows[0]:
        shown.add_column(name)
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    Console().print(shown)
