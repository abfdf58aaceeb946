"""Commands that explain what was measured: report, export."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from harness import running
from reports import exports, results

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
