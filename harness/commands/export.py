"""``gfbench export``: write a run's figures for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import UsageError
from reports import exports
from reports.results.read import load_run
from reports.results.write import write_bytes_atomic

app = typer.Typer()


def _formats() -> list[str]:
    return list(exports.FORMATS)


@app.command(epilog="Example: gfbench export results/20261122-190000-abc123 --format csv")
def export(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    format: Annotated[
        str, typer.Option(help=", ".join(exports.FORMATS), autocompletion=_formats)
    ] = "csv",
    case: Annotated[
        str, typer.Option(help="only these cases: method=exact,batch=8; names leave these keys out")
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
    content = exports.export(load_run(run), format, case)
    data = content if isinstance(content, bytes) else content.encode()
    if output is None:
        sys.stdout.buffer.write(data)
        return
    write_bytes_atomic(output, data)
    print(output)
