"""Commands that explain what was measured: report, show, verify, export."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from harness import running
from harness.commands.common import JsonOption, exit_with, note
from harness.progress import printable
from reports import exports, results
from reports import verify as verifying

app = typer.Typer()


class Format(str, Enum):
    """The formats of ``gfbench export``."""

    csv = "csv"
    json = "json"


@app.command(epilog="Example: gfbench report results/20261122-190000-abc123")
def report(
    runs: Annotated[list[Path], typer.Argument(help="one run's folder, or several")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="file [report.html of the first run]")
    ] = None,
) -> None:
    """Render the HTML report again, of one run or of several side by side."""
    path = running.write_report(runs, output or runs[0] / results.REPORT)
    if output is None:
        results.renew_in_manifest(runs[0], results.REPORT)
    print(path)


@app.command(epilog="Example: gfbench verify results/20261122-190000-abc123")
def verify(
    runs: Annotated[list[Path], typer.Argument(help="runs' folders")],
    as_json: JsonOption = False,
) -> None:
    """Check runs' files, and every number of their reports, computed again from the samples."""
    checked = [verifying.verify(run) for run in runs]
    if as_json:
        print(json.dumps([asdict(one) for one in checked], indent=1, ensure_ascii=False))
    for run, one in zip(runs, checked, strict=True):
        if not as_json:
            print("\n".join(printable(line) for line in verifying.lines(run, one)))
        for remark in one.notes:
            note(printable(f"{run}: note: {remark}"))
    exit_with(0 if all(one.holds for one in checked) else 1)


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
