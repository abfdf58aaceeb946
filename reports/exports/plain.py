"""All rows in full precision: CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict

from reports.exports.source import ExportSource
from reports.metrics.rows import COLUMNS


def to_csv(source: ExportSource) -> str:
    """Return a CSV with a header line; missing values are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in source.rows:
        writer.writerow([_cell(value) for value in asdict(row).values()])
    return out.getvalue()


def to_json(source: ExportSource) -> str:
    """Return a JSON array of objects with the columns of the CSV; missing values are null."""
    return json.dumps([asdict(row) for row in source.rows], allow_nan=False, indent=1) + "\n"


def _cell(value: str | int | float | None) -> str:
    """Return a cell for a spreadsheet: text that looks like a formula gets a quote before it."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # a bare CR would not be quoted
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\n")) else text
