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
        list[Path] | None,
        typer.Argument(metavar="RESULTS...", help="folders of runs, or of many runs"),
    ] = None,
    site: Annotated[Path, typer.Option(help="folder of the site; updated if it exists")] = Path(
        "public"
    ),
    base_url: Annotated[str, typer.Option(help="the site's address, for its feed and badges")] = "",
    store: Annotated[str | None, typer.Option(help="publish this store's runs too: URL")] = None,
    reports: Annotated[
        int, typer.Option(min=0, help="how many of the newest runs get their full report")
    ] = 50,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="ignore smaller changes: 0.01 is 1 %")
    ] = MIN_MAGNITUDE,
    cache: Annotated[
        Path | None, typer.Option(help="folder that caches summaries of runs [~/.cache/gfbench]")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="folder of the site's state between builds [SITE/.gfbench]")
    ] = None,
) -> None:
    """Build the dashboard over all runs as a static site, or bring it up to date."""
    from reports.site import build, sources  # Jinja, NumPy and all: not for every command

    if not runs and store is None:
        raise UsageError("nothing to publish — give folders of results, or --store URL")
    runs_from: list[build.Runs] = []
    if runs:
        runs_from.append(sources.FolderRuns(runs, cache or sources.cache_home()))
    if store is not None:
        runs_from.append(sources.StoreRuns(store))
    floors, notes = sources.floors_in(runs or [])
    options = build.Options(
        base_url=base_url, reports=reports, margin=margin, floors=floors, state=state
    )
    built = build.build(site, runs_from, options)
    for line in [*notes, *built.notes]:
        note(line)
    note(
        f"{built.runs} runs, {built.new} of them new; "
        f"{built.files} files, {built.written} written, {built.removed} removed"
    )
    print(site / "index.html")
