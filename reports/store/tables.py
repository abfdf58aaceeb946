"""The figures of many runs as one table, in Parquet files that can be merged in any order.

A file holds the summary rows of one or more runs (``reports.metrics.summary``, with the digest of
the run's manifest) and, in its metadata, a record of each run. Merging files that overlap gives
each run once, so compaction is safe without a server.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from reports.metrics.summary import SummaryRow, summary_of
from reports.results.read import ResultError, check_schema
from reports.results.records import Run
from reports.store.files import MissingExtra
from workloads.spec.messages import SCHEMA

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtra("pyarrow", "store") from None

MANY_RUNS = 100  # a part with more new runs than this stays in its file until it is queried
MAX_ROWS = 50_000_000
MAX_UNPACKED_BYTES = 4 << 30
TEXT = pa.dictionary(pa.int32(), pa.string())
ARROW_TYPES = {"str": TEXT, "int": pa.int64(), "int | None": pa.int64()}


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """One run in a store; ``digest`` is the hash of its manifest, and so of all its files."""

    run_id: str
    digest: str
    started_at: str = ""
    finished_at: str = ""
    suite: str = ""
    rounds: int | None = None
    seed: int | None = None
    tool_version: str = ""
    targets: tuple[str, ...] = ()
    rows: int = 0
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Summaries:
    """Runs, each once, and their figures: a pyarrow dataset with the columns of ROWS_SCHEMA.

    A dataset is only read when it is queried, and then only the columns of the query.
    """

    runs: tuple[StoredRun, ...]
    source: Any

    @cached_property
    def rows(self) -> Any:
        """All figures as a pyarrow table."""
        return self.source.to_table()

    @property
    def digests(self) -> frozenset[str]:
        """The digests of the runs."""
        return frozenset(run.digest for run in self.runs)


def _arrow_type(annotation: Any) -> Any:
    return ARROW_TYPES.get(str(annotation), pa.float64())


ROWS_SCHEMA = pa.schema(
    [
        *(pa.field(field.name, _arrow_type(field.type)) for field in fields(SummaryRow)),
        pa.field("digest", TEXT),
    ]
)
RUNS = TypeAdapter(tuple[StoredRun, ...])


def summaries_of(run: Run, *, digest: str = "", sizes: Sequence[int] = ()) -> Summaries:
    """Return the figures of one run; ``sizes`` are those of its files in bytes."""
    rows = summary_of(run)
    columns: dict[str, list[Any]] = {}
    for field in fields(SummaryRow):
        columns[field.name] = [getattr(row, field.name) for row in rows]
    columns["digest"] = [digest] * len(rows)
    stored = StoredRun(
        run_id=run.run_id,
        digest=digest,
        started_at=run.header.started_at,
        finished_at=run.header.finished_at,
        suite=run.header.suite.name,
        rounds=run.header.rounds,
        seed=run.header.seed,
        tool_version=run.header.tool.version,
        targets=tuple(target.name for target in run.targets),
        rows=len(rows),
        files=len(sizes),
        bytes=sum(sizes),
    )
    return of_table((stored,), pa.table(columns, schema=ROWS_SCHEMA))


def nothing() -> Summaries:
    """Return the figures of no run."""
    return of_table((), ROWS_SCHEMA.empty_table())


def of_table(runs: tuple[StoredRun, ...], rows: Any) -> Summaries:
    """Return the summaries of runs whose rows are in memory."""
    return Summaries(runs=runs, source=ds.dataset(rows))


def merged(parts: Iterable[Summaries]) -> Summaries:
    """Return the runs of all parts, each once."""
    runs: dict[str, StoredRun] = {}
    small, large = [ROWS_SCHEMA.empty_table()], []
    for part in parts:
        new = [run for run in part.runs if run.digest not in runs]
        runs.update((run.digest, run) for run in new)
        if len(new) > MANY_RUNS:
            large.append(chosen(part, {run.digest for run in new}).source)
        elif new:
            small.append(chosen(part, {run.digest for run in new}).rows)
    source = ds.dataset([ds.dataset(pa.concat_tables(small)), *large])
    return Summaries(runs=tuple(runs.values()), source=source)


def chosen(part: Summaries, digests: Iterable[str]) -> Summaries:
    """Return only the runs with these digests."""
    wanted = set(digests)
    if part.digests <= wanted:
        return part
    kept = pc.is_in(part.rows["digest"].cast(pa.string()), pa.array(sorted(wanted), pa.string()))
    runs = tuple(run for run in part.runs if run.digest in wanted)
    return of_table(runs, part.rows.filter(kept))


def to_parquet(part: Summaries) -> bytes:
    """Return the runs as a Parquet file."""
    rows = part.rows.unify_dictionaries().combine_chunks()
    facts = json.dumps([asdict(run) for run in part.runs], separators=(",", ":"))
    table = rows.replace_schema_metadata({"gfbench.schema": SCHEMA, "gfbench.runs": facts})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", row_group_size=1 << 17)
    return out.getvalue()


def from_parquet(source: bytes | Path, where: str) -> Summaries:
    """Read a file of summaries; unknown columns are ignored, missing ones are null.

    Raises:
        ResultError: the file is not valid, too large, or has a newer major schema.
    """
    try:
        # Memory-mapped: only queried columns are read, and the file may be deleted meanwhile.
        content = source if isinstance(source, bytes) else _mapped(source)
        return _read(pa.py_buffer(content), where)
    except (pa.ArrowException, OSError, ValueError, ValidationError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ResultError(f"{where} is not a summary of runs: {first}") from None


def _mapped(path: Path) -> Any:
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()


def _read(content: Any, where: str) -> Summaries:
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        schema = file.schema_arrow
        facts = schema.metadata or {}
        check_schema(facts.get(b"gfbench.schema", b"").decode("utf-8", "replace"), Path(where))
        groups = range(file.metadata.num_row_groups)
        size = sum(file.metadata.row_group(group).total_byte_size for group in groups)
        if file.metadata.num_rows > MAX_ROWS or size > MAX_UNPACKED_BYTES:
            raise ResultError(f"{where} has more rows than any store")
        runs = RUNS.validate_json(facts.get(b"gfbench.runs", b"[]"))
        if not schema.remove_metadata().equals(ROWS_SCHEMA):
            names = [name for name in ROWS_SCHEMA.names if name in schema.names]
            return of_table(runs, _conformed(file.read(columns=names)))
    parquet = ds.ParquetFileFormat()
    fragment = parquet.make_fragment(content)
    return Summaries(runs=runs, source=ds.FileSystemDataset([fragment], ROWS_SCHEMA, parquet))


def _conformed(table: Any) -> Any:
    """Return a table of another version with the columns of ROWS_SCHEMA."""
    columns = []
    for column in ROWS_SCHEMA:
        if column.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, column.type))
        else:
            columns.append(_cast(table[column.name], column.type))
    return pa.table(columns, schema=ROWS_SCHEMA)


def _cast(column: Any, wanted: Any) -> Any:
    if column.type == wanted:
        return column
    plain = column.cast(pa.string() if wanted == TEXT else wanted)
    return plain.dictionary_encode() if wanted == TEXT else plain
