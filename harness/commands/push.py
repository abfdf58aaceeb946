"""``gfbench push``: copy finished runs into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import StoreOption, exit_with, note, required, try_push
from harness.errors import gravest

app = typer.Typer()


@app.command(epilog="Example: gfbench push results/* --store s3://lab/gfbench")
def push(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs")],
    store: StoreOption = None,
) -> None:
    """Copy finished runs into a store; runs that it already has are left alone."""
    url = required(store)
    codes = []
    for run in runs:
        attempt = try_push(run, url)
        codes.append(attempt.exit_code)
        if attempt.error:
            note(f"gfbench: {attempt.error}")
            continue
        if attempt.already:
            note(f"{run}: already in the store")
        print(attempt.url)
    exit_with(gravest(codes))
