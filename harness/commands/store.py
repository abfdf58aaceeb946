"""``gfbench store``: look after a store of results."""

from __future__ import annotations

import typer

from harness.commands.options import StoreOption, note, required

app = typer.Typer()
store_app = typer.Typer(no_args_is_help=True, help="Maintain a store of results.")
app.add_typer(store_app, name="store")


@store_app.command(epilog="Example: gfbench store compact --store s3://lab/gfbench")
def compact(store: StoreOption = None) -> None:
    """Combine the figures of all runs, for quicker queries; safe at any time."""
    url = required(store)
    from reports.store import store as stores

    done = stores.compact(url)
    for remark in done.notes:
        note(remark)
    print(f"{done.runs} runs from {done.files} files")
