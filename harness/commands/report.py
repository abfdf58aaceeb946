"""``gfbench report``: render the HTML report again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reports.page.render import write_report
from reports.results.manifest import renew_in_manifest
from reports.results.read import REPORT

app = typer.Typer()


@app.command(epilog="Example: gfbench report results/20261122-190000-abc123")
def report(
    runs: Annotated[list[Path], typer.Argument(help="one run's folder, or several")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="file [report.html in the first run's folder]"),
    ] = None,
) -> None:
    """Render the HTML report again, for one run or for several side by side."""
    path = write_report(runs, output or runs[0] / REPORT)
    if output is None:
        renew_in_manifest(runs[0], REPORT)
    print(path)
