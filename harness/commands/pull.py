"""``gfbench pull``: copy a run out of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import RESULTS, StoreOption, required

app = typer.Typer()


@app.command(epilog="Example: gfbench pull 20261122-190000-abc123 --store s3://lab/gfbench")
def pull(
    run_id: Annotated[str, typer.Argument(metavar="RUN-ID", help="a run's id")],
    store: StoreOption = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="folder in which to create the run's own")
    ] = RESULTS,
) -> None:
    """Copy a run out of a store, checking every file against the run's manifest."""
    url = required(store)
    from reports.store import store as stores

    print(stores.pull(run_id, url, output))
