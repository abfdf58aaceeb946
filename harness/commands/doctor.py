"""``gfbench doctor``: say what stands between a target and a credible result."""

from __future__ import annotations

import json

import typer

from harness.board import doctor as doctors
from harness.commands.options import InventoryOption, JsonOption, TargetOption, choose, exit_with
from harness.errors import gravest

app = typer.Typer()


@app.command(epilog="Example: gfbench doctor -t nano-1")
def doctor(
    target: TargetOption = None, inventory: InventoryOption = None, as_json: JsonOption = False
) -> None:
    """Say what stands between a target and a credible result, and how to put it right."""
    parsed, targets = choose(inventory, target or ["local"])
    examined = [doctors.examine(chosen, parsed) for chosen in targets]
    if as_json:
        print(json.dumps([board.to_json() for board in examined], indent=1))
    else:
        for board in examined:
            print("\n".join(board.lines()))
    exit_with(gravest(board.exit_code for board in examined))
