from __future__ import annotations

import csv
import io
import json
from dataclasses import fields
from pathlib import Path

import pytest
from small_runs import small_run

from reports.metrics.of_run import compare
from reports.metrics.summary import SummaryRow
from reports.results.read import ResultError, load_run
from reports.store.query import (
    Answer,
    QueryError,
    as_text,
    folder_summaries,
    query,
    to_csv,
    to_json,
)
from reports.store.tables import Summaries, nothing


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> Summaries:
    folder = tmp_path_factory.mktemp("runs")
    for number in range(3):
        small_run(folder, number, target=f"board-{number % 2}")
    return folder_summaries([folder])[0]


def test_a_group_by_gives_what_the_export_holds(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    sql = "SELECT method, patch_size, value FROM rows WHERE metric = 'speedup' AND phase = 'step'"
    answer = query(sql, folder_summaries([run])[0])
    exported = [
        (row.method, row.patch_size, row.value)
        for row in compare(load_run(run))
        if (row.metric, row.phase) == ("speedup", "step")
    ]
    assert answer.columns == ("method", "patch_size", "value")
    assert list(answer.rows) == exported
    assert exported


def test_the_tables_have_the_documented_columns(summaries: Summaries) -> None:
    described = query("DESCRIBE rows", summaries)
    columns = [field.name for field in fields(SummaryRow)]
    assert tuple(row[0] for row in described.rows) == (*columns, "digest")
    (count,) = query("SELECT count(*), min(started_at) < now() FROM runs", summaries).rows
    assert count[0] == 3
    tables = query("SELECT target, count(DISTINCT run_id) FROM rows GROUP BY ALL", summaries)
    assert sorted(tables.rows) == [("board-0", 2), ("board-1", 1)]


def test_times_are_times(summaries: Summaries) -> None:
    sql = "SELECT date_trunc('year', started_at) AS year, count(*) AS n FROM rows GROUP BY year"
    answer = query(sql, summaries)
    assert to_csv(answer).splitlines() == [
        "year,n",
        f"2026-01-01T00:00:00Z,{summaries.rows.num_rows}",
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM summaries",  # a Python variable where the query runs
        "COPY rows TO '/tmp/gfbench-was-here.csv'",
        "ATTACH '/tmp/gfbench-was-here.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "CREATE TABLE mine AS SELECT 1",
        "DELETE FROM rows",
        "DROP VIEW rows",
        "SELECT 1; SELECT 2",
        "CALL pragma_version()",
        "",
    ],
)
def test_a_query_reads_the_two_tables_and_nothing_else(summaries: Summaries, sql: str) -> None:
    with pytest.raises(QueryError, match=r"rows\(run_id"):
        query(sql, summaries)
    assert not Path("/tmp/gfbench-was-here.csv").exists()


def test_a_wrong_query_says_where_and_what_there_is(summaries: Summaries) -> None:
    with pytest.raises(QueryError, match=r"(?s)targt.*target.*DESCRIBE rows"):
        query("SELECT targt FROM rows", summaries)
    with pytest.raises(QueryError, match="syntax error"):
        query("SELEC 1", summaries)


def test_what_is_missing_is_null_and_never_zero(summaries: Summaries) -> None:
    sql = "SELECT value, ci_low, reason, [1, NULL] AS list FROM rows WHERE metric = 'energy_j'"
    answer = query(f"{sql} LIMIT 1", summaries)
    (row,) = json.loads(to_json(answer))
    assert row["value"] is None
    assert row["list"] == [1, None]
    (line,) = csv.DictReader(io.StringIO(to_csv(answer)))
    assert line["value"] == ""
    assert "sensor" in row["reason"]


def test_what_json_has_no_number_for_is_null(summaries: Summaries) -> None:
    sql = "SELECT 'nan'::DOUBLE AS a, 'inf'::DOUBLE AS b, 1.5::DECIMAL(4,2) AS c, 1 AS a, true AS d"
    answer = query(sql, summaries)
    assert json.loads(to_json(answer)) == [{"a": None, "b": None, "c": 1.5, "a_1": 1, "d": True}]


def test_a_terminal_gets_no_control_characters() -> None:
    answer = Answer(columns=("x", "y"), rows=(("a\x1b[31mb", 0.123456789),))
    assert as_text(answer) == [["a [31mb", "0.123457"]]


def test_an_empty_store_answers_with_no_rows() -> None:
    assert query("SELECT target, count(*) FROM rows GROUP BY ALL", nothing()).rows == ()
    assert query("SELECT count(*) FROM runs", nothing()).rows == ((0,),)


def test_folders_of_runs_are_searched_and_what_is_none_is_told(tmp_path: Path) -> None:
    run = small_run(tmp_path / "results")
    copy = small_run(tmp_path / "copy")
    (tmp_path / "results" / "broken").mkdir()
    (tmp_path / "results" / "broken" / "run.json").write_text("{")
    summaries, notes = folder_summaries([tmp_path / "results", run, copy])
    assert [one.run_id for one in summaries.runs] == [run.name]
    assert len(notes) == 2
    assert "broken" in notes[0]
    assert "another copy" in notes[1]
    with pytest.raises(ResultError, match=r"found no runs.*--store"):
        folder_summaries([tmp_path / "nowhere"])
