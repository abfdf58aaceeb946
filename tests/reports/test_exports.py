from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from make_run import FakeTarget, make_run

from reports.comparison import compare
from reports.exports import FORMATS, export, to_csv
from reports.records import Run
from reports.results import load_run
from reports.rows import COLUMNS


@pytest.fixture
def run(tmp_path: Path) -> Run:
    lost = FakeTarget(name="lost", status="infra", reason='a "quoted", reason\nof two lines')
    return load_run(make_run(tmp_path, targets=[FakeTarget(), replace(lost, stop_after=0)]))


def test_csv_and_json_have_the_same_rows_in_full_precision(run: Run) -> None:
    records = json.loads(export(run, "json"))
    table = list(csv.DictReader(io.StringIO(export(run, "csv"))))
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
    records = json.loads(export(run, "json"))
    lost = [record for record in records if record["target"] == "lost"]
    assert all(record["value"] is None for record in lost)
    assert '"value": null' in export(run, "json")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_boards_text_is_never_a_formula(run: Run, text: str) -> None:
    row = replace(compare(run)[0], reason=text, value=-1.5)
    line = next(csv.DictReader(io.StringIO(to_csv([row]))))
    assert line["reason"] == "'" + text.replace("\r", "\n")
    assert line["value"] == "-1.5"


def test_an_unknown_format_names_the_choices(run: Run) -> None:
    with pytest.raises(ValueError, match="csv, json"):
        export(run, "xls")
    assert set(FORMATS) == {"csv", "json"}
