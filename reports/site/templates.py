"""Rendering of a site's pages: templates escape all names; in embedded data, ``<`` is escaped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.metrics import table
from reports.metrics.over_workloads import CAPTION
from reports.page.assets import PLOTLY, SHARED_POLICY, TEMPLATES, asset, shared_files
from reports.site.archive import Series
from reports.site.names import slug, target_colour
from reports.site.views import (
    Entry,
    MethodSummary,
    change_words,
    figure_columns,
    figure_name,
    history_href,
)
from reports.text import wording

SCRIPTS = ("numbers.js", "state.js", "charts.js", "history.js", "site.js")
SPARK = (120.0, 28.0)


@dataclass(frozen=True, kw_only=True)
class SiteAssets:
    """The content security policy and the drawing library, which all pages share."""

    policy: str
    plotly: str


@cache
def site_assets() -> SiteAssets:
    """Return the policy of the pages and the name of the drawing library."""
    stem = PLOTLY.rpartition("/")[2].removesuffix(".js")
    plotly = next(name for name in shared_files() if name.startswith(stem))
    return SiteAssets(policy=SHARED_POLICY, plotly=plotly)


def asset_files() -> dict[str, str]:
    """Return the shared files of a site: text by name."""
    labels = {metric.name: metric.label for metric in table.METRICS}
    words = json.dumps(
        {"prefixes": wording.PREFIXES, "symbols": wording.SYMBOLS, "metrics": labels}
    )
    parts = [f'"use strict";\nconst WORDING = {words};\n']
    parts += [str(asset(f"site/{name}")) for name in SCRIPTS]
    style = str(asset("site/site.css"))
    return {**shared_files(), "site.js": "\n".join(parts), "site.css": style}


@cache
def look() -> str:
    """Return a hash of all templates; pages made with other templates are rendered again."""
    digest = hashlib.sha256()
    for path in sorted((TEMPLATES / "site").glob("*.j2")):
        digest.update(path.read_bytes())
    digest.update(site_assets().plotly.encode())
    return digest.hexdigest()[:16]


def render(template: str, *, path: str, here: str = "", **facts: Any) -> str:
    """Return one page; ``path`` is its place in the site, ``here`` its entry in the navigation."""
    root = "../" * path.count("/")
    page = _environment().get_template(f"site/{template}")
    return page.render(root=root, here=here, site=site_assets(), **facts)


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
        slug=slug,
        day=lambda text: str(text)[:10],
        target_colour=target_colour,
        quantity=wording.quantity,
        times=wording.times,
        percent=wording.percent,
        significant=wording.significant,
        exactly=lambda value: repr(float(value)),
        polyline=_polyline,
        history=_history,
        figure=figure_name,
        change=change_words,
        bar=_bar,
    )
    environment.globals["interval"] = wording.interval
    environment.globals["figure_columns"] = figure_columns
    environment.globals["over_workloads"] = CAPTION
    return environment


def _history(item: Entry | Series) -> str:
    """Return the path of the history page of a table's row or of a figure, which it opens with."""
    if isinstance(item, Entry):
        return history_href(item.case[0], item.case[1])
    return f"{history_href(item.target, item.workload)}#figure={item.metric}.{item.phase}"


def _polyline(values: Sequence[float]) -> Markup:
    """Return the points of a sparkline; its range is at least 10 %, so that noise looks small."""
    width, height = SPARK
    middle = (min(values) + max(values)) / 2
    span = max(max(values) - min(values), 0.1 * middle) or 1.0
    step = width / max(1, len(values) - 1)
    points = (
        f"{n * step:.1f},{height / 2 - (value - middle) / span * (height - 4):.1f}"
        for n, value in enumerate(values)
    )
    return Markup(" ".join(points))


def _bar(value: float, standings: Sequence[MethodSummary]) -> str:
    """Return the length of a speedup's bar in percent; all bars of a table share a scale."""
    top = max((s.step_high for s in standings if s.step_high), default=1.0)
    return f"{100 * value / max(top, 1.0):.2f}"
