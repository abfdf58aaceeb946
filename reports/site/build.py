"""Build of a site: add new runs to the archive, analyse the histories, write what has changed."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from markupsafe import Markup

from reports.page.generator import renderer_sha256
from reports.page.render import render as render_report
from reports.results.read import ResultError, load_run
from reports.results.write import write_bytes_atomic
from reports.site import trends
from reports.site.archive import Archive, Series
from reports.site.files import SiteFiles
from reports.site.names import slug
from reports.site.pages import sections
from reports.site.run_data import Json, dumped
from reports.site.templates import asset_files, look, render
from reports.site.trends import History, HistoryAnalysis
from reports.site.views import Fleet, events_of
from reports.stats.change_points import MIN_MAGNITUDE

STATE_FOLDER = ".gfbench"
KEPT_TRENDS = "trends.json"
REPORTS = 50
PAGE_DATA = re.compile(r'<script type="application/json" id="page-data">(.*?)</script>', re.S)

Group = tuple[str, str]  # target, workload


class Runs(Protocol):
    """A source of runs, such as folders or a store."""

    notes: list[str]

    @property
    def digests(self) -> Collection[str]:
        """The digest of each run's content."""

    def folder(self, digest: str) -> Path | None:
        """Return the folder of a run's files; None if the source has no files."""

    def summaries(self, wanted: Collection[str]) -> Iterator[Json]:
        """Yield the summaries of the wanted runs."""


@dataclass(kw_only=True)
class Built:
    """The result of a build: how many runs and files there are, and how many are new."""

    runs: int = 0
    new: int = 0
    files: int = 0
    written: int = 0
    removed: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a build.

    Attributes:
        base_url: where the site will be published, for the feed and badges.
        reports: the number of newest runs that get a full report.
        margin: the smallest change that counts, as a logarithm.
        floors: noise floors by target, metric and phase; the larger of floor and margin counts.
        state: the folder for the archive and other state; None for one in the site.
    """

    base_url: str = ""
    reports: int = REPORTS
    margin: float = MIN_MAGNITUDE
    floors: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    state: Path | None = None


def build(site: Path, sources: Sequence[Runs], options: Options) -> Built:
    """Build or update a site; it keeps runs that its sources do not have any more.

    Raises:
        StorageError: the site cannot be written.
    """
    state = options.state or site / STATE_FOLDER
    files, archive, built = SiteFiles(site, state), Archive.load(state), Built()
    _assets(files)
    pages = _RunPages(files=files, reported=_newest(sources, options.reports), notes=built.notes)
    old = [run.digest for run in archive.runs]
    _add_new(archive, pages, sources, built)
    _keep_old(archive, pages, sources, set(old))
    fleet = _judged(archive, state, options)
    for page in sections(fleet, options.base_url):
        if not (page.made_from and files.keep(page.name, page.made_from)):
            files.write(page.name, page.text(), page.made_from)
    if built.new:
        archive.save(state)
    built.removed = files.finish()
    built.runs, built.files, built.written = len(archive.runs), files.count, files.written
    built.notes += [note for source in sources for note in source.notes]
    return built


def _assets(files: SiteFiles) -> None:
    """Write the shared files; older ones stay, as older reports use them."""
    files.keep_all("assets/")
    for name, text in asset_files().items():
        files.write(f"assets/{name}", text)


def _newest(sources: Sequence[Runs], number: int) -> dict[str, Path]:
    """Return the folders of the newest runs by digest; run ids begin with their time."""
    folders = []
    for source in sources:
        for digest in source.digests:
            folder = source.folder(digest)
            if folder:
                folders.append((digest, folder))
    folders.sort(key=lambda entry: entry[1].name, reverse=True)
    return dict(folders[:number])


def _add_new(archive: Archive, pages: _RunPages, sources: Sequence[Runs], built: Built) -> None:
    """Add the runs that the archive lacks, and write their pages."""
    known = {run.digest for run in archive.runs}
    for source in sources:
        new = [digest for digest in source.digests if digest not in known]
        for packed in source.summaries(new):
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
    """Keep the pages of older runs; render them again if the templates have changed."""
    lost = []
    for run in archive.runs:
        if run.digest in old and not pages.keep(run.run_id, run.digest):
            lost.append(run.digest)
    for source in sources:
        for packed in source.summaries([digest for digest in source.digests if digest in lost]):
            pages.write(packed)
            lost.remove(packed["run"]["digest"])
    if lost:
        pages.notes.append(
            f"{len(lost)} runs have lost their pages — name their folders too, to render them again"
        )


@dataclass(frozen=True, kw_only=True)
class _RunPages:
    """Writes the pages of runs from their summaries, with a full report if it is ``reported``."""

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
        """Keep the page of a run, rendered again from its own data if necessary.

        Returns False if there is no such page.
        """
        report = self._report(run_id, digest)
        name = f"runs/{slug(run_id)}/index.html"
        if self.files.keep(name, _made(digest, report)):
            return True
        with contextlib.suppress(OSError, ValueError, AttributeError, KeyError):
            match = PAGE_DATA.search((self.files.site / name).read_text(encoding="utf-8"))
            data = match[1] if match else ""
            run = json.loads(data)["run"]
            if run["digest"] == digest:
                html = _run_html(run, dumped(json.loads(data)), report)
                self.files.write(name, html, _made(digest, report))
                return True
        return False

    def _report(self, run_id: str, digest: str) -> bool:
        """Render the full report or keep the existing one; say whether there is one."""
        name = f"runs/{slug(run_id)}/report.html"
        before = self.files.made_from(name) or ""
        folder = self.reported.get(digest)
        if folder is None or before == f"{digest} {renderer_sha256()}":
            return before.startswith(digest) and self.files.keep(name, before)
        try:
            html = render_report([load_run(folder)], assets="../../assets", home="../../index.html")
        except (ResultError, ValueError) as problem:
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
    """Return what the pages show, with the trends of all histories."""
    lines = trends.lines_of(archive)
    trend_of = _trends(lines, state / KEPT_TRENDS, options)
    series_of: dict[str, list[Series]] = {}
    for series in lines:
        series_of.setdefault(series.target, []).append(series)
    significant, watched = [], []
    for own in series_of.values():
        changes = [change for series in own for change in trend_of[series].changes]
        for change in trends.mark_significant(changes, len(own)):
            if change.significant:
                significant.append(change)
            elif not change.settled:
                watched.append(change)
    return Fleet(
        archive=archive,
        lines=lines,
        trends=trend_of,
        events=events_of(significant, archive.runs),
        watched=tuple(watched),
    )


def _trends(
    lines: Mapping[Series, History], path: Path, options: Options
) -> dict[Series, HistoryAnalysis]:
    """Analyse each history that has changed since the last build; the others' trends are kept."""
    groups: dict[Group, list[History]] = {}
    for series, line in lines.items():
        groups.setdefault((series.target, series.workload), []).append(line)
    before = _kept(path)
    after: dict[str, object] = {}
    trend_of: dict[Series, HistoryAnalysis] = {}
    for members in groups.values():
        margins = [_margin(line.series, options) for line in members]
        digest = trends.hash_of(members, str(margins))
        known = before.get(digest)
        own = _restored(known) if known is not None else None
        if own is None:
            own = {}
            for line, margin in zip(members, margins, strict=True):
                own[line.series] = trends.trend_of(line, margin)
            known = trends.to_json(own)
        after[digest] = known
        trend_of.update(own)
    text = json.dumps(after, allow_nan=False, separators=(",", ":"))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, text.encode())
    return trend_of


def _margin(series: Series, options: Options) -> float:
    floor = options.floors.get((series.target, series.metric, series.phase), 0.0)
    return max(options.margin, floor)


def _kept(path: Path) -> dict[str, list[object]]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _restored(known: list[object]) -> dict[Series, HistoryAnalysis] | None:
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return trends.from_json(known)
    return None
