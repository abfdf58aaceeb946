"""``gfbench calibrate``: measure a machine's noise floor, or what its sampler costs."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from harness.commands.options import (
    RESULTS,
    InventoryOption,
    OutputOption,
    TargetOption,
    choose,
    exit_with,
    note,
    print_rows,
)
from harness.experiments import noise_floor as floor_calibration
from harness.experiments import sampler_cost as calibration
from harness.experiments.noise_floor import CalibratedFloor
from harness.fleet.live_view import LiveView
from harness.plan.plan import make_plan
from harness.plan.suites import Overrides, load_suite
from reports.calibration.noise_floor import MetricFloor, rounds_for
from reports.gate.words import percent
from reports.text.wording import duration
from targets.inventory import Inventory, Target

app = typer.Typer()
FLOOR_ROUNDS = 12
SAMPLER_ROUNDS = 8
FEWEST_DAYS = 3
MARGINS = (0.01, 0.02, 0.03, 0.05, 0.1)


@app.command(epilog="Example: gfbench calibrate -t nano-1 --suite quick --kernel native")
def calibrate(
    target: TargetOption = None,
    sampler_overhead: Annotated[
        bool, typer.Option("--sampler-overhead", help="measure the cost of sampling power instead")
    ] = False,
    suite: Annotated[str, typer.Option(help="the suite that you gate with")] = "quick",
    workload: Annotated[list[str] | None, typer.Option(help="only these; patterns work")] = None,
    kernel: Annotated[str, typer.Option(help="the kernel to measure, under two names")] = "torch",
    rounds: Annotated[int | None, typer.Option(min=6, help="pairs of blocks [12]")] = None,
    min_window: Annotated[float | None, typer.Option(help="seconds per window")] = None,
    energy: Annotated[
        bool | None,
        typer.Option("--energy/--no-energy", help="calibrate energy too [as in the suite]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="seed of the order [random]")] = None,
    output: OutputOption = RESULTS,
    inventory: InventoryOption = None,
) -> None:
    """Measure a target's noise floor: by how much two blocks of the same thing differ."""
    parsed, targets = choose(inventory, target)
    seed = secrets.randbelow(2**31) if seed is None else seed
    if sampler_overhead:
        for chosen in targets:
            _sampler(chosen, parsed, output, rounds or SAMPLER_ROUNDS, seed)
        return
    overrides = Overrides(
        workloads=workload, rounds=rounds or FLOOR_ROUNDS, min_window_s=min_window, energy=energy
    )
    aa, own = floor_calibration.aa_suite(load_suite(suite, overrides), kernel)
    plan = make_plan(aa, seed=seed)
    note(f"{aa.rounds} rounds, about {duration(plan.estimate_s)} per target")
    names = [chosen.name for chosen in targets]
    with LiveView(names, Console(stderr=True)) as view:
        finished, floors, problems = floor_calibration.calibrate_floors(
            targets,
            aa,
            own,
            inventory=parsed,
            seed=seed,
            directory=output,
            argv=["gfbench", *sys.argv[1:]],
            watch=view,
        )
    for outcome in finished.outcomes:
        if outcome.reason:
            remedy = f" — {outcome.remedy}" if outcome.remedy else ""
            note(f"{outcome.target}: {outcome.status}: {outcome.reason}{remedy}")
    for problem in problems:
        note(problem)
    _show(floors)
    exit_with(finished.exit_code or (3 if problems else 0))


def _sampler(
    target: Target, inventory: Inventory | None, output: Path, rounds: int, seed: int
) -> None:
    about = duration(calibration.estimate_s(rounds))
    note(f"{target.name}: {rounds} rounds, about {about}")
    done = calibration.calibrate_sampler(target, inventory, output, rounds=rounds, seed=seed)
    print(f"{done.target}: {done.cost.summary}")
    print(done.path)


def _show(floors: Sequence[CalibratedFloor]) -> None:
    """Print each machine's floor, what can be decided with it, and last where it is kept."""
    rows = []
    for machine in floors:
        rows += [_row(machine.target, floor) for floor in machine.floor.floors]
    print_rows(rows)
    for machine in floors:
        name, apart, days = machine.target, machine.apart, machine.days
        for change in machine.changes:
            note(f"{name}: earlier calibrations no longer count: {change}")
        if apart:
            note(f"{name}: {apart} calibrations under other conditions are kept apart")
        if days < FEWEST_DAYS:
            note(
                f"{name}: calibrated on {days} day{'s' * (days != 1)} so far; repeat it on other "
                f"days, at least {FEWEST_DAYS} in all: gfbench combines them"
            )
        print(machine.path)


def _row(target: str, floor: MetricFloor) -> dict[str, Any]:
    """Return a row: the floor, what it is made of, and the rounds that margins take."""
    return {
        "target": target,
        "metric": " ".join(part for part in (floor.metric, floor.phase) if part),
        "rounds": floor.rounds,
        "spread": _fraction(floor.spread),
        "floor": _fraction(floor.effect_q95),
        "later block": percent(floor.slot_effect, 2),
        "drift": _fraction(floor.drift),
        **{
            f"detects in {rounds}": _fraction(effect)
            for rounds, effect in sorted(floor.detectable.items())
        },
        **{f"rounds at {100 * margin:g} %": _rounds(floor, margin) for margin in MARGINS},
    }


def _rounds(floor: MetricFloor, margin: float) -> str:
    if margin < floor.margin:
        return "-"
    return str(rounds_for(floor, margin) or "more")


def _fraction(value: float) -> str:
    return f"{100 * value:.2f} %"
