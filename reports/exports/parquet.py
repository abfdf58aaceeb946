"""Apache Parquet: the CSV's columns with types of their own; what is missing is null."""

from __future__ import annotations

import io
from dataclasses import fields
from typing import Any

from reports.exports.source import ExportProblem, Source
from reports.metrics.rows import Row

TYPES = {"str": "string", "int": "int64", "int | None": "int64", "float | None": "float64"}


def to_parquet(source: Source) -> bytes:
    """Return a Parquet file of the rows.

    Raises:
        ExportProblem: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ExportProblem("Parquet needs pyarrow — pip install 'gfbench[parquet]'") from None
    columns: dict[str, Any] = {
        field.name: pa.array(
            [_clean(getattr(row, field.name)) for row in source.rows],
            type=pa.type_for_alias(TYPES[str(field.type)]),
        )
        for field in fields(Row)
    }
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression="zstd")
    return out.getvalue()


def _clean(value: Any) -> Any:
    """Return text as UTF-8 can hold it."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
