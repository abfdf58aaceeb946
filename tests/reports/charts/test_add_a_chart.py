"""A chart is a function that draws it and a line in CHARTS: nothing else has to know of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from make_run import FakeTarget, make_run

from reports import charts
from reports.charts import CHARTS, ROOFLINE, ChartEntry
from reports.charts.chart import Chart, Column, panel_of
from reports.charts.context import Context
from reports.page.render import render
from reports.results.manifest import write_manifest
from reports.results.read import load_run
from reports.site.build import Options, build
from reports.site.sources import FolderRuns

LAYERS = (("early", 16, 56),)


def hosts_chart(context: Context) -> Chart:
    """Draw something that no other chart draws: how many letters the name of a board has."""
    lengths = [len(subject.label) for subject in context.subjects]
    panels = [
        panel_of(subject.label, [go.Bar(x=[length])], f"the name of {subject.label}")
        for subject, length in zip(context.subjects, lengths, strict=True)
    ]
    return Chart(
        title="Length of names",
        caption="How many letters each board's name has.",
        panels=tuple(panels),
        columns=(
            Column(name="target", values=[subject.label for subject in context.subjects]),
            Column(name="letters", values=lengths, unit="1"),
        ),
    )


def nothing_to_draw(context: Context) -> None:
    """Stand for a chart of what no run has."""


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    new = (
        ChartEntry(section=ROOFLINE, id="hosts", draw=hosts_chart),
        ChartEntry(section=ROOFLINE, id="nothing", draw=nothing_to_draw),
    )
    monkeypatch.setattr(charts, "CHARTS", (*CHARTS, *new))


def document(html: str, name: str) -> Mapping[str, Any]:
    text = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html)
    assert text is not None
    parsed: Mapping[str, Any] = json.loads(text[1])
    return parsed


def assert_shows_the_chart(html: str) -> None:
    assert '<figure class="card" id="hosts" data-chart="hosts"' in html
    assert "<h3>Length of names</h3><p>How many letters each board&#39;s name has.</p>" in html
    (figure,) = document(html, "figure-data")["hosts"]
    assert figure["data"][0]["x"] == [len("board-a")]

    data = document(html, "row-data")
    target, letters = data["tables"]["hosts"]["columns"]
    assert [data["words"][number] for number in target["words"]] == ["board-a"]
    assert letters == {"name": "letters", "unit": "1", "values": [7]}
    assert '<table data-table="hosts">' in html
    assert '<th scope="col">target<th scope="col">letters' in html  # for readers without scripts
    assert "<td>board-a<td>7.00" in html

    section = html.index('<section id="floors"')
    assert section < html.index('id="hosts"') < html.index("</section>", section)
    assert '<a href="#floors">Roofline</a>' in html
    assert 'id="nothing"' not in html


@pytest.mark.usefixtures("added")
def test_a_chart_of_one_line_is_in_the_page(tmp_path: Path) -> None:
    assert_shows_the_chart(render([load_run(make_run(tmp_path, layers=LAYERS))]))


@pytest.mark.usefixtures("added")
def test_a_chart_of_one_line_is_in_the_report_of_a_site(tmp_path: Path) -> None:
    write_manifest(make_run(tmp_path / "results", layers=LAYERS))
    runs = FolderRuns([tmp_path / "results"], tmp_path / "cache")
    build(tmp_path / "site", [runs], Options(reports=1))
    (report,) = (tmp_path / "site").rglob("report.html")
    assert_shows_the_chart(report.read_text())


def test_without_the_line_the_page_has_neither_chart_nor_section(tmp_path: Path) -> None:
    html = render([load_run(make_run(tmp_path, layers=LAYERS))])
    assert 'id="hosts"' not in html
    assert "#floors" not in html


def test_the_anchors_of_a_page_are_unique(tmp_path: Path) -> None:
    targets = [FakeTarget(), FakeTarget(name="b", speed=2)]
    html = render([load_run(make_run(tmp_path, targets=targets, layers=LAYERS))])
    shown = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S)
    anchors = re.findall(r'\sid="([^"]+)"', shown)
    assert len(anchors) == len(set(anchors))
    names = [entry.id for entry in CHARTS]
    names += {entry.section.id for entry in CHARTS}
    assert len(names) == len(set(names))
