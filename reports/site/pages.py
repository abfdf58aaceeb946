"""The pages of a site, except those of single runs: which there are, and the data of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from reports.page.generator import renderer_sha256
from reports.site import feed
from reports.site.archive import KernelVersion, RunFacts, Series
from reports.site.history_data import history_data
from reports.site.machines import kernel_use, machine_facts, states_of
from reports.site.names import slug, target_colour
from reports.site.run_data import dumped
from reports.site.templates import render
from reports.site.trends import History, LevelChange, hash_of
from reports.site.views import Event, Fleet, MethodSummary, history_href
from reports.text.wording import percent, times

NEWEST_RUNS = 200
RUNS_OF_TARGET = 40


@dataclass(frozen=True, kw_only=True)
class SitePage:
    """One file of the site; if it has ``made_from``, it is only rendered when that changes."""

    name: str
    text: Callable[[], str]
    made_from: str = ""


@dataclass(frozen=True, kw_only=True)
class TargetFacts:
    """The facts of one target on the start page."""

    name: str
    platform: str
    model: str
    runs: int
    last: str
    best: MethodSummary | None
    reason: str
    worse: int
    worse_since: str


@dataclass(frozen=True, kw_only=True)
class ListItem:
    """One entry of a list of pages."""

    name: str
    href: str
    about: str
    colour: str = ""


def sections(fleet: Fleet, base_url: str) -> Iterator[SitePage]:
    """Yield every page of the site that is not a run's."""
    names = sorted({series.target for series in fleet.lines})
    targets = tuple(_target_facts(fleet, name) for name in names)
    yield SitePage(name="index.html", text=partial(_index, fleet, targets))
    yield from _target_pages(fleet, targets)
    yield from _workload_pages(fleet)
    yield from _kernel_pages(fleet)
    yield from _history_pages(fleet)
    yield from _runs_pages(fleet)
    yield _plain("changes/index.html", "changes.html.j2", "changes", fleet=fleet)
    yield from _badges(fleet, base_url)
    yield SitePage(name="feed.xml", text=partial(feed.atom, fleet.events, fleet.runs, base_url))


def _plain(path: str, template: str, here: str, /, **facts: object) -> SitePage:
    return SitePage(name=path, text=partial(render, template, path=path, here=here, **facts))


def _target_facts(fleet: Fleet, name: str) -> TargetFacts:
    machine = fleet.machine_now(name)
    environment = json.loads(machine.environment or "{}") if machine else {}
    runs = [run for run in fleet.runs if name in run.targets]
    usable = [s for s in fleet.standings if s.target == name and s.step and s.cosine is not None]
    any_speed = [s for s in fleet.standings if s.target == name and s.step]
    worse = _still_worse(fleet, name)
    return TargetFacts(
        name=name,
        platform=machine.platform if machine else "",
        model=str(environment.get("model") or ""),
        runs=len(runs),
        last=max((run.started_at for run in runs), default=""),
        best=next(iter(usable or any_speed), None),
        reason=_reason(fleet, name),
        worse=len(worse),
        worse_since=max((fleet.runs[change.run].started_at for change in worse), default=""),
    )


def _still_worse(fleet: Fleet, target: str) -> list[LevelChange]:
    """Return the changes for the worse that are the latest in their history and machine state."""
    last: dict[Series, LevelChange] = {}
    for event in fleet.events:  # the newest first
        for change in event.changes if event.target == target else ():
            last.setdefault(change.series, change)
    return [c for c in last.values() if c.worse and c.machine == fleet.lines[c.series].machine[-1]]


def _reason(fleet: Fleet, target: str) -> str:
    """Return the reason why a target has no speedup."""
    cells = (entry.cells[0] for entry in fleet.entries if entry.case[0] == target)
    reasons = (cell.reason for cell in cells if cell.value is None and cell.reason)
    return next(reasons, "no method was compared with exact")[:120]


def _index(fleet: Fleet, targets: Sequence[TargetFacts]) -> str:
    savings = [standing for standing in fleet.standings if standing.energy is not None]
    return render(
        "index.html.j2",
        path="index.html",
        here="index",
        fleet=fleet,
        targets=targets,
        headline=headline(fleet),
        savings=sorted(savings, key=lambda s: s.energy or 0.0),
    )


def headline(fleet: Fleet) -> str:
    """Return the best result in one sentence; speedups without a known fidelity do not count."""
    known = [s for s in fleet.standings if s.step is not None and s.cosine is not None]
    if not known:
        return "Exact against filtered training, on your fleet"
    best = known[0]
    of_network = f" of {best.network}" if best.network else ""
    words = (
        f"{best.label} runs a training step{of_network} {times(best.step)} as fast as exact "
        f"on {best.target}"
    )
    energy = f", using {percent(best.energy)} of the energy" if best.energy is not None else ""
    return f"{words}{energy}, at a gradient cosine of {best.cosine:.2f}"


def _target_pages(fleet: Fleet, targets: Sequence[TargetFacts]) -> Iterator[SitePage]:
    items = [
        ListItem(
            name=target.name,
            href=f"{slug(target.name)}/index.html",
            about=f"{target.model or target.platform} · {target.runs} runs",
            colour=target_colour(target.name),
        )
        for target in targets
    ]
    yield _list("targets", "Targets", f"{len(items)} machines", items)
    for target in targets:
        yield _plain(
            f"targets/{slug(target.name)}/index.html",
            "target.html.j2",
            "targets",
            fleet=fleet,
            target=target,
            entries=[entry for entry in fleet.entries if entry.case[0] == target.name],
            events=[event for event in fleet.events if event.target == target.name],
            facts=machine_facts(fleet.machine_now(target.name)),
            states=states_of(fleet, target.name),
            runs=[n for n in fleet.newest_first if target.name in fleet.runs[n].targets][
                :RUNS_OF_TARGET
            ],
        )


def _list(folder: str, heading: str, lead: str, items: Sequence[ListItem]) -> SitePage:
    name = f"{folder}/index.html"
    return _plain(name, "list.html.j2", folder, heading=heading, lead=lead, items=items)


def _workload_pages(fleet: Fleet) -> Iterator[SitePage]:
    items = []
    for name in sorted({series.workload for series in fleet.lines}):
        entries = [entry for entry in fleet.entries if entry.case[1] == name]
        targets = sorted({entry.case[0] for entry in entries})
        items.append(ListItem(name=name, href=f"{slug(name)}/index.html", about=_some(targets)))
        yield _plain(
            f"workloads/{slug(name)}/index.html",
            "workload.html.j2",
            "workloads",
            fleet=fleet,
            name=name,
            kind="workload",
            lead=f"measured on {_some(targets)}",
            question="Every target, every method",
            dims=["target", "method", "kernel"],
            versions=[],
            entries=entries,
        )
    yield _list("workloads", "Workloads", f"{len(items)} layers and networks", items)


def _kernel_pages(fleet: Fleet) -> Iterator[SitePage]:
    kernels: dict[str, list[KernelVersion]] = {}
    for kernel in fleet.archive.kernels.all:
        kernels.setdefault(kernel.name, []).append(kernel)
    used = kernel_use(fleet)
    items = []
    for name, versions in sorted(kernels.items()):
        rows = [used[version] for version in versions if version in used]
        rows.sort(key=lambda row: fleet.runs[row.first].started_at, reverse=True)
        about = f"{len(rows)} version{'s' if len(rows) != 1 else ''}"
        items.append(ListItem(name=name, href=f"{slug(name)}/index.html", about=about))
        yield _plain(
            f"kernels/{slug(name)}/index.html",
            "workload.html.j2",
            "kernels",
            fleet=fleet,
            name=name,
            kind="kernel",
            lead=f"{about}; every change of its source is marked in the histories",
            question="Every target and workload with this kernel",
            dims=["target", "workload", "method"],
            versions=rows,
            entries=[entry for entry in fleet.entries if entry.case[4] == name],
        )
    yield _list("kernels", "Kernels", "implementations of the methods", items)


def _history_pages(fleet: Fleet) -> Iterator[SitePage]:
    groups: dict[tuple[str, str], list[History]] = {}
    for series, line in fleet.lines.items():
        groups.setdefault((series.target, series.workload), []).append(line)
    items = []
    for (target, workload), lines in sorted(groups.items()):
        runs = len({run for line in lines for run in line.run.tolist()})
        href = history_href(target, workload)
        items.append(
            ListItem(
                name=f"{target} · {workload}",
                href=href.removeprefix("history/"),
                about=f"{runs} runs",
                colour=target_colour(target),
            )
        )
        known = [_event_key(event) for event in fleet.events if event.target == target]
        watched = [_change_key(c) for c in fleet.watched if c.series.target == target]
        around = json.dumps([known, watched, list(map(list, fleet.colours.items()))])
        yield SitePage(
            name=href,
            text=partial(_history, fleet, target, workload, lines),
            made_from=hash_of(lines, renderer_sha256(), around),
        )
    yield _list("history", "History", "each workload on each target over time", items)


def _event_key(event: Event) -> list[object]:
    return [event.run, [_change_key(change) for change in event.changes]]


def _change_key(change: LevelChange) -> list[object]:
    return [list(change.series), change.run, change.ratio]


def _history(fleet: Fleet, target: str, workload: str, lines: Sequence[History]) -> str:
    data = history_data(fleet, lines)
    return render(
        "history.html.j2",
        path=history_href(target, workload),
        here="history",
        target=target,
        workload=workload,
        marks=data["marks"],
        data=Markup(dumped(data)),
    )


def _runs_pages(fleet: Fleet) -> Iterator[SitePage]:
    months: dict[str, list[RunFacts]] = {}
    for number in fleet.newest_first:
        run = fleet.runs[number]
        months.setdefault(_month(run), []).append(run)
    newest = [fleet.runs[number] for number in fleet.newest_first[:NEWEST_RUNS]]
    yield _plain(
        "runs/index.html",
        "runs.html.j2",
        "runs",
        fleet=fleet,
        heading="Runs",
        lead=f"{len(fleet.runs)} runs",
        title=f"The newest {len(newest)}",
        months=[(month, len(runs)) for month, runs in months.items()],
        shown=newest,
    )
    for month, runs in months.items():
        yield _plain(
            f"runs/{month}.html",
            "runs.html.j2",
            "runs",
            fleet=fleet,
            heading=f"Runs of {month}",
            lead=f"{len(runs)} runs",
            title=month,
            months=[],
            shown=runs,
        )


def _month(run: RunFacts) -> str:
    month = run.started_at[:7]
    digits = month.replace("-", "", 1)
    return month if len(month) == 7 and digits.isascii() and digits.isdigit() else "undated"


@dataclass(frozen=True, kw_only=True)
class Badge:
    """A badge, and the Markdown that shows it."""

    name: str
    alt: str
    markdown: str


def _badges(fleet: Fleet, base_url: str) -> Iterator[SitePage]:
    badges = []
    base = base_url.rstrip("/") or "https://YOUR-SITE"
    for standing in sorted(fleet.standings, key=lambda s: (s.target, s.label_and_network)):
        method = standing.label_and_network
        name = feed.badge_name(standing.target, f"{method} {standing.setting}")
        label = f"{method} on {standing.target}"
        message, kind = feed.speedup_message(standing.step, standing.cosine)
        svg, shields = feed.badge(label, message, kind)
        yield SitePage(name=f"badges/{name}.svg", text=partial(str, svg))
        yield SitePage(name=f"badges/{name}.json", text=partial(str, shields))
        alt = f"{label}: {message}".replace("[", "(").replace("]", ")")
        target = f"{base}/targets/{slug(standing.target)}/index.html"
        markdown = f"[![{alt}]({base}/badges/{name}.svg)]({target})"
        badges.append(Badge(name=name, alt=alt, markdown=markdown))
    yield _plain("badges/index.html", "badges.html.j2", "badges", badges=badges)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"
