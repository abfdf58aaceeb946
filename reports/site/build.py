"""Builds a site: adds what is new to the archive, judges the histories, writes what has changed."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from markupsafe import Markup

from reports import page, results
from reports.generator import renderer_sha256
from reports.history import MARGIN
from reports.reading import ResultProblem, load_run
from reports.site import trends
from reports.site.archive import Archive, Series
from reports.site.files import SiteFiles
from reports.site.names import slug
from reports.site.packed import Json, dumped
from reports.site.pages import asset_files, look, render
from reports.site.sections import sections
from reports.site.trends import Change, Line, Trend
from reports.site.views import Fleet, events_of

STATE_FOLDER = ".gfbench"
KEPT_TRENDS = "trends.json"
REPORTS = 50
PAGE_DATA = re.compile(r'<script type="application/json" id="page-data">(.*?)</script>', re.S)

Group = tuple[str, str]  # target, workload


class Runs(Protocol):
    """Where runs come from."""

    notes: list[str]

    @property
    def digests(self) -> Collection[str]:
        """What stands for the content of each run."""

    def folder(self, digest: str) -> Path | None:
        """Return where a run's own files are, None if they are not at hand."""

    def summaries(self, wanted: Collection[str]) -> Iterator[Json]:
        """Yield the summaries of the wanted runs."""


@dataclass(kw_only=True)
class Built:
    """What a build did."""

    runs: int = 0
    new: int = 0
    files: int = 0
    written: int = 0
    removed: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a site is built: where it will be, how many whole reports, what change matters.

    ``floors`` are noise floors by target, metric and phase; the larger of floor and margin counts.
    """

    base_url: str = ""
    reports: int = REPORTS
    margin: float = MARGIN
    floors: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    state: Path | None = None


def build(site: Path, sources: Sequence[Runs], options: Options) -> Built:
    """Build or update a site; runs that were in it before stay.

    Raises:
        ResultStorageProblem: it cannot be written.
    """
    state = options.state or site / STATE_FOLDER
    files, archive, built = SiteFiles(site, state), Archive.load(state), Built()
    _assets(files)
    pages = _RunPages(files=files, reported=_newest(sources, options.reports), notes=built.notes)
    old = [run.digest for run in archive.runs]
    _add_new(archive, pages, sources, built)
    _keep_old(archive, pages, sources, set(old))
    fleet = _judged(archive, state, options)
    for one in sections(fleet, options.base_url):
        if not (one.made_from and files.keep(one.name, one.made_from)):
            files.write(one.name, one.text(), one.made_from)
    if built.new:
        archive.save(state)
    built.removed = files.finish()
    built.runs, built.files, built.written = len(archive.runs), files.count, files.written
    built.notes += [note for source in sources for note in source.notes]
    return built


def _assets(files: SiteFiles) -> None:
    """Write the shared files; those that older reports use stay."""
    files.keep_all("assets/")
    for name, text in asset_files().items():
        files.write(f"assets/{name}", text)


def _newest(sources: Sequence[Runs], number: int) -> dict[str, Path]:
    """Return the folders of the newest runs at hand, by digest; run ids begin with their time."""
    found = [(f, d) for source in sources for d in source.digests if (f := source.folder(d))]
    found.sort(key=lambda one: one[0].name, reverse=True)
    return {digest: folder for folder, digest in found[:number]}


def _add_new(archive: Archive, pages: _RunPages, sources: Sequence[Runs], built: Built) -> None:
    """Add the runs that the archive lacks and write their pages as they come."""
    known = {run.digest for run in archive.runs}
    for source in sources:
        for packed in source.summaries([one for one in source.digests if one not in known]):
            run_id, digest = packed["run"]["run_id"], packed["run"]["digest"]
            if archive.digest_of(run_id) is not None:
                built.notes.append(f"run {run_id}: replaces an older version of this run")
            archive.add(packed)
            known.add(digest)
            built.new += 1
            pages.write(packed)


def _keep_old(
    archive: Archive, pages: _RunPages, sources: Sequence[Runs], old: Collection[str]
) -> None:
    """Keep the pages of the runs that were there before; render them anew if their look changed."""
    lost = []
    for run in archive.runs:
        if run.digest in old and not pages.keep(run.run_id, run.digest):
            lost.append(run.digest)
    for source in sources:
        for packed in source.summaries([one for one in source.digests if one in lost]):
            pages.write(packed)
            lost.remove(packed["run"]["digest"])
    if lost:
        pages.notes.append(
            f"{len(lost)} runs have lost their pages — name their folders too, to render them again"
        )


@dataclass(frozen=True, kw_only=True)
class _RunPages:
    """Writes the pages of runs: from summaries, with the whole report where it is wanted."""

    files: SiteFiles
    reported: Mapping[str, Path]
    notes: list[str]

    def write(self, packed: Json) -> None:
        """Write the page of a run."""
        run = packed["run"]
        report = self._report(run["run_id"], run["digest"])
        name = f"runs/{slug(run['run_id'])}/index.html"
        self.files.write(name, _run_html(run, dumped(packed), report), _made(run["digest"], report))

    def keep(self, run_id: str, digest: str) -> bool:
        """Keep the page of a run, made anew from its own data if need be; tell if it is there."""
        report = self._report(run_id, digest)
        name = f"runs/{slug(run_id)}/index.html"
        if self.files.keep(name, _made(digest, report)):
            return True
        with contextlib.suppress(OSError, ValueError, AttributeError, KeyError):
            found = PAGE_DATA.search((self.files.site / name).read_text())
            data = found[1] if found else ""
            run = json.loads(data)["run"]
            if run["digest"] == digest:
                html = _run_html(run, dumped(json.loads(data)), report)
                self.files.write(name, html, _made(digest, report))
                return True
        return False

    def _report(self, run_id: str, digest: str) -> bool:
        """Render the whole report, or keep the one that is there; tell whether there is one."""
        name = f"runs/{slug(run_id)}/report.html"
        before = self.files.made_from(name) or ""
        folder = self.reported.get(digest)
        if folder is None or before == f"{digest} {renderer_sha256()}":
            return before.startswith(digest) and self.files.keep(name, before)
        try:
            html = page.render([load_run(folder)], assets="../../assets", home="../../index.html")
        except (ResultProblem, ValueError) as problem:
            self.notes.append(f"no report of {run_id}: {problem}")
            return False
        self.files.write(name, html, f"{digest} {renderer_sha256()}")
        return True


def _made(digest: str, report: bool) -> str:
    return f"{digest} {look()} {'report' if report else ''}"


def _run_html(run: Mapping[str, str], data: str, report: bool) -> str:
    path = f"runs/{slug(run['run_id'])}/index.html"
    return render("run.html.j2", path=path, here="runs", run=run, data=Markup(data), report=report)


def _judged(archive: Archive, state: Path, options: Options) -> Fleet:
    """Return everything that pages are made of, with the trends of all histories."""
    lines = trends.lines_of(archive)
    found = _trends(lines, state / KEPT_TRENDS, options)
    changes: list[Change] = []
    for target in dict.fromkeys(series.target for series in lines):
        own = [series for series in lines if series.target == target]
        changes += trends.told([c for s in own for c in found[s].changes], len(own))
    return Fleet(
        archive=archive,
        lines=lines,
        trends=found,
        events=events_of([c for c in changes if c.told], archive.runs),
        watched=tuple(c for c in changes if not c.told and not c.settled),
    )


def _trends(lines: Mapping[Series, Line], path: Path, options: Options) -> dict[Series, Trend]:
    """Judge each history that has changed since the last build; the others are kept."""
    groups: dict[Group, list[Line]] = {}
    for series, line in lines.items():
        groups.setdefault((series.target, series.workload), []).append(line)
    before = _kept(path)
    after: dict[str, object] = {}
    found: dict[Series, Trend] = {}
    for members in groups.values():
        margins = [_margin(line.series, options) for line in members]
        digest = trends.hash_of(members, str(margins))
        known = before.get(digest)
        own = _restored(known) if known is not None else None
        if own is None:
            judged = zip(members, margins, strict=True)
            own = {line.series: trends.trend_of(line, margin) for line, margin in judged}
        after[digest] = known if known is not None else trends.to_json(own)
        found.update(own)
    text = json.dumps(after, allow_nan=False, separators=(",", ":"))
    path.parent.mkdir(parents=True, exist_ok=True)
    results.write_bytes_atomic(path, text.encode())
    return found


def _margin(series: Series, options: Options) -> float:
    floor = options.floors.get((series.target, series.metric, series.phase), 0.0)
    return max(options.margin, floor)


def _kept(path: Path) -> dict[str, list[object]]:
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _restored(known: list[object]) -> dict[Series, Trend] | None:
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return trends.from_json(known)
    return None
