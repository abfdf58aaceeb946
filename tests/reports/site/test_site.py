from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from make_run import FakeTarget, edit_json, make_run
from synthetic_site import Plot, summary_rows, write_runs

from reports.calibration.noise_floor import MetricFloor, NoiseFloor, to_json
from reports.metrics.summary import summary_of
from reports.results.manifest import write_manifest
from reports.results.read import load_run
from reports.site import build, trends
from reports.site.archive import Archive
from reports.site.build import Built, Options
from reports.site.feed import badge, speedup_message
from reports.site.names import colours_of, slug
from reports.site.run_data import dumped, facts_of, pack
from reports.site.sources import FolderRuns, floors_in
from reports.site.views import Fleet, events_of
from reports.text.wording import TIMES

HOSTILE = '<img src=x onerror="window.hacked=1">'
ATOM = "{http://www.w3.org/2005/Atom}"


def published(folder: Path, *, reports: int = 0, base_url: str = "") -> Built:
    """Build the site of a folder's results, with its own cache."""
    source = FolderRuns([folder / "results"], folder / "cache")
    return build.build(folder / "site", [source], Options(reports=reports, base_url=base_url))


def synthetic(folder: Path, plot: Plot, numbers: range | None = None) -> Path:
    write_runs(plot, folder / "results", folder / "cache", numbers)
    return folder


def files_of(site: Path) -> dict[str, bytes]:
    return {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in site.rglob("*")
        if path.is_file() and ".gfbench" not in path.parts
    }


def fleet_of(plot: Plot) -> Fleet:
    archive = Archive()
    for number in range(plot.runs):
        run_id, rows = summary_rows(plot, number)
        archive.add(pack(rows, run=facts_of(rows, run_id=run_id, digest=run_id)))
    lines = trends.lines_of(archive)
    found = {series: trends.trend_of(line) for series, line in lines.items()}
    changes = trends.mark_significant([c for t in found.values() for c in t.changes], len(lines))
    return Fleet(
        archive=archive,
        lines=lines,
        trends=found,
        events=events_of([c for c in changes if c.significant], archive.runs),
        watched=tuple(c for c in changes if not c.significant and not c.settled),
    )


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return fleet_of(Plot(runs=160, targets=4))


def test_a_slower_kernel_is_one_event_on_its_target_and_nothing_else_is(fleet: Fleet) -> None:
    assert {event.target for event in fleet.events} == {"jetson-nano", "orin-2"}  # every third one
    for event in fleet.events:
        assert not event.better
        assert {change.series.kernel for change in event.worse} == {"native"}
        assert {c.series.metric for c in event.worse} <= {"latency_s", "energy_j", "speedup"}
        assert all(change.kernel_changed and change.settled for change in event.worse)
        latency = [c for c in event.worse if c.series.metric == "latency_s"]
        assert len(latency) == 9  # three workloads, three phases
        assert all(abs(change.ratio - 1.12) < 0.02 for change in latency)


def test_a_new_torch_is_a_mark_and_no_change(fleet: Fleet) -> None:
    line = next(line for series, line in fleet.lines.items() if series.metric == "latency_s")
    assert len(set(line.machine.tolist())) == 2
    levels = fleet.trends[line.series].levels
    assert {level.machine for level in levels} == set(line.machine.tolist())
    assert fleet.trends[line.series].changes == ()


def test_lines_are_in_the_order_of_time_whatever_came_first() -> None:
    plot = Plot(runs=12, targets=1)
    archive = Archive()
    for number in (5, 3, 11, 0, 1, 2, 4, 10, 9, 8, 7, 6):
        run_id, rows = summary_rows(plot, number)
        archive.add(pack(rows, run=facts_of(rows, run_id=run_id, digest=run_id)))
    for line in trends.lines_of(archive).values():
        times = [archive.runs[run].started_at for run in line.run]
        assert times == sorted(times)


def test_an_archive_is_the_same_after_it_was_kept(tmp_path: Path, fleet: Fleet) -> None:
    fleet.archive.save(tmp_path)
    again = Archive.load(tmp_path)
    assert again.runs == fleet.archive.runs
    assert again.series.all == fleet.archive.series.all
    for name, column in fleet.archive.columns().items():
        np.testing.assert_array_equal(again.columns()[name], column)
    (tmp_path / "archive.json").write_text("{")
    assert Archive.load(tmp_path).runs == []


def test_newer_content_of_a_run_takes_the_place_of_the_older() -> None:
    archive = Archive()
    run_id, rows = summary_rows(Plot(), 0)
    archive.add(pack(rows, run=facts_of(rows, run_id=run_id, digest="a")))
    before = len(archive.columns()["run"])
    half = rows[: len(rows) // 2]
    archive.add(pack(half, run=facts_of(half, run_id=run_id, digest="b")))
    assert len(archive.runs) == 1
    assert archive.digest_of(run_id) == "b"
    assert 0 < len(archive.columns()["run"]) < before


def test_a_summary_keeps_every_row_of_the_export(tmp_path: Path) -> None:
    rows = summary_of(load_run(make_run(tmp_path, targets=[FakeTarget(power=True)])))
    packed = json.loads(dumped(pack(rows, run=facts_of(rows, run_id="r", digest="d"))))
    columns, words = packed["rows"], packed["words"]
    for place, row in enumerate(rows):
        assert tuple(packed["cases"][columns["case"][place]]) == row.case
        texts = [words[columns[name][place]] for name in ("metric", "phase", "unit", "status")]
        assert texts == [row.metric, row.phase, row.unit, row.status]
        numbers = [columns[name][place] for name in ("value", "low", "high", "n")]
        assert numbers == [row.value, row.ci_low, row.ci_high, row.n]


def test_only_what_has_changed_is_written(tmp_path: Path) -> None:
    plot = Plot(runs=41, targets=4)
    synthetic(tmp_path, plot, range(40))
    first = published(tmp_path)
    assert (first.runs, first.new, first.written) == (40, 40, first.files)
    before = files_of(tmp_path / "site")
    idle = published(tmp_path)
    assert (idle.new, idle.written, idle.removed) == (0, 0, 0)
    synthetic(tmp_path, plot, range(40, 41))
    more = published(tmp_path)
    after = files_of(tmp_path / "site")
    changed = {name for name, text in after.items() if before.get(name) != text}
    assert (more.new, more.written) == (1, len(changed))
    own = {name for name in changed if name.startswith(("runs/2", "targets/", "history/"))}
    assert len(own) == 2 + 2 + 4  # its page and its month; target and list; histories and list
    whole = tmp_path / "whole"
    synthetic(whole, plot)
    published(whole)
    assert files_of(whole / "site") == after  # no matter in how many steps


def test_runs_stay_on_the_site_when_their_folders_are_gone(tmp_path: Path) -> None:
    plot = Plot(runs=9, targets=2)
    synthetic(tmp_path, plot, range(8))
    published(tmp_path)
    for run in (tmp_path / "results").iterdir():
        for path in run.iterdir():
            path.unlink()
        run.rmdir()
    synthetic(tmp_path, plot, range(8, 9))
    built = published(tmp_path)
    assert (built.runs, built.new, built.removed) == (9, 1, 0)
    assert len(list((tmp_path / "site" / "runs").glob("2*/index.html"))) == 9


def test_a_new_look_renders_the_pages_of_old_runs_from_their_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic(tmp_path, Plot(runs=4, targets=2))
    published(tmp_path)
    before = files_of(tmp_path / "site")
    monkeypatch.setattr(build, "look", lambda: "another")
    source = FolderRuns([tmp_path / "results" / name for name in _names(tmp_path)[:1]], None)
    built = build.build(tmp_path / "site", [source], Options(reports=0))
    assert (built.runs, built.new, built.notes) == (4, 0, [])
    assert files_of(tmp_path / "site") == before


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "results").iterdir())


def test_a_run_with_its_samples_gets_its_whole_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "results")
    write_manifest(run)
    built = published(tmp_path, reports=1)
    assert built.notes == []
    folder = tmp_path / "site" / "runs" / run.name
    report = (folder / "report.html").read_text()
    assert "../../assets/plotly" in report
    assert len(report) < 1_000_000  # the library is shared
    assert 'href="report.html"' in (folder / "index.html").read_text()
    assert published(tmp_path, reports=0).written == 0  # a report once made stays


def test_a_broken_run_is_told_and_does_not_stop_the_others(tmp_path: Path) -> None:
    run = make_run(tmp_path / "results")
    write_manifest(run)
    newer = make_run(tmp_path / "results", run_id="20991122-190000-abc123")
    edit_json(newer / "run.json", lambda header: header.update(schema="gfbench/99"))
    built = published(tmp_path)
    assert built.runs == 1
    assert "gfbench/99" in built.notes[0]


def test_the_feed_has_the_regressions_and_is_an_atom_feed(tmp_path: Path) -> None:
    synthetic(tmp_path, Plot(runs=80, targets=2, hostile=HOSTILE))
    published(tmp_path, base_url="https://lab.example/gfbench/")
    feed = ElementTree.fromstring((tmp_path / "site" / "feed.xml").read_text())
    entries = feed.findall(f"{ATOM}entry")
    assert len(entries) == 1
    (entry,) = entries
    assert (entry.findtext(f"{ATOM}title") or "").startswith("jetson-nano: ")
    link = entry.find(f"{ATOM}link")
    assert link is not None
    assert link.attrib["href"].startswith("https://lab.example/gfbench/history/jetson-nano/")
    assert (entry.findtext(f"{ATOM}id") or "").startswith("urn:uuid:")
    assert "the kernel changed here" in (entry.findtext(f"{ATOM}content") or "")


def test_hostile_names_are_text_in_every_file(tmp_path: Path) -> None:
    synthetic(tmp_path, Plot(runs=24, targets=2, hostile=HOSTILE))
    published(tmp_path)
    for name, content in files_of(tmp_path / "site").items():
        assert "<" not in name
        if not name.startswith("assets/"):
            assert b"<img src=x" not in content, name
    for path in (tmp_path / "site").rglob("*.svg"):
        ElementTree.fromstring(path.read_text())


@pytest.mark.parametrize("name", ["\x00\x07", "a\ud800b", "]]>", "", "x" * 300, HOSTILE])
def test_badges_of_any_name_are_xml_and_json(name: str) -> None:
    svg, shields = badge(name, name, "good")
    assert ElementTree.fromstring(svg.encode("utf-8", "replace")).tag.endswith("svg")
    assert json.loads(shields)["schemaVersion"] == 1


def test_a_badge_never_tells_a_speedup_without_its_fidelity() -> None:
    assert speedup_message(1.834, 0.957)[0] == f"1.83{TIMES}, cosine 0.96"
    assert speedup_message(1.834, None)[0] == f"1.83{TIMES}, fidelity not measured"
    assert speedup_message(None, 0.9) == ("not measured", "neutral")
    assert speedup_message(0.8, 0.9)[1] == "neutral"


def test_a_change_within_the_calibrated_noise_floor_does_not_count(tmp_path: Path) -> None:
    synthetic(tmp_path, Plot(runs=60, targets=1))
    published(tmp_path)
    assert "kernel changed" in (tmp_path / "site" / "changes" / "index.html").read_text()
    floors = [
        MetricFloor(metric=metric, phase=phase, rounds=8, spread=0.1, effect_q95=0.2,
                    slot_effect=0.0, drift=0.0, detectable={})
        for metric in ("latency", "energy") for phase in ("forward", "backward", "step")
    ]  # fmt: skip
    floor = NoiseFloor(
        target="jetson-nano", fingerprint="f", measured_at="2023-01-01", floors=tuple(floors)
    )
    (tmp_path / "results" / "calibration").mkdir()
    path = tmp_path / "results" / "calibration" / "f.floor.json"
    path.write_text(json.dumps(to_json(floor)))
    found, notes = floors_in([tmp_path / "results"])
    assert (found["jetson-nano", "latency_s", "step"], notes) == (0.2, [])
    source = FolderRuns([tmp_path / "results"], tmp_path / "cache")
    build.build(tmp_path / "site", [source], Options(reports=0, margin=0.2, floors=found))
    assert "kernel changed" not in (tmp_path / "site" / "changes" / "index.html").read_text()
    path.write_text("{")
    assert "calibrate again" in floors_in([tmp_path / "results"])[1][0]


def test_slugs_are_harmless_and_never_shared() -> None:
    names = ["nano", "Nano", "NANO", "a b", "a-b", "a/b", "..", ".", "", "con", "index", "ä",
             "日本", HOSTILE, "x" * 200, "x" * 201, "nano-0123456789", slug("Nano")]  # fmt: skip
    slugs = [slug(name) for name in names]
    assert len({one.lower() for one in slugs}) == len(names)
    for one in slugs:
        assert set(one) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
        assert one[0] not in ".-"
        assert len(one) < 70
    assert slug("jetson-nano") == "jetson-nano"


def test_a_method_has_the_same_colour_on_every_page() -> None:
    few = colours_of([("gradient_filter", 2, "torch"), ("exact", None, "torch")])
    others = [("gradient_filter", 2, "native"), ("gradient_filter", 4, "torch")]
    many = colours_of([*others, ("mine", None, "torch"), *few])
    assert {method: many[method] for method in few} == few
    assert len(set(many.values())) == len(many)
