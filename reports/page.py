"""The report: one self-contained HTML file, rendered from result folders alone.

Whatever a board wrote reaches the page as text: Jinja escapes it, figures and their labels are
data with ``<`` escaped, and the page's policy lets nothing run but our two scripts and lets
nothing be fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import wording
from reports.chart_style import Chart, Colours, Subject, colours_of, colours_of_targets, label_of
from reports.charts import latency_chart, memory_charts
from reports.charts_of_blocks import drift_chart, rounds_chart, spread_chart, warmup_chart
from reports.charts_of_energy import energy_chart, parts_chart
from reports.charts_of_fidelity import depth_chart, fidelity_charts, pareto_chart
from reports.charts_of_floors import floor_chart, roofline_chart
from reports.charts_of_kernels import kernels_chart
from reports.charts_of_power import power_chart, profile_chart
from reports.charts_of_rails import rails_chart
from reports.charts_of_ratios import speedup_chart, targets_chart
from reports.charts_of_verdicts import verdicts_chart
from reports.charts_over_time import machine_chart
from reports.generator import generator
from reports.headline import Headline
from reports.page_assets import INLINE, TEMPLATES, assets_at, shared_files
from reports.page_commands import command_of
from reports.page_data import page_data
from reports.page_gate import Gates, gates_of, verdict_matrix, verdict_problems
from reports.page_matrix import significance_matrix
from reports.page_parts import (
    Story,
    facts_of,
    notes_of,
    problems_of,
    run_facts_of,
    stories_of,
    subjects_of,
)
from reports.page_tables import plain_tables
from reports.power_facts import power_stories_of
from reports.records import Run

__all__ = ["charts_of", "render", "shared_files"]

SECTIONS = (
    ("speed", "Speed", "How fast", ("verdicts-forest", "targets", "speedup", "kernels", "latency")),
    (
        "cost",
        "Fidelity",
        "What it costs in fidelity",
        ("pareto", "fidelity-gx", "fidelity-gw", "depth"),
    ),
    ("memory", "Memory", "Memory by method", ("saved", "peak-rss", "cuda-peak", "system-dip")),
    (
        "joules",
        "Energy",
        "Energy and power",
        ("energy", "energy-parts", "energy-rails", "profile", "power"),
    ),
    ("floors", "Roofline", "How close to the machine's limits", ("floor", "roofline")),
    (
        "trust",
        "Can it be believed?",
        "Can it be believed?",
        ("drift", "rounds", "machine", "spread", "warmup"),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Charts that answer one question."""

    id: str
    short: str
    title: str
    charts: tuple[Chart, ...]


def render(runs: Sequence[Run], *, assets: str = INLINE, home: str = "") -> str:
    """Return the report of one run, or of several side by side, as one HTML document.

    Args:
        runs: what to show.
        assets: ``inline`` for a page that needs no other file, else the URL, relative to the
            page, of the folder that holds ``shared_files()``.
        home: where the page's brand leads, the start page of a site.

    Raises:
        ValueError: no runs.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    subjects = subjects_of(runs)
    colours = colours_of(subjects)
    stories = stories_of(subjects)
    gates, doubts = gates_of(runs)
    charts = charts_of(subjects, stories, gates)
    decided = significance_matrix(subjects, colours)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            runs=runs,
            commands=[command_of(run) for run in runs],
            run_facts=[run_facts_of(run) for run in runs],
            stories=stories,
            marks=colours_of_targets(subject.label for subject in subjects),
            colours={label_of(m): colour for m, colour in colours.items()},
            matrices=[
                m for m in (verdict_matrix(subjects, gates, colours), decided) if m is not None
            ],
            sections=_sections(charts),
            tables=plain_tables(subjects, charts),
            figures=_inlined({chart.id: [p.figure for p in chart.panels] for chart in charts}),
            powers=power_stories_of(subjects),
            notes=(*notes_of(runs, subjects), *doubts),
            problems=(*verdict_problems(subjects, gates), *problems_of(subjects)),
            subjects=subjects,
            facts=facts_of(subjects),
            data=_inlined(page_data(subjects, charts, colours)),
            assets=assets_at(assets),
            generator=generator(),
            home=home,
        )
    )


def charts_of(
    subjects: Sequence[Subject], stories: Sequence[Story] = (), gates: Gates | None = None
) -> tuple[Chart, ...]:
    """Return all charts that have something to show, in reading order."""
    colours = colours_of(subjects)
    measured = [s for s in subjects if any(row.value is not None for row in s.rows)]
    if not measured:
        return ()
    found = {story.subject.label: story.headlines for story in stories or stories_of(subjects)}
    charts = {chart.id: chart for chart in _drawn(measured, colours, found, gates or {}) if chart}
    return tuple(charts[name] for *_, names in SECTIONS for name in names if name in charts)


def _drawn(
    measured: Sequence[Subject],
    colours: Colours,
    found: Mapping[str, Sequence[Headline]],
    gates: Gates,
) -> Iterator[Chart | None]:
    yield verdicts_chart(measured, gates)
    yield targets_chart(measured, colours, found)
    yield speedup_chart(measured, colours, found)
    yield kernels_chart(measured, colours)
    yield floor_chart(measured, colours)
    yield roofline_chart(measured, colours)
    yield latency_chart(measured, colours)
    yield from memory_charts(measured, colours)
    yield energy_chart(measured, colours)
    yield parts_chart(measured)
    yield rails_chart(measured, colours)
    yield profile_chart(measured, colours)
    yield power_chart(measured, colours)
    yield pareto_chart(measured, colours, found)
    yield from fidelity_charts(measured, colours, found)
    yield depth_chart(measured, colours)
    yield drift_chart(measured, colours)
    yield rounds_chart(measured, colours)
    yield spread_chart(measured, colours)
    yield warmup_chart(measured, colours)
    yield machine_chart(measured)


def _sections(charts: Sequence[Chart]) -> tuple[Section, ...]:
    known = {chart.id: chart for chart in charts}
    found = (
        Section(
            id=name,
            short=short,
            title=title,
            charts=tuple(known[one] for one in names if one in known),
        )
        for name, short, title, names in SECTIONS
    )
    return tuple(section for section in found if section.charts)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        quantity=wording.quantity,
        times=wording.times,
        percent=wording.percent,
        significant=wording.significant,
        method=lambda item: wording.method_label(item.method, item.patch_size, item.kernel),
    )
    environment.globals["interval"] = wording.interval
    return environment


def _inlined(value: object) -> Markup:
    """Return JSON that no HTML parser can take for markup."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
