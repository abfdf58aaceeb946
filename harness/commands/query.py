"""``gfbench query``: answer a question in SQL about the figures of many runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.commands.options import (
    RESULTS,
    JsonOption,
    StoreOption,
    note,
    shown_url,
)
from harness.errors import UsageError

if TYPE_CHECKING:
    from reports.store.query import Answer
    from reports.store.tables import Summaries


app = typer.Typer()


@app.command(
    epilog="Example: gfbench query 'SELECT target, method, median(value) FROM rows WHERE "
    "metric = 'speedup' GROUP BY ALL' --store s3://lab/gfbench"
)
def query(
    sql: Annotated[str, typer.Argument(help="one SELECT over the tables rows and runs")],
    results: Annotated[
        list[Path] | None, typer.Argument(help="folders of runs, or of many runs [results]")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated values")] = False,
) -> None:
    """Query the figures of many runs with SQL."""
    if store is not None and results:
        raise UsageError("give --store URL or folders of results, not both")
    if as_json and as_csv:
        raise UsageError("give --json or --csv, not both")
    from reports.store import query as queries

    answer = queries.query(sql, _read(store, results or [RESULTS]))
    if as_json:
        sys.stdout.write(queries.to_json(answer))
    elif as_csv or not sys.stdout.isatty():
        sys.stdout.write(queries.to_csv(answer, "," if as_csv else "\t"))
    else:
        _print(answer)


def _read(store: str | None, folders: list[Path]) -> Summaries:
    """Return the figures to ask; remarks on what was left out go to stderr."""
    from reports.store import cache as store_cache
    from reports.store import query as queries

    if store is None:
        summaries, notes = queries.folder_summaries(folders)
    else:
        loaded = store_cache.load(store)
        summaries, notes = loaded.summaries, loaded.notes
        if not summaries.runs:
            note(f"{shown_url(store)} has no runs yet — `gfbench push RUN --store ...`")
    for remark in notes:
        note(remark)
    return summaries


def _print(answer: Answer) -> None:
    from reports.store.query import as_text

    shown = Table(box=None, header_style="bold")
    for name in answer.columns:
        shown.add_column(Text(name))
    for row in as_text(answer):
        shown.add_row(*(Text(cell) for cell in row))
    Console().print(shown)
