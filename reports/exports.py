"""The rows of a run in other programs' formats. Pure; full precision."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from reports.comparison import compare
from reports.records import Run
from reports.rows import COLUMNS, Row

Format = Callable[[Sequence[Row]], str]


def export(run: Run, format_name: str) -> str:
    """Return the run's rows as text in one of FORMATS.

    Raises:
        ValueError: an unknown format, with the choices.
    """
    if format_name not in FORMATS:
        raise ValueError(f"unknown format {format_name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[format_name](compare(run))


def to_csv(rows: Sequence[Row]) -> str:
    """Return a CSV with a header line; what is missing is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(value) for value in asdict(row).values()])
    return out.getvalue()


def to_json(rows: Sequence[Row]) -> str:
    """Return a JSON array of the CSV's rows; what is missing is null."""
    return json.dumps([asdict(row) for row in rows], allow_nan=False, indent=1) + "\n"


def _cell(value: str | int | float | None) -> str:
    """Return what a spreadsheet may open: text that it would take for a formula gets a quote."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # a bare CR would not be quoted
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\n")) else text


FORMATS: dict[str, Format] = {"csv": to_csv, "json": to_json}
