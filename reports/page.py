"""The report: one self-contained HTML file, rendered from result folders alone.

Whatever a board wrote reaches the page as text: Jinja escapes it, figures and their labels are
data with ``<`` escaped, and the page's policy lets nothing run but our two scripts and lets
nothing be fetched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import wording
from reports.chart_style import Chart, Subject, colours_of, label_of
from reports.charts import (
    fidelity_charts,
    latency_chart,
    memory_charts,
    speedup_chart,
)
from reports.charts_of_blocks import drift_chart, rounds_chart, spread_chart, warmup_chart
from reports.charts_of_energy import energy_chart, parts_chart, rails_chart
from reports.charts_of_floors import floor_chart, roofline_chart
from reports.charts_of_kernels import kernels_chart
from reports.charts_of_power import power_chart, profile_chart
from reports.charts_over_time import machine_chart
from reports.generator import generator
from reports.page_assets import INLINE, TEMPLATES, assets_at, shared_files
from reports.page_data import page_data
from reports.page_parts import (
    command_of,
    facts_of,
    notes_of,
    problems_of,
    run_facts_of,
    stories_of,
    subjects_of,
)
from reports.power_facts import power_stories_of
from reports.records import Run

__all__ = ["charts_of", "render", "shared_files"]


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
    charts = charts_of(subjects)
    template = _environment().get_template("report.html.j2")
    return template.render(
        runs=runs,
        commands=[command_of(run) for run in runs],
        run_facts=[run_facts_of(run) for run in runs],
        stories=stories_of(subjects),
        colours={label_of(m): colour for m, colour in colours.items()},
        charts=charts,
        figures=_inlined({chart.id: [p.figure for p in chart.panels] for chart in charts}),
        powers=power_stories_of(subjects),
        notes=notes_of(runs, subjects),
        problems=problems_of(subjects),
        subjects=subjects,
        facts=facts_of(subjects),
        data=_inlined(page_data(subjects, charts, colours)),
        assets=assets_at(assets),
        generator=generator(),
        home=home,
    )


def charts_of(subjects: Sequence[Subject]) -> tuple[Chart, ...]:
    """Return all charts that have something to show, in reading order."""
    colours = colours_of(subjects)
    measured = [s for s in subjects if any(row.value is not None for row in s.rows)]
    if not measured:
        return ()
    charts = (
        speedup_chart(measured, colours),
        kernels_chart(measured, colours),
        floor_chart(measured, colours),
        roofline_chart(measured, colours),
        latency_chart(measured, colours),
        *memory_charts(measured, colours),
        energy_chart(measured, colours),
        parts_chart(measured),
        rails_chart(measured, colours),
        profile_chart(measured, colours),
        power_chart(measured, colours),
        *fidelity_charts(measured, colours),
        drift_chart(measured, colours),
        rounds_chart(measured, colours),
        spread_chart(measured, colours),
        warmup_chart(measured, colours),
        machine_chart(measured),
    )
    return tuple(chart for chart in charts if chart is not None)


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
