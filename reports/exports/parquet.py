"""Apache Parquet: the columns of the CSV with types; missing values are null."""

from __future__ import annotations

import io
from dataclasses import fields
from typing import Any

from reports.exports.source import ExportError, ExportSource
from reports.metrics.rows import Row

TYPES = {"str": "string", "int": "int64", "int | None": "int64", "float | None": "float64"}


def to_parquet(source: ExportSource) -> bytes:
    """Return a Parquet file of the rows.

    Raises:
        ExportError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ExportError("Parquet needs pyarrow — pip install 'gfbench[parquet]'") from None
    columns: dict[str, Any] = {}
    for field in fields(Row):
        values = [_clean(getattr(row, field.name)) for row in source.rows]
        arrow_type = pa.type_for_alias(TYPES[str(field.type)])
        columns[field.name] = pa.array(values, type=arrow_type)
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression="zstd")
    return out.getvalue()


def _clean(value: Any) -> Any:
    """Return the value; in text, what UTF-8 cannot encode (lone surrogates) is replaced."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
