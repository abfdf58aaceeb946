"""SQL over the figures of many runs, with DuckDB in memory and two tables.

``rows`` has the columns of the export and those of time, machine and versions (``SummaryRow``);
``runs`` has one row for each run. A query has no access to files, the network or extensions.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

from reports.errors import GfbenchError
from reports.results.read import ResultError, load_run, run_folders
from reports.store.files import MissingExtra
from reports.store.tables import StoredRun, Summaries, merged, summaries_of

try:
    import duckdb
    import pyarrow as pa
except ImportError:
    raise MissingExtra("duckdb or pyarrow", "store") from None

SEALED = (
    "SET enable_external_access = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)
# In a summary, times are text as in the run; empty if unknown.
TIMES = {"rows": ("started_at",), "runs": ("started_at", "finished_at")}
RUNS_TYPES = {"int": pa.int64(), "int | None": pa.int64(), "tuple[str, ...]": pa.list_(pa.string())}
RUNS_SCHEMA = pa.schema(
    [(field.name, RUNS_TYPES.get(str(field.type), pa.string())) for field in fields(StoredRun)]
)
READING_STATEMENTS = {"SELECT", "EXPLAIN"}


class QueryError(GfbenchError):
    """A query that cannot be answered; the message names the tables."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result of a query: the names of its columns, and its rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def query(sql: str, summaries: Summaries) -> Answer:
    """Answer one SQL query over ``rows`` and ``runs``.

    Raises:
        QueryError: it is not a single SELECT, or DuckDB cannot answer it.
    """
    with duckdb.connect(":memory:") as database:
        runs = pa.Table.from_pylist([vars(run) for run in summaries.runs], schema=RUNS_SCHEMA)
        for name, table in (("rows", summaries.source), ("runs", runs)):
            database.register(f"stored_{name}", table)
            times = ", ".join(f"try_cast({time} AS timestamp) AS {time}" for time in TIMES[name])
            database.execute(f"CREATE VIEW {name} AS SELECT * REPLACE ({times}) FROM stored_{name}")
        for setting in SEALED:
            database.execute(setting)
        try:
            _only_reading(database.extract_statements(sql))
            result = database.execute(sql)
            names = [str(column[0]) for column in result.description or ()]
            return Answer(columns=_distinct(names), rows=tuple(result.fetchall()))
        except duckdb.Error as error:
            raise QueryError(f"{_words(error)}\n{TABLES}") from None


def folder_summaries(paths: Sequence[Path]) -> tuple[Summaries, tuple[str, ...]]:
    """Return the figures of runs in folders, or in folders of them, and notes on what was left out.

    Raises:
        ResultError: there is no run at all.
    """
    parts: dict[str, Summaries] = {}
    notes = []
    for path in dict.fromkeys(chain.from_iterable(map(run_folders, paths))):
        try:
            run = load_run(path)
        except ResultError as problem:
            notes.append(f"left out: {problem}")
            continue
        if run.run_id in parts:
            notes.append(f"left out: {path} is another copy of run {run.run_id}")
        else:
            parts[run.run_id] = summaries_of(run, digest=run.run_id)
    if not parts:
        reason = notes[0] if notes else ", ".join(map(str, paths))
        raise ResultError(f"found no runs: {reason} — give folders of runs, or --store URL")
    return merged(parts.values()), tuple(notes)


def to_csv(answer: Answer, delimiter: str = ",") -> str:
    """Return the answer as CSV with a header line; NULL is empty."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([_text(value) for value in row] for row in answer.rows)
    return out.getvalue()


def to_json(answer: Answer) -> str:
    """Return the answer as a JSON array of objects; NaN and infinity are null."""
    rows = [dict(zip(answer.columns, map(_json, row), strict=True)) for row in answer.rows]
    return json.dumps(rows, allow_nan=False, indent=1, ensure_ascii=False) + "\n"


def as_text(answer: Answer) -> list[list[str]]:
    """Return the rows for a terminal: numbers to six digits, printable characters only."""
    return [[_shown(value) for value in row] for row in answer.rows]


def _only_reading(statements: Sequence[Any]) -> None:
    kinds = [statement.type.name for statement in statements]
    if len(kinds) != 1 or kinds[0] not in READING_STATEMENTS:
        what = " and ".join(kinds) or "nothing"
        raise QueryError(f"only a single SELECT is allowed, this is {what}\n{TABLES}")


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names with numbers after repeated ones: x, x_1 for ``SELECT a.x, b.x``."""
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        distinct.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return tuple(distinct)


def _words(error: Exception) -> str:
    return "\n".join(line for line in str(error).splitlines() if line.strip())


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z"
    return repr(value) if isinstance(value, float) else str(value)


def _shown(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else _text(value)
    return "".join(character if character.isprintable() else " " for character in text)


def _json(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Decimal):
        return float(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


TABLES = (
    "rows(run_id, target, platform, workload, method, patch_size, kernel, device, dtype, batch, "
    "phase, metric, unit, value, ci_low, ci_high, n, status, reason, started_at, fingerprint, ...) "
    "and runs(run_id, started_at, suite, targets, ...); `DESCRIBE rows` lists all columns"
)
