"""The charts of the page, in reading order. Pure.

A chart is a function that draws it from a ``Context``, and a line in ``CHARTS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reports.charts import network_layers, networks
from reports.charts.blocks import drift_chart, rounds_chart, spread_chart, warmup_chart
from reports.charts.chart import Chart
from reports.charts.context import Context
from reports.charts.energy import energy_chart, parts_chart
from reports.charts.fidelity import depth_chart, input_chart, pareto_chart, weight_chart
from reports.charts.forest import speedup_chart, targets_chart
from reports.charts.kernels import kernels_chart
from reports.charts.latency import latency_chart
from reports.charts.machine import machine_chart
from reports.charts.memory import cuda_peak_chart, peak_rss_chart, saved_chart, system_dip_chart
from reports.charts.power import power_chart, profile_chart
from reports.charts.rails import rails_chart
from reports.charts.roofline import floor_chart, roofline_chart
from reports.charts.style import colours_of
from reports.charts.verdicts import verdicts_chart
from reports.gate.recorded import Gates
from reports.metrics.headlines import Story, stories_of
from reports.metrics.subjects import Subject


@dataclass(frozen=True, kw_only=True)
class Section:
    """A question that several charts answer; ``short`` is its name in the page's navigation."""

    id: str
    short: str
    title: str


SPEED = Section(id="speed", short="Speed", title="How fast")
NETWORKS = Section(id="networks", short="Networks", title="Whole networks")
LAYERS = Section(id="layers", short="Layer by layer", title="Networks, layer by layer")
FIDELITY = Section(id="cost", short="Fidelity", title="What it costs in fidelity")
MEMORY = Section(id="memory", short="Memory", title="Memory by method")
ENERGY = Section(id="joules", short="Energy", title="Energy and power")
ROOFLINE = Section(id="floors", short="Roofline", title="How close to the machine's limits")
TRUST = Section(id="trust", short="Can it be believed?", title="Can it be believed?")


@dataclass(frozen=True, kw_only=True)
class ChartEntry:
    """Where a chart stands in the page, and what draws it.

    ``id`` is the chart's anchor in the page. ``draw`` returns None where a run has nothing to show.
    """

    section: Section
    id: str
    draw: Callable[[Context], Chart | None]


CHARTS = (
    ChartEntry(section=NETWORKS, id="network-peak", draw=networks.peak_chart),
    ChartEntry(section=NETWORKS, id="network-saved", draw=networks.saved_chart),
    ChartEntry(section=NETWORKS, id="network-parts", draw=networks.parts_chart),
    ChartEntry(section=NETWORKS, id="network-boards", draw=networks.boards_chart),
    ChartEntry(section=LAYERS, id="layer-forward", draw=network_layers.forward_chart),
    ChartEntry(section=LAYERS, id="layer-backward", draw=network_layers.backward_chart),
    ChartEntry(section=LAYERS, id="layer-kept", draw=network_layers.kept_chart),
    ChartEntry(section=LAYERS, id="layer-keepers", draw=network_layers.keepers_chart),
    ChartEntry(section=LAYERS, id="layer-fidelity", draw=network_layers.fidelity_chart),
    ChartEntry(section=SPEED, id="verdicts-forest", draw=verdicts_chart),
    ChartEntry(section=SPEED, id="targets", draw=targets_chart),
    ChartEntry(section=SPEED, id="speedup", draw=speedup_chart),
    ChartEntry(section=SPEED, id="kernels", draw=kernels_chart),
    ChartEntry(section=SPEED, id="latency", draw=latency_chart),
    ChartEntry(section=FIDELITY, id="pareto", draw=pareto_chart),
    ChartEntry(section=FIDELITY, id="fidelity-gx", draw=input_chart),
    ChartEntry(section=FIDELITY, id="fidelity-gw", draw=weight_chart),
    ChartEntry(section=FIDELITY, id="depth", draw=depth_chart),
    ChartEntry(section=MEMORY, id="saved", draw=saved_chart),
    ChartEntry(section=MEMORY, id="peak-rss", draw=peak_rss_chart),
    ChartEntry(section=MEMORY, id="cuda-peak", draw=cuda_peak_chart),
    ChartEntry(section=MEMORY, id="system-dip", draw=system_dip_chart),
    ChartEntry(section=ENERGY, id="energy", draw=energy_chart),
    ChartEntry(section=ENERGY, id="energy-parts", draw=parts_chart),
    ChartEntry(section=ENERGY, id="energy-rails", draw=rails_chart),
    ChartEntry(section=ENERGY, id="profile", draw=profile_chart),
    ChartEntry(section=ENERGY, id="power", draw=power_chart),
    ChartEntry(section=ROOFLINE, id="floor", draw=floor_chart),
    ChartEntry(section=ROOFLINE, id="roofline", draw=roofline_chart),
    ChartEntry(section=TRUST, id="drift", draw=drift_chart),
    ChartEntry(section=TRUST, id="rounds", draw=rounds_chart),
    ChartEntry(section=TRUST, id="machine", draw=machine_chart),
    ChartEntry(section=TRUST, id="spread", draw=spread_chart),
    ChartEntry(section=TRUST, id="warmup", draw=warmup_chart),
)


def context_of(
    subjects: Sequence[Subject], stories: Sequence[Story] = (), gates: Gates | None = None
) -> Context:
    """Return what charts are drawn from; the subjects without any figure are left out."""
    measured = []
    for subject in subjects:
        if any(row.value is not None for row in subject.rows):
            measured.append(subject)
    headlines = {}
    for story in stories or stories_of(subjects):
        headlines[story.subject.label] = story.headlines
    return Context(
        subjects=tuple(measured),
        colours=colours_of(subjects),
        headlines=headlines,
        gates=gates or {},
    )


def charts_of(context: Context) -> dict[str, Chart]:
    """Return all charts that have something to show, by id, in reading order."""
    charts: dict[str, Chart] = {}
    if not context.subjects:
        return charts
    for entry in CHARTS:
        chart = entry.draw(context)
        if chart is not None:
            charts[entry.id] = chart
    return charts


def sections_of(charts: Mapping[str, Chart]) -> dict[Section, dict[str, Chart]]:
    """Return the charts of each section that has any, in reading order."""
    sections: dict[Section, dict[str, Chart]] = {}
    for entry in CHARTS:
        if entry.id in charts:
            sections.setdefault(entry.section, {})[entry.id] = charts[entry.id]
    return sections
