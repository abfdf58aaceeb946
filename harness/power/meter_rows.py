"""The lines of a meter's file: what is a reading, what is left out, and what is refused.

A line without a reading (`nan`, cut, garbage) is left out and counted. A line that shows that the
file means something else than we read is refused, with its number.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from harness.power.meter_columns import NEEDED, PLAIN, Columns, FormatError, columns_of

MAX_TIME_S = 1e11  # the year 5138: above it a time since 1970 is not in seconds
MAX_BACK_S = 5.0  # lines out of order; more is another recording in the same file

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,24}\.?[0-9]{0,24}|\.[0-9]{1,24})(?:[eE][+-]?[0-9]{1,2})?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_POINTS = (
    "gfbench reads decimal points: run the meter's program with LC_ALL=C, or where ';' or a tab "
    "separates the columns, turn the commas into points with `tr , . < FILE`"
)


@dataclass(kw_only=True)
class Rows:
    """The readings of a file, (time, watts), and how many of its lines are none."""

    readings: list[tuple[float, float]] = field(default_factory=list)
    skipped: int = 0
    first_skipped: int = 0  # the number of its line


def read_rows(lines: Iterable[str], limit: int) -> Rows:
    """Read the lines of a file, header included, up to so many readings.

    Raises:
        FormatError: the header or a line cannot be understood.
    """
    rows = Rows()
    delimiter, columns = ",", None
    latest_s = -math.inf
    for number, text in enumerate(lines, start=1):
        line = text.replace("\0", "").rstrip("\r\n")
        if not line.strip() or line.startswith("#"):
            continue
        if columns is None:
            delimiter = next((mark for mark in "\t;" if mark in line), ",")
            columns = _columns(fields_of(line, delimiter))
            if columns is not PLAIN:
                continue
        try:
            reading = _reading(fields_of(line, delimiter), columns)
            if reading is not None:
                latest_s = _in_order(latest_s, reading[0])
        except FormatError as problem:
            raise FormatError(f"line {number}: {problem}") from None
        if reading is None:
            rows.skipped += 1
            rows.first_skipped = rows.first_skipped or number
        else:
            rows.readings.append(reading)
            if len(rows.readings) >= limit:
                break
    return rows


def fields_of(line: str, delimiter: str = ",") -> list[str]:
    """Return the fields of one line; empty where its quotation marks are damaged.

    Line by line: a quotation that is cut must not swallow the lines after it.
    """
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _columns(fields: Sequence[str]) -> Columns:
    """Return the columns by the first line: a header, or the first reading of a file without."""
    names = _without_empty_end([name.strip() for name in fields], 0)
    if any(_DECIMAL_COMMA.fullmatch(name) for name in names):
        raise FormatError(f"its numbers have decimal commas; {_POINTS}")
    if not names or _seconds(names[0], 1.0) is None:
        return columns_of(names)
    if len(names) != PLAIN.fields:
        why = f"a file without a header has two columns, and not {len(names)}"
        raise FormatError(f"{why}; {NEEDED}")
    return PLAIN


def _without_empty_end(fields: Sequence[str], length: int) -> Sequence[str]:
    """Leave out empty fields at the end of a row that is longer than that."""
    end = len(fields)
    while end > length and not fields[end - 1].strip():
        end -= 1
    return fields[:end]


def _reading(row: Sequence[str], columns: Columns) -> tuple[float, float] | None:
    """Return (time, watts) of one row, None where it does not hold both."""
    row = _without_empty_end(row, columns.fields)
    if len(row) > columns.fields:
        raise FormatError(
            f"{len(row)} fields where the first line has {columns.fields}. If these are decimal "
            f"commas between commas nobody can tell them apart; {_POINTS}"
        )
    if len(row) < columns.fields:
        return None
    t_s = _seconds(row[columns.time.index].strip(), columns.time.unit)
    watts: float | None = columns.unit_w
    for column in columns.power:
        number = _number(row[column.index].strip())
        watts = None if watts is None or number is None else watts * number
    if t_s is None or watts is None or not math.isfinite(watts):
        return None
    return t_s, watts


def _seconds(text: str, unit: float) -> float | None:
    number = _number(text)
    if number is not None:
        return number * unit
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _number(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    if _DECIMAL_COMMA.fullmatch(text):
        raise FormatError(f"{text[:20]!r} has a decimal comma; {_POINTS}")
    return None


def _in_order(latest_s: float, t_s: float) -> float:
    if t_s > MAX_TIME_S:
        raise FormatError(
            f"a time of {t_s:.6g} s is no date; if these are milliseconds, name the column time_ms"
        )
    if t_s < latest_s - MAX_BACK_S:
        raise FormatError(
            f"the time goes back by {latest_s - t_s:.6g} s: several recordings in one file; "
            "leave that of the run"
        )
    return max(latest_s, t_s)
