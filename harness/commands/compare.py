"""``gfbench compare``: measure git revisions against each other."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from harness.commands.gate import judge_folder
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
    Policy,
    RoundsOption,
    SeedOption,
    SuiteOption,
    TargetOption,
    WindowOption,
    choose,
    exit_with,
    kernel_names,
    note,
    print_rows,
    troubles,
)
from harness.errors import UsageError
from harness.experiments import revisions as comparing
from harness.experiments.revisions import Setup
from harness.fleet.live_view import LiveView
from harness.fleet.run import Finished
from harness.payloads import revisions
from harness.payloads.revisions import Revision
from harness.plan.suites import Overrides
from reports.gate.document import document
from reports.gate.rule import rule_from_options
from reports.gate.side_by_side import Shift, SideBySide, side_by_side
from reports.gate.verdict import Gate
from reports.gate.words import change_words
from reports.results.read import load_run
from reports.results.records import Rule
from reports.terminal import verdicts as gate_text
from reports.text.wording import case_label
from workloads.spec.messages import SCHEMA, to_json

app = typer.Typer()
FORMS = (
    "say what to compare: `compare RUN --base kernel=torch --new kernel=native` for cases of a "
    "run, `compare RUN RUN` for two runs side by side, or `compare --base REV --new REV -t TARGET` "
    "for two git revisions, measured now"
)


@app.command(
    epilog="Examples: gfbench compare --base origin/main --new HEAD -t nano-1 --margin 3%;  "
    "gfbench compare RUN --base kernel=torch --new kernel=native;  gfbench compare RUN1 RUN2"
)
def compare(
    what: Annotated[
        list[str] | None, typer.Argument(help="a run's folder, two of them, or two case selectors")
    ] = None,
    base: Annotated[str | None, typer.Option(help="a git revision, or cases of the run")] = None,
    new: Annotated[str | None, typer.Option(help="what is compared with it")] = None,
    run: Annotated[Path | None, typer.Option(help="the run that the two selectors are for")] = None,
    target: TargetOption = None,
    suite: SuiteOption = "quick",
    workload: Annotated[list[str] | None, typer.Option(help="only these; patterns work")] = None,
    method: Annotated[list[str] | None, typer.Option(help="only these [all but exact]")] = None,
    kernel: KernelOption = None,
    patch_size: Annotated[list[int] | None, typer.Option(help="r in the paper")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="images per step")] = None,
    device: Annotated[list[str] | None, typer.Option(help="cpu, cuda or auto")] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32, float64, ...")] = None,
    metric: MetricOption = "latency",
    phase: PhaseOption = PHASE,
    margin: MarginOption = "3%",
    rounds: RoundsOption = None,
    min_window: WindowOption = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="folder of a finished run's noise floors [the run's own or its parent]"),
    ] = None,
    inconclusive: Annotated[
        Policy, typer.Option(help="exit code of an INCONCLUSIVE verdict: warn 3, fail 1, pass 0")
    ] = Policy.warn,
    seed: SeedOption = None,
    output: OutputOption = RESULTS,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare cases of a run, two runs, or two git revisions, measured in pairs now."""
    rule = rule_from_options(
        base or "-",
        new or "-",
        metric=metric,
        phase=phase,
        margin=margin,
        inconclusive=inconclusive.value,
    )
    given = list(what or ())
    if len(given) == 2 and base is None and new is None:
        if run is None and not any("=" in text and not Path(text).exists() for text in given):
            _show_side_by_side(Path(given[0]), Path(given[1]), rule, as_json)
            return
        base, new, given = given[0], given[1], []
    if base is None or new is None or len(given) > 1 or (given and run is not None):
        raise UsageError(FORMS)
    folder = Path(given[0]) if given else run
    if folder is not None:
        rule = replace(rule, base=base, new=new)
        _show_gate(judge_folder(folder, rule, calibration), as_json)
        return
    if calibration is not None:
        raise UsageError(
            "--calibration is for a finished run; revisions use the floors in the -o folder"
        )
    parsed, targets = choose(inventory, target)
    overrides = Overrides(
        workloads=workload,
        methods=method,
        kernels=kernel_names(kernel),
        patch_sizes=patch_size,
        batches=batch,
        devices=device,
        dtypes=dtype,
        rounds=rounds,
        min_window_s=min_window,
    )
    setup = Setup(
        targets=targets,
        inventory=parsed,
        directory=output,
        argv=("gfbench", *sys.argv[1:]),
        seed=secrets.randbelow(2**31) if seed is None else seed,
    )
    _compare_revisions(base, new, kernel or (), (suite, overrides), setup, rule, as_json)


def _built(base: str, new: str, kernels: Sequence[str]) -> tuple[Revision, Revision]:
    """Return two revisions, packed.

    Raises:
        GfbenchError: one does not exist, is not committed, or cannot be packed.
    """
    source = revisions.source(kernels, Path.cwd())
    commits = source.repository.commit(base), source.repository.commit(new)
    revisions.check_committed(source, commits)
    return revisions.build(source, commits[0]), revisions.build(source, commits[1])


def _compare_revisions(
    base: str,
    new: str,
    kernels: Sequence[str],
    suite: tuple[str, Overrides],
    setup: Setup,
    rule: Rule,
    as_json: bool,
) -> None:
    both = _built(base, new, kernels)
    if revisions.identical(*both):
        _show_identical(both, as_json)
        return
    chosen = comparing.suite_of(*suite, both, rule.metrics)
    for revision, name in zip(both, ("base", "new"), strict=True):
        commit = revision.commit
        note(f"{name}: {commit.title} ({commit.asked}), {revision.payload.name}")
    with LiveView([target.name for target in setup.targets], Console(stderr=True)) as view:
        decided = comparing.rule_for(rule, both)
        extend = suite[1].rounds is None
        finished = comparing.measure(both, chosen, decided, setup, view, extend=extend)
    for line in troubles(finished):
        note(line)
    if as_json:
        _print_json(_document(both, finished))
    else:
        if finished.gate:
            print("\n".join(gate_text.lines(finished.gate, _width())))
        print(finished.report or finished.folder)
    exit_with(finished.exit_code)


def _show_identical(both: Sequence[Revision], as_json: bool) -> None:
    """Say that there is nothing to compare; an A/A test would need one kernel under two names."""
    base, new = (revision.commit for revision in both)
    if as_json:
        _print_json(_document(both, None))
        return
    print(
        f"the artefacts are identical: {base.title} and {new.title} build the same payload, "
        f"{both[0].payload.name}, so nothing was measured"
    )


def _document(both: Sequence[Revision], finished: Finished | None) -> dict[str, Any]:
    gate = finished.gate if finished else None
    return {
        "schema": SCHEMA,
        "type": "comparison",
        "base": revisions.recorded(both[0]),
        "new": revisions.recorded(both[1]),
        "identical": finished is None,
        "run": str(finished.folder) if finished else None,
        "gate": document(gate) if gate else None,
    }


def _show_gate(judged: Gate, as_json: bool) -> None:
    if as_json:
        _print_json(document(judged))
    else:
        print("\n".join(gate_text.lines(judged, _width())))
    exit_with(judged.exit_code)


def _show_side_by_side(first: Path, second: Path, rule: Rule, as_json: bool) -> None:
    """Show two runs side by side; exit code 3 where nothing could be compared, else 0."""
    comparison = side_by_side(
        load_run(first),
        load_run(second),
        metrics=rule.metrics,
        phases=rule.phases,
        margin=rule.margin,
    )
    if as_json:
        _print_json(_side_document(comparison))
    else:
        _print_side_by_side(comparison, rule.margin)
    comparable = any(shift.effect is not None for shift in comparison.shifts)
    exit_with(0 if comparable else 3)


def _print_side_by_side(comparison: SideBySide, margin: float) -> None:
    first, second = comparison.first, comparison.second
    print(f"{second} against {first}: two runs, not measured in the same rounds.")
    print("The differences include what drifted between the runs; the 95 % intervals cover only")
    print("the scatter within each run. For a verdict, measure both in one run.")
    print(f"Below, higher and lower mean by more than {100 * margin:.3g} %, alike by less.")
    print_rows([_side_row(shift) for shift in comparison.shifts])
    for target, differences in comparison.differences.items():
        for difference in differences:
            print(f"{target}: differs: {difference}")
    for remark in comparison.notes:
        print(f"note: {remark}")
    if not comparison.shifts:
        print("the runs have no case in common")


def _side_row(shift: Shift) -> dict[str, Any]:
    return {
        "target": shift.target,
        "case": case_label(shift.case),
        "metric": f"{shift.metric} {shift.phase}".strip(),
        "second / first": change_words(shift.effect),
        "blocks": f"{shift.blocks[0]} and {shift.blocks[1]}",
        "result": f"{shift.status}: {shift.reason}" if shift.reason else shift.status,
    }


def _side_document(comparison: SideBySide) -> dict[str, Any]:
    shifts = [{**asdict(shift), "case": to_json(shift.case)} for shift in comparison.shifts]
    return {"schema": SCHEMA, "type": "side by side", **asdict(comparison), "shifts": shifts}


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
