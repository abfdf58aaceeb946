"""Commands that explain what was measured: report, show, verify, export."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness import progress, running, showing
from harness.commands.common import JsonOption, exit_with, note
from harness.errors import UsageError
from harness.progress import printable
from reports import exports, results, table
from reports import verify as verifying

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
    path = running.write_report(runs, output or runs[0] / results.REPORT)
    if output is None:
        results.renew_in_manifest(runs[0], results.REPORT)
    print(path)


@app.command(epilog="Example: gfbench show results/20261122-190000-abc123")
def show(
    runs: Annotated[list[Path], typer.Argument(help="a run's folder; more for the history")],
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="include the runs in the same folder")
    ] = True,
) -> None:
    """Show a run's figures, even while it runs, and their history over earlier runs."""
    loaded = [(path, results.load_run(path)) for path in runs]
    folder, newest = max(loaded, key=lambda one: (one[1].header.started_at, one[1].run_id))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = showing.standing_lines(newest)
    lines += ["", *progress.final_table(table.summary_rows(newest), width)]
    verdicts = showing.verdict_lines(folder, newest, width)
    lines += ["", *verdicts] if verdicts else []
    beside = showing.runs_beside(folder, newest) if history and len(runs) == 1 else []
    earlier = showing.history_lines([*(run for _, run in loaded), *beside], sys.stdout.encoding)
    lines += ["", *earlier] if earlier else []
    print("\n".join(lines))


@app.command(epilog="Example: gfbench verify results/20261122-190000-abc123")
def verify(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs")],
    as_json: JsonOption = False,
) -> None:
    """Check the files of runs and recompute every number of their reports from the samples."""
    checked = [verifying.verify(run) for run in runs]
    if as_json:
        print(json.dumps([asdict(one) for one in checked], indent=1, ensure_ascii=False))
    for run, one in zip(runs, checked, strict=True):
        if not as_json:
            print("\n".join(printable(line) for line in verifying.lines(run, one)))
        for remark in one.notes:
            note(printable(f"{run}: note: {remark}"))
    exit_with(0 if all(one.holds for one in checked) else 1)


def _formats() -> list[str]:
    return list(exports.FORMATS)


@app.command(epilog="Example: gfbench export results/20261122-190000-abc123 --format csv")
def export(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    format: Annotated[
        str, typer.Option(help=", ".join(exports.FORMATS), autocompletion=_formats)
    ] = "csv",
    case: Annotated[
        str, typer.Option(help="only these cases: method=exact,batch=8; omitted from names")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="file to write [standard output]")
    ] = None,
) -> None:
    """Export a run's figures for other programs."""
    if format not in exports.FORMATS:
        raise UsageError(f"unknown format {format!r} — choose from {', '.join(exports.FORMATS)}")
    binary = exports.FORMATS[format].binary
    if binary and output is None and sys.stdout.isatty():
        raise UsageError(f"{format} is a binary format — name a file with -o")
    try:
        content = exports.export(results.load_run(run), format, case)
    except exports.ExportProblem as problem:
        raise UsageError(str(problem)) from None
    data = content if isinstance(content, bytes) else content.encode()
    if output is None:
        sys.stdout.buffer.write(data)
        return
    results.write_bytes_atomic(output, data)
    print(output)
