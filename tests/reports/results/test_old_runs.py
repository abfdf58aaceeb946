from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import pytest
from fake_networks import FakeNetwork
from make_run import edit_json, make_run

from reports.metrics.of_run import compare
from reports.page.render import render
from reports.results.manifest import renew_in_manifest, write_manifest
from reports.results.read import ResultError, load_run
from reports.site import build
from reports.site.build import Options
from reports.site.sources import FolderRuns
from reports.store import store
from reports.store.cache import load
from reports.verify.verify import verify

RUNS = Path(__file__).parents[2] / "data" / "runs"
NAMES = sorted(path.name for path in RUNS.iterdir() if path.is_dir())
CASE = ("target", "workload", "method", "patch_size", "kernel", "device", "dtype", "batch")


@pytest.fixture(params=NAMES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a run that an earlier version wrote."""
    name: str = request.param
    return Path(shutil.copytree(RUNS / name, tmp_path / name))


def exported(run: Path) -> list[dict[str, str]]:
    with (RUNS / f"{run.name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def text(value: object) -> str:
    return "" if value is None else str(value)


def test_an_old_run_gives_the_figures_that_it_gave(old: Path) -> None:
    now = {
        tuple(text(getattr(row, name)) for name in (*CASE, "phase", "metric")): row
        for row in compare(load_run(old))
    }
    then = exported(old)
    assert len(then) > 50
    for row in then:
        mine = now[tuple(row[name] for name in (*CASE, "phase", "metric"))]
        assert (mine.status, str(mine.n)) == (row["status"], row["n"])
        for name in ("value", "ci_low", "ci_high"):
            value = getattr(mine, name)
            assert (value is None) == (row[name] == "")
            assert value is None or math.isclose(value, float(row[name]), rel_tol=1e-9)


def test_an_old_run_verifies_and_its_report_is_held_to_its_figures(old: Path) -> None:
    found = verify(old)
    assert found.findings == ()
    assert any("was rendered by" in remark for remark in found.notes)
    report = old / "report.html"
    value = next(row["value"] for row in exported(old) if row["metric"] == "speedup")
    assert f",{value}," in report.read_text()
    report.write_text(report.read_text().replace(f",{value},", f",{float(value) * 1.01!r},", 1))
    renew_in_manifest(old, "report.html")
    (finding,) = verify(old).findings
    assert (finding.expected, "speedup value" in finding.place) == (value, True)


def test_an_old_run_is_rendered_again_and_then_verifies_to_the_last_digit(old: Path) -> None:
    (old / "report.html").write_text(render([load_run(old)]))
    renew_in_manifest(old, "report.html")
    found = verify(old)
    assert found.findings == ()
    assert not any("was rendered by" in remark for remark in found.notes)


def test_an_old_run_goes_into_a_store(old: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    store.push(old, url)
    rows = load(url, tmp_path / "cache").summaries.rows
    assert rows.num_rows == len(compare(load_run(old)))


@pytest.fixture
def with_networks(tmp_path: Path) -> Path:
    """A run of today, with networks."""
    network = FakeNetwork(name="mobile-all", optimizer="sgd")
    run = make_run(tmp_path, layers=(), networks=(network,), run_id="20261130-190000-abc999")
    (run / "report.html").write_text(render([load_run(run)]))
    write_manifest(run)
    return run


def test_an_old_run_and_one_with_networks_stand_in_one_report(
    old: Path, with_networks: Path
) -> None:
    runs = [load_run(old), load_run(with_networks)]
    html = render(runs)
    layer = runs[0].header.plan.cases[0].workload.name
    assert f"{layer}" in html
    assert "mobile-all, batch 16" in html
    assert html.count("<article") == len(runs[0].targets) + 1
    assert render([runs[0]]).count("mobile-all") == 0


def test_an_old_run_and_one_with_networks_stand_in_one_site(
    old: Path, with_networks: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    shutil.copytree(old, results / load_run(old).run_id)
    shutil.copytree(with_networks, results / with_networks.name)
    build.build(tmp_path / "site", [FolderRuns([results], tmp_path / "cache")], Options(reports=2))
    index = (tmp_path / "site" / "index.html").read_text()
    assert "runs a training step of mobile-all 1." in index  # networks come before layers
    pages = {page.relative_to(tmp_path / "site").as_posix() for page in
             (tmp_path / "site").rglob("*.html")}  # fmt: skip
    assert "history/board-a/mobile-all.html" in pages
    layer = load_run(old).header.plan.cases[0].workload.name
    assert any(page.endswith(f"/{layer}.html") for page in pages)


def test_an_old_run_and_one_with_networks_stand_in_one_store(
    old: Path, with_networks: Path, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/store"
    for run in (old, with_networks):
        store.push(run, url)
    rows = load(url, tmp_path / "cache").summaries.rows
    expected = sum(len(compare(load_run(run))) for run in (old, with_networks))
    assert rows.num_rows == expected
    phases = set(rows["phase"].to_pylist())
    assert {"train_step", "step", ""} <= phases


def test_a_run_of_a_later_minor_version_is_read(old: Path) -> None:
    expected = [vars(row) for row in compare(load_run(old))]
    edit_json(old / "run.json", lambda header: header.update(schema="gfbench/1.9", later=[1]))
    journal = next(old.glob("targets/*/journal.jsonl"))
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    more = [{**record, "schema": "gfbench/1.9", "later": {"x": 1}} for record in records]
    more.append({"schema": "gfbench/1.9", "type": "weather", "wind": "north"})
    journal.write_text("".join(json.dumps(record) + "\n" for record in more))
    assert [vars(row) for row in compare(load_run(old))] == expected


def test_a_run_of_a_newer_major_version_is_refused_with_what_to_do(old: Path) -> None:
    edit_json(old / "run.json", lambda header: header.update(schema="gfbench/3"))
    for reading in (load_run, verify):
        with pytest.raises(ResultError, match=r"its schema is gfbench/3.*upgrade gfbench"):
            reading(old)
