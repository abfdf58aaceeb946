"""The report: one self-contained HTML file, rendered from result folders alone.

Whatever a board wrote reaches the page as text: Jinja escapes it, figures and their labels are
data with ``<`` escaped, and the page's policy lets nothing run but our two scripts and lets
nothing be fetched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.charts import charts_of, context_of, sections_of
from reports.charts.style import colours_of_targets
from reports.gate.recorded import gates_of
from reports.metrics.headlines import stories_of
from reports.metrics.over_workloads import CAPTION
from reports.metrics.subjects import label_of, subjects_of
from reports.page.assets import INLINE, TEMPLATES, assets_at
from reports.page.commands import command_of
from reports.page.data import page_data
from reports.page.facts import facts_of, run_facts_of
from reports.page.generator import generator
from reports.page.matrix import significance_matrix
from reports.page.notes import notes_of
from reports.page.power import power_stories_of
from reports.page.problems import problems_of
from reports.page.tables import plain_tables
from reports.page.verdicts import verdict_matrix, verdict_problems
from reports.results.read import load_run
from reports.results.records import Run
from reports.results.write import write_bytes_atomic
from reports.text import wording


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
    stories = stories_of(subjects)
    gates, doubts = gates_of(runs)
    context = context_of(subjects, stories, gates)
    charts, colours = charts_of(context), context.colours
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
            sections=sections_of(charts),
            tables=plain_tables(subjects, charts),
            figures=_inlined(
                {name: [p.figure for p in chart.panels] for name, chart in charts.items()}
            ),
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
    environment.globals["over_workloads"] = CAPTION
    return environment


def _inlined(value: object) -> Markup:
    """Return JSON that no HTML parser can take for markup."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def write_report(folders: Sequence[Path], path: Path) -> Path:
    """Render the HTML of one run or several into ``path``."""
    html = render([load_run(folder) for folder in folders])
    write_bytes_atomic(path, html.encode())
    return path
