"""The charts of the page: which there are, and in which section each stands. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports.charts.blocks import drift_chart, rounds_chart, spread_chart, warmup_chart
from reports.charts.energy import energy_chart, parts_chart
from reports.charts.fidelity import depth_chart, fidelity_charts, pareto_chart
from reports.charts.forest import speedup_chart, targets_chart
from reports.charts.kernels import kernels_chart
from reports.charts.latency_memory import latency_chart, memory_charts
from reports.charts.machine import machine_chart
from reports.charts.power import power_chart, profile_chart
from reports.charts.rails import rails_chart
from reports.charts.roofline import floor_chart, roofline_chart
from reports.charts.style import Chart, Colours, colours_of
from reports.charts.verdicts import verdicts_chart
from reports.gate.recorded import Gates
from reports.metrics.headlines import Headline, Story, stories_of
from reports.metrics.subjects import Subject

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
    ("floors", "Roofline", "How near to the machine's limits", ("floor", "roofline")),
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


def sections(charts: Sequence[Chart]) -> tuple[Section, ...]:
    """Return the sections of the page that have charts, in order."""
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
