"""``gfbench verify``: check a run's files and every number of its report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonOption, exit_with, note
from reports.text.wording import printable
from reports.verify import verify as verifying

app = typer.Typer()


@app.command(epilog="Example: gfbench verify results/20261122-190000-abc123")
def verify(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs")],
    as_json: JsonOption = False,
) -> None:
    """Check the files of runs and recompute every number of their reports from the samples."""
    checked = [verifying.verify(run) for run in runs]
    if as_json:
        print(json.dumps([asdict(verified) for verified in checked], indent=1, ensure_ascii=False))
    for run, one in zip(runs, checked, strict=True):
        if not as_json:
            print("\n".join(printable(line) for line in verifying.lines(run, one)))
        for remark in one.notes:
            note(printable(f"{run}: note: {remark}"))
    exit_with(0 if all(one.holds for one in checked) else 1)
