"""A new metric is one function and one entry of the table; then it is everywhere."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from make_run import FakeTarget, make_run

from reports.exports import export
from reports.gate.judge import judge
from reports.gate.rule import rule_from_options
from reports.metrics import table
from reports.metrics.metric import Column, Metric
from reports.page.render import render
from reports.results.manifest import write_manifest
from reports.results.read import load_run
from reports.results.records import Run, TargetRun
from reports.site import build
from reports.site.sources import FolderRuns
from reports.terminal.table import final_table, summary_rows
from reports.terminal.verdicts import lines
from workloads.spec.messages import Case

EXACT, R2 = "method=exact", "method=gradient_filter,patch_size=2"


def slowest_s(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the slowest iteration of each block by round."""
    slowest = {}
    for block in target.blocks_of(case, "timing"):
        timing = block.timing.get(phase)
        if block.status == "ok" and timing is not None and timing.times_s:
            slowest[block.round] = max(timing.times_s)
    return slowest


SLOWEST = Metric(
    name="slowest_s", unit="s", label="slowest iteration", by_round=slowest_s,
    phases=("backward", "step"), lower_is_better=True, history=True, against_exact=True,
    terminal=(Column(place=20, heading="slowest step", phase="step"),),
    markdown=(Column(place=20, heading="slowest step", phase="step"),),
    site=(Column(place=20, heading="slowest step", phase="step"),),
    gate_name="slowest", worse="slower at worst", better="faster at worst",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder, read with one more metric."""
    monkeypatch.setattr(table, "METRICS", (*table.METRICS, SLOWEST))
    path = make_run(tmp_path / "results", targets=[FakeTarget()], rounds=8)
    write_manifest(path)
    return path


@pytest.fixture
def run(folder: Path) -> Run:
    return load_run(folder)


def exported(run: Run, name: str) -> str:
    content = export(run, name)
    assert isinstance(content, str)
    return content


def test_the_terminal_has_its_column(run: Run) -> None:
    text = final_table(summary_rows(run), None)
    assert text[0].endswith("slowest")
    assert text[1].endswith("step")
    assert re.search(r" [\d.]+ [um]?s$", text[3])
    assert "slowest" not in final_table(summary_rows(run), 80)[0]  # it is not among the narrow


def test_every_export_of_rows_has_it(run: Run) -> None:
    for name in ("csv", "json"):
        text = exported(run, name)
        rows = json.loads(text) if name == "json" else list(csv.DictReader(io.StringIO(text)))
        own = [row for row in rows if row["metric"] == "slowest_s"]
        assert len(own) == 18  # nine cases, two phases
        assert all(float(row["value"]) > 0 for row in own)
    content = export(run, "parquet")
    assert isinstance(content, bytes)
    assert "slowest_s" in pq.read_table(io.BytesIO(content))["metric"].to_pylist()
    measures = json.loads(exported(run, "bmf"))
    assert "slowest-s" in measures["board-a/early/exact/torch/cpu/float32/b8/step"]
    names = [entry["name"] for entry in json.loads(exported(run, "github-benchmark"))]
    assert sum(name.endswith("/step slowest") for name in names) == 9
    assert "slowest" not in exported(run, "github-benchmark-bigger")
    gauges = exported(run, "openmetrics")
    assert "# HELP gfbench_slowest_seconds slowest iteration\n" in gauges
    assert "| slowest step |" in exported(run, "markdown")


def test_the_page_has_its_figures(run: Run) -> None:
    page = render([run])
    found = re.search(r'<script type="application/json" id="row-data">(.*?)</script>', page)
    assert found is not None
    data = json.loads(found[1])
    assert data["metrics"]["slowest_s"] == ["slowest iteration", "s"]
    own = [row for row in data["rows"] if data["words"][row[1]] == "slowest_s"]
    assert len(own) == 18
    assert all(row[3] > 0 for row in own)


def test_a_gate_judges_by_its_name(run: Run) -> None:
    rule = rule_from_options(
        EXACT, R2, metric="latency,slowest", phase="step", margin="3%", inconclusive="warn"
    )
    gate = judge(run, base=rule.base, new=rule.new, metrics=rule.metrics, phases=rule.phases)
    own = [verdict for verdict in gate.verdicts if verdict.metric == "slowest"]
    assert [verdict.status for verdict in own] == ["PASS"] * 3
    assert all("% faster at worst [" in verdict.reason for verdict in own)
    assert gate.summary["board-a", "slowest", "step"].n == 3
    assert "slowest step" in "\n".join(lines(gate))


def test_a_site_has_its_history_and_its_column(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    source = FolderRuns([folder.parent], None)
    built = build.build(site, [source], build.Options(reports=0))
    assert (built.runs, built.notes) == (1, [])
    history = (site / "history" / "board-a" / "early.html").read_text()
    assert '"slowest_s":"slowest iteration"' in history
    workload = (site / "workloads" / "early" / "index.html").read_text()
    assert 'data-figure="slowest_s" data-phase="step"' in workload
    assert "slowest_s" in (site / "runs" / folder.name / "index.html").read_text()
    assert '"slowest_s": "slowest iteration"' in (site / "assets" / "site.js").read_text()
