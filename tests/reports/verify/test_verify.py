from __future__ import annotations

import gzip
import json
import random
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from make_run import FakeTarget, edit_json, make_run

from reports.metrics.of_run import compare
from reports.page import generator
from reports.page.render import render
from reports.results.manifest import renew_in_manifest, write_manifest
from reports.results.read import ResultError, load_run
from reports.verify import page as verify_page
from reports.verify.page import embedded_rows, key_of, rounds_to, take_apart
from reports.verify.verify import Verification, verify

small = partial(make_run, layers=(("early", 16, 56),), rounds=6)
DATA = re.compile(r'(<script type="application/json" id="row-data">)(.*?)(</script>)', re.S)


def rendered(run: Path) -> Path:
    """Give a run its report and its manifest."""
    (run / "report.html").write_text(render([load_run(run)]))
    write_manifest(run)
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with power, its report and manifest; not to be changed."""
    return rendered(small(tmp_path_factory.mktemp("whole"), targets=[FakeTarget(power=True)]))


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / whole.name))


def changed(run: Path, name: str, change: Callable[[str], str], *, forged: bool) -> Verification:
    """Change a text file of a run, forge the manifest as well if asked, and verify."""
    path = run / name
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    if forged:
        write_manifest(run)
    return verify(run)


def other_digit(text: str, place: int) -> str:
    return text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]


def test_a_run_as_it_was_measured_verifies_wherever_it_lies(run: Path) -> None:
    found = verify(run)
    assert found.findings == ()
    assert found.notes == ()
    assert (found.files, found.blocks) == (8, 23)
    assert found.figures == sum(row.value is not None for row in compare(load_run(run)))


def test_one_changed_digit_of_the_journal_is_named(run: Path) -> None:
    name = "targets/board-a/journal.jsonl"
    digit = (run / name).read_text().index('"times_s": [0.') + len('"times_s": [0.') + 2
    change = partial(other_digit, place=digit)
    first = changed(run, name, change, forged=False).findings[0]
    assert first.file == name
    assert first.expected.startswith("sha256 ")
    assert first.expected != first.found


def test_a_changed_sample_is_noticed_by_the_report_though_the_manifest_is_forged(run: Path) -> None:
    def slower(text: str) -> str:
        lines = [json.loads(line) for line in text.splitlines()]
        (block,) = (b for b in lines if b.get("kind") == "timing" and b["order"] == 12)
        times = block["timing"]["backward"]["times_s"]
        times[:] = [1.2 * time for time in times]
        return "".join(json.dumps(line) + "\n" for line in lines)

    found = changed(run, "targets/board-a/journal.jsonl", slower, forged=True)
    assert {finding.file for finding in found.findings} == {"report.html"}
    named = [f for f in found.findings if "latency_s" in f.place or "speedup" in f.place]
    assert named
    assert "board-a: early" in named[0].place
    assert float(named[0].expected) != float(named[0].found)


def digits_between(html: str, pattern: str) -> list[int]:
    """The places of all digits inside what matches the pattern."""
    return [
        match.start() + digit.start()
        for match in re.finditer(pattern, html, re.S)
        for digit in re.finditer(r"\d", match[0])
    ]


VISIBLE = r"(?<=>)[^<>]+(?=<)"


@pytest.mark.parametrize(
    ("part", "until", "said"),
    [(DATA.pattern, "<script>", "row-data"), (VISIBLE, "</main>", "text in <")],
)
def test_any_changed_digit_of_the_report_is_noticed_and_named(
    whole: Path, part: str, until: str, said: str
) -> None:
    html = (whole / "report.html").read_text()
    expected = take_apart(html)
    digits = digits_between(html[: html.index(until)], part)
    for place in random.Random(1).sample([d for d in digits if d > html.index("<main")], 40):
        found = list(verify_page.differences(expected, take_apart(other_digit(html, place))))
        assert found, html[place - 40 : place + 40]
        assert found[0].expected != found[0].found
        assert all(said in one.place for one in found), found


def test_a_figure_of_the_report_is_named_with_what_it_should_be(run: Path) -> None:
    row = next(r for r in compare(load_run(run)) if r.metric == "speedup" and r.value)

    def other(text: str) -> str:
        return text.replace(f",{row.value!r},", ",9.875,", 1)

    (finding,) = changed(run, "report.html", other, forged=True).findings
    assert finding.place.endswith(
        "board-a: early gradient_filter r2 torch cpu float32 b8 backward speedup value"
    )
    assert (finding.expected, finding.found) == (repr(row.value), "9.875")
    assert finding.words.startswith("report.html, row-data rows[")


def test_a_digit_of_the_visible_text_is_named_by_its_line(run: Path) -> None:
    html = (run / "report.html").read_text()
    shown = re.search(r'data-value="[\d.]+">(\d)', html)
    assert shown is not None
    change = partial(other_digit, place=shown.start(1))
    (finding,) = changed(run, "report.html", change, forged=True).findings
    line = html.count("\n", 0, shown.start()) + 1
    assert (finding.file, finding.place) == (
        "report.html", f"line {line}, text in <span> of #summary",
    )  # fmt: skip
    assert finding.found[0] == str((int(finding.expected[0]) + 1) % 10)


def test_a_changed_attribute_and_a_changed_script_are_noticed(run: Path) -> None:
    html = (run / "report.html").read_text()
    value = re.search(r'data-value="(\d)', html)
    assert value is not None
    found = changed(run, "report.html", partial(other_digit, place=value.start(1)), forged=True)
    (finding,) = found.findings
    assert "data-value" in finding.expected
    (run / "report.html").write_text(html.replace("toFixed(", "toFixed(1+", 1))
    (finding, _) = verify(run).findings[::-1]
    assert "script's code" in finding.place


def test_what_another_version_rendered_is_held_to_its_figures_only(run: Path) -> None:
    def by_another(text: str) -> str:
        text = text.replace(f"{generator.generator()}", "gfbench 0.0.9; renderer 000000000000")
        return text.replace("Summary</h2>", "In short</h2>").replace("<footer>", "<footer><b>x</b>")

    found = changed(run, "report.html", by_another, forged=True)
    assert found.findings == ()
    assert "rendered by gfbench 0.0.9" in found.notes[0]
    row = next(r for r in compare(load_run(run)) if r.metric == "speedup" and r.value)
    wrong = changed(
        run, "report.html", lambda text: text.replace(f",{row.value!r},", ",9.875,", 1), forged=True
    )
    assert [(f.expected, f.found) for f in wrong.findings] == [(repr(row.value), "9.875")]
    assert wrong.findings[0].place.endswith("backward speedup value")


def test_another_version_may_round_otherwise_but_not_wrongly(run: Path) -> None:
    html = (run / "report.html").read_text().replace("renderer ", "renderer 0")
    shown = re.search(r'data-value="([\d.]+)">([\d.]+)([^<]*)<', html)
    assert shown is not None
    fewer = html.replace(shown[0], f'data-value="{shown[1]}">{float(shown[1]):.1f}{shown[3]}<')
    wrong = html.replace(
        shown[0], f'data-value="{shown[1]}">{float(shown[2]) + 0.1:.2f}{shown[3]}<'
    )
    (run / "report.html").write_text(fewer)
    write_manifest(run)
    assert verify(run).findings == ()
    (run / "report.html").write_text(wrong)
    write_manifest(run)
    assert verify(run).findings


@pytest.mark.parametrize(
    ("text", "value", "right"),
    [
        ("2.34x", "2.3372", True), ("2.35x", "2.3372", False), ("42 %", "0.4243", True),
        ("43 %", "0.4243", False), ("1.24 ms", "0.0012351", True), ("1.25 ms", "0.0012351", False),
        ("12.0 KiB", "12288", True), ("0", "0.0", True), ("1e-12", "1.2e-12", True),
        ("—", "nan", True), ("—", "1.0", False),
    ],
)  # fmt: skip
def test_a_rounded_text_is_told_from_a_wrong_one(text: str, value: str, right: bool) -> None:
    assert rounds_to(text, value) is right


def test_the_rows_in_a_page_are_those_of_the_export(whole: Path) -> None:
    run = load_run(whole)
    found = embedded_rows(take_apart(render([run])).document("row-data"))
    assert found is not None
    ours = {key_of(vars(row)): vars(row) for row in compare(run)}
    assert found.keys() == ours.keys()
    for key, row in found.items():
        assert row == {name: ours[key][name] for name in row}


def test_a_report_without_readable_data_is_a_difference(run: Path) -> None:
    found = changed(run, "report.html", lambda text: DATA.sub(r"\1{\3", text), forged=True)
    assert ("row-data", "no JSON") in [(f.place, f.found) for f in found.findings]
    found = changed(run, "report.html", lambda text: "<p>hello", forged=True)
    assert found.findings[0].expected == "the rows of the export"


def test_files_that_are_missing_new_or_changed_are_named(run: Path) -> None:
    (run / "extra").touch()
    (run / "targets" / "board-a" / "probe.json").unlink()
    found = {f.file: (f.expected, f.found) for f in verify(run).findings[:2]}
    assert found["extra"] == ("no such file", "sha256 e3b0c44298fc1c14")
    assert found["targets/board-a/probe.json"][1] == "no such file"


def test_rendering_again_does_not_vouch_for_changed_samples(run: Path) -> None:
    journal = run / "targets" / "board-a" / "journal.jsonl"
    journal.write_text(journal.read_text().replace("0.0", "0.1", 1))
    (run / "report.html").write_text(render([load_run(run)]))
    renew_in_manifest(run, "report.html")
    assert [f.file for f in verify(run).findings] == ["targets/board-a/journal.jsonl"]


def test_each_broken_line_of_a_journal_is_named(run: Path) -> None:
    journal = run / "targets" / "board-a" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    block = json.loads(lines[3])
    lines[1] = json.dumps({**block, "round": "three"})
    lines[2] = json.dumps({**block, "schema": "gfbench/3"})
    lines[3] = json.dumps({**block, "later": 1})  # of a later minor version
    lines.insert(4, json.dumps({"type": "weather", "schema": "gfbench/1"}))
    journal.write_text("\n".join([*lines, '{"type":"blo']))
    found = verify(run)
    places = {f.place: f.found for f in found.findings if f.file.endswith("journal.jsonl")}
    assert places.pop("") != ""  # the manifest's
    assert places == {"line 2 round": '"three"', "line 3 schema": "gfbench/3"}
    assert any("line 27" in remark and "crash" in remark for remark in found.notes)


def test_each_wrong_reading_of_a_power_trace_is_named(run: Path) -> None:
    trace = run / "targets" / "board-a" / "power.csv.gz"
    lines = gzip.decompress(trace.read_bytes()).decode().splitlines()
    lines[5:8] = ["1.0,c9,3", "nonsense", "2.0,c0,inf"]
    trace.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), mtime=0))
    found = [f for f in verify(run).findings if f.file.endswith(".gz") and f.place]
    assert [(f.place, f.found) for f in found] == [
        ("line 6", "1.0,c9,3"), ("line 7", "nonsense"), ("line 8", "2.0,c0,inf"),
    ]  # fmt: skip
    assert "c0" in found[0].expected
    trace.write_bytes(trace.read_bytes()[:-500])
    found_again = verify(run)
    assert any("power.csv.gz" in remark and "cut" in remark for remark in found_again.notes)


def test_files_of_a_later_minor_version_are_read(run: Path) -> None:
    for name in ("run.json", "targets/board-a/session.json", "targets/board-a/probe.json"):
        edit_json(
            run / name, lambda document: document.update(schema="gfbench/1.7", later={"x": 1})
        )
    assert verify(rendered(run)).findings == ()


def test_a_newer_major_version_is_refused(run: Path) -> None:
    edit_json(run / "run.json", lambda document: document.update(schema="gfbench/3"))
    with pytest.raises(ResultError, match="upgrade gfbench"):
        verify(run)


def test_a_run_that_did_not_end_is_told_and_not_blamed(tmp_path: Path) -> None:
    run = small(tmp_path, targets=[FakeTarget(status="interrupted", reason="^C", stop_after=9)])
    found = verify(run)
    assert found.findings == ()
    assert "did not end" in found.notes[0]
    assert "gfbench report" in found.notes[1]


def test_a_report_of_several_runs_is_verified_beside_them(run: Path) -> None:
    other = small(run.parent, run_id="20261123-190000-abc123", seed=2)
    loaded = [load_run(other), load_run(run)]
    (run / "report.html").write_text(render(loaded))
    renew_in_manifest(run, "report.html")
    assert verify(run).findings == ()
    shutil.rmtree(other)
    (finding,) = verify(run).findings
    assert "20261123-190000-abc123" in finding.found


def test_a_run_id_in_a_report_leads_nowhere_else(run: Path) -> None:
    text = (run / "report.html").read_text()
    html = text.replace(f'"{run.name}"', f'"{run.name}","../../etc"', 1)
    (run / "report.html").write_text(html)
    assert verify(run).findings


def test_pages_are_compared_without_an_end_in_sight_of_garbage() -> None:
    left, right = take_apart("<p>1<b>2"), take_apart("</i></p>1<!-- x --><b>3")
    assert list(verify_page.differences(left, right))
