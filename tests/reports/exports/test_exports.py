from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from make_run import FakeTarget, edit_json, make_run

from reports.exports import FORMATS, export
from reports.exports.plain import to_csv
from reports.exports.source import ExportError, ExportSource
from reports.metrics.of_run import compare
from reports.metrics.rows import COLUMNS
from reports.metrics.table import exported_metrics
from reports.results.read import load_run
from reports.results.records import Run

HOSTILE = 'a|b`c\n<script>&"]]>\x00\x1b[31m\ud800@all #1 ::error::x %0A'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    lost = FakeTarget(name="lost", status="infra", reason='a "quoted", reason\nof two lines')
    return load_run(make_run(tmp_path, targets=[FakeTarget(), replace(lost, stop_after=0)]))


def hostile_run(folder: Path) -> Run:
    path = make_run(folder, targets=[FakeTarget(power=True)], rounds=2)
    for name in ("run.json", "targets/board-a/session.json"):
        edit_json(path / name, lambda document: document.update(reason=HOSTILE, started_at=HOSTILE))
    journal = path / "targets/board-a/journal.jsonl"
    blocks = [json.loads(line) for line in journal.read_text().splitlines()]
    for block in blocks:
        if "case" in block:
            block["case"]["layer"]["name"] += HOSTILE
            block["started_at"] = HOSTILE
            if block["round"] == 1:
                block.update(status="failed", reason=HOSTILE, traceback=HOSTILE)
    journal.write_text("".join(json.dumps(block) + "\n" for block in blocks))
    return load_run(path)


def test_csv_and_json_have_the_same_rows_in_full_precision(run: Run) -> None:
    records = json.loads(export(run, "json"))
    text = export(run, "csv")
    assert isinstance(text, str)
    table = list(csv.DictReader(io.StringIO(text)))
    rows = compare(run)
    assert len(records) == len(table) == len(rows) > 100
    for record, line, row in zip(records, table, rows, strict=True):
        assert tuple(record) == tuple(line) == COLUMNS
        for column in COLUMNS:
            value = getattr(row, column)
            assert record[column] == value
            assert line[column] == ("" if value is None else str(value))
        if row.value is not None:
            assert float(line["value"]) == row.value


def test_missing_is_empty_in_csv_and_null_in_json(run: Run) -> None:
    text = export(run, "json")
    assert isinstance(text, str)
    lost = [record for record in json.loads(text) if record["target"] == "lost"]
    assert all(record["value"] is None for record in lost)
    assert '"value": null' in text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_boards_text_is_never_a_formula(run: Run, text: str) -> None:
    row = replace(compare(run)[0], reason=text, value=-1.5)
    line = next(csv.DictReader(io.StringIO(to_csv(ExportSource(run=run, rows=(row,))))))
    assert line["reason"] == "'" + text.replace("\r", "\n")
    assert line["value"] == "-1.5"


def test_an_unknown_format_names_the_choices(run: Run) -> None:
    with pytest.raises(ValueError, match="csv, json"):
        export(run, "xls")


def test_a_selector_keeps_the_cases_that_fit_and_their_names_leave_it_out(run: Run) -> None:
    chosen = json.loads(export(run, "json", "target=board-a,method=gradient_filter,patch_size=2"))
    assert {(row["method"], row["patch_size"]) for row in chosen} == {("gradient_filter", 2)}
    filtered = json.loads(export(run, "bmf", "target=board-a,method=gradient_filter,patch_size=2"))
    exact = json.loads(export(run, "bmf", "target=board-a,method=exact"))
    assert exact.keys() <= filtered.keys()
    assert "early/torch/cpu/float32/b8/step" in exact
    assert "board-a/early/gradient_filter-r2/torch/cpu/float32/b8/step" in json.loads(
        export(run, "bmf")
    )


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("method=exactly", "choose from method=exact|gradient_filter"),
        ("speed=1", "choose from workload, method"),
        ("exact", "key=value"),
    ],
)
def test_a_selector_that_fits_nothing_names_the_choices(
    run: Run, selector: str, words: str
) -> None:
    with pytest.raises(ExportError) as problem:
        export(run, "csv", selector)
    assert words in str(problem.value)


def test_every_metric_is_smaller_or_bigger_is_better_or_known_to_be_neither() -> None:
    neither = {"forward_share", "power_w", "temperature_c", "scale_gx", "scale_gw"}
    without = {m.name for m in exported_metrics() if m.lower_is_better is None}
    assert without == neither


@pytest.mark.parametrize("name", ["bmf", "github-benchmark", "pytest-benchmark", "pyperf"])
def test_a_format_that_cannot_say_missing_refuses_a_run_without_figures(
    run: Run, name: str
) -> None:
    with pytest.raises(ExportError, match="nothing was measured"):
        export(run, name, "target=lost")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_what_a_hostile_board_writes(tmp_path: Path, name: str) -> None:
    content = export(hostile_run(tmp_path), name)
    assert len(content) > 500
    text = content if isinstance(content, str) else content.decode("latin-1")
    text.encode()
    if name in ("markdown", "junit"):
        assert "<script>" not in text
        assert "\x1b" not in text


def test_revisions_are_told_apart_in_names_unless_one_is_chosen(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    journal = path / "targets/board-a/journal.jsonl"
    lines = []
    for line in journal.read_text().splitlines():
        block = json.loads(line)
        block["case"]["revision"] = "abc" if block["round"] % 2 else "def"
        lines.append(json.dumps(block))
    journal.write_text("\n".join(lines) + "\n")
    run = load_run(path)
    names = json.loads(export(run, "bmf"))
    assert "board-a/early/exact/torch@abc/cpu/float32/b8/step" in names
    steps = [
        {name for name in json.loads(export(run, "bmf", f"revision={revision}")) if "/step" in name}
        for revision in ("abc", "def")
    ]
    assert steps[0] == steps[1]
    assert "board-a/early/exact/torch/cpu/float32/b8/step" in steps[0]
