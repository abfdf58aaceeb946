"""``gfbench publish``: build the dashboard over all runs as a static site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import note
from harness.errors import UsageError
from reports.stats.change_points import MIN_MAGNITUDE

app = typer.Typer()


@app.command(epilog="Example: gfbench publish results --site public")
def publish(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RESULTS...", help="runs, or folders of runs")
    ] = None,
    site: Annotated[Path, typer.Option(help="folder of the site; updated if it is there")] = Path(
        "public"
    ),
    base_url: Annotated[str, typer.Option(help="where it will be, for feed and badges")] = "",
    store: Annotated[str | None, typer.Option(help="also the runs of this store: URL")] = None,
    reports: Annotated[
        int, typer.Option(min=0, help="so many of the newest runs get their whole report")
    ] = 50,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="changes of less do not count: 0.01 is 1 %")
    ] = MIN_MAGNITUDE,
    cache: Annotated[
        Path | None, typer.Option(help="folder that keeps summaries [~/.cache/gfbench]")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="folder that keeps the site's memory [SITE/.gfbench]")
    ] = None,
) -> None:
    """Build the dashboard over all runs as a static site, or bring it up to date."""
    from reports.site import build, sources  # Jinja, NumPy and all: not for every command

    if not runs and store is None:
        raise UsageError("nothing to publish — name folders of results, or --store URL")
    found: list[build.Runs] = []
    if runs:
        found.append(sources.FolderRuns(runs, cache or sources.cache_home()))
    if store is not None:
        found.append(sources.StoreRuns(store))
    floors, notes = sources.floors_in(runs or [])
    options = build.Options(
        base_url=base_url, reports=reports, margin=margin, floors=floors, state=state
    )
    built = build.build(site, found, options)
    for line in [*notes, *built.notes]:
        note(line)
    note(
        f"{built.runs} runs, {built.new} of them new; "
        f"{built.files} files, {built.written} written, {built.removed} removed"
    )
    print(site / "index.html")
