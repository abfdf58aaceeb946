"""Commands that keep results of many controllers in one place: push, pull, query, store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import storing
from harness.commands.common import (
    RESULTS,
    JsonOption,
    StoreOption,
    exit_with,
    note,
)
from harness.errors import UsageError
from harness.running import gravest

if TYPE_CHECKING:
    from reports.query import Answer
    from reports.store_summaries import Summaries

app = typer.Typer()
store_app = typer.Typer(no_args_is_help=True, help="Maintain a store of results.")
app.add_typer(store_app, name="store")


@app.command(epilog="Example: gfbench push results/* --store s3://lab/gfbench")
def push(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs")],
    store: StoreOption = None,
) -> None:
    """Copy finished runs into a store; runs that it already has are left alone."""
    url = _required(store)
    codes = []
    for run in runs:
        attempt = storing.try_push(run, url)
        codes.append(attempt.exit_code)
        if attempt.error:
            note(f"gfbench: {attempt.error}")
            continue
        if attempt.already:
            note(f"{run}: already in the store")
        print(attempt.place)
    exit_with(gravest(codes))


@app.command(epilog="Example: gfbench pull 20261122-190000-abc123 --store s3://lab/gfbench")
def pull(
    run_id: Annotated[str, typer.Argument(metavar="RUN-ID", help="a run's id")],
    store: StoreOption = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="folder in which to create the run's own")
    ] = RESULTS,
) -> None:
    """Copy a run out of a store, checking every file against the run's manifest."""
    url = _required(store)
    with storing.store_errors():
        from reports import store as stores

        print(stores.pull(run_id, url, output))


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
    with storing.store_errors():
        from reports import query as queries

        summaries = _read(store, results or [RESULTS])
        try:
            answer = queries.query(sql, summaries)
        except queries.QueryProblem as problem:
            raise UsageError(str(problem)) from None
        if as_json:
            sys.stdout.write(queries.to_json(answer))
        elif as_csv or not sys.stdout.isatty():
            sys.stdout.write(queries.to_csv(answer, "," if as_csv else "\t"))
        else:
            _print(answer)


@store_app.command(epilog="Example: gfbench store compact --store s3://lab/gfbench")
def compact(store: StoreOption = None) -> None:
    """Combine the figures of all runs, for quicker queries; safe at any time."""
    url = _required(store)
    with storing.store_errors():
        from reports import store as stores

        done = stores.compact(url)
    for remark in done.notes:
        note(remark)
    print(f"{done.runs} runs from {done.files} files")


def _read(store: str | None, folders: list[Path]) -> Summaries:
    """Return the figures to ask; remarks on what was left out go to stderr."""
    from reports import query as queries
    from reports import store_cache

    if store is None:
        summaries, notes = queries.folder_summaries(folders)
    else:
        loaded = store_cache.load(store)
        summaries, notes = loaded.summaries, loaded.notes
        if not summaries.runs:
            note(f"{storing.shown(store)} has no runs yet — use `gfbench push RUN --store ...`")
    for remark in notes:
        note(remark)
    return summaries


def _print(answer: Answer) -> None:
    from reports.query import as_text

    shown = Table(box=None, header_style="bold")
    for name in answer.columns:
        shown.add_column(Text(name))
    for row in as_text(answer):
        shown.add_row(*(Text(cell) for cell in row))
    Console().print(shown)


def _required(store: str | None) -> str:
    if store is None:
        raise UsageError("no store given — use --store file:///DIR or --store s3://BUCKET/DIR")
    return store
