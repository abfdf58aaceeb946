"""``gfbench resume``: finish a run that was interrupted or detached."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.commands.options import (
    InventoryOption,
    StoreOption,
    check_store,
    read_inventory,
    select,
)
from harness.commands.run import show_finished
from harness.fleet.header import read_header
from harness.fleet.live_view import LiveView
from harness.fleet.run import resume_run
from harness.plan.suites import suite_from_json

app = typer.Typer()


@app.command(epilog="Example: gfbench resume results/20261122-190000-abc123")
def resume(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    store: StoreOption = None,
    inventory: InventoryOption = None,
) -> None:
    """Continue a run: follow what still runs, measure what is missing, render the report."""
    if store is not None:
        check_store(store)
    header = read_header(run)
    parsed = read_inventory(inventory)
    names = list(header.get("targets") or {})
    targets = select(parsed, names)
    suite = suite_from_json(header.get("suite"))
    with LiveView(names, Console(stderr=True)) as view:
        finished = resume_run(run, targets, suite, inventory=parsed, watch=view)
    show_finished(finished, store)
