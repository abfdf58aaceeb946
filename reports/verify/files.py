"""Strict check of a result folder's files against their schema: every line, every reading.

``load_run`` tolerates what a crash leaves behind; this check names each such place. What a crash
alone can cause (a cut line, a cut trace) becomes a note, everything else a discrepancy.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from reports.calibration.noise_floor import KeptFloors
from reports.results.journal import MAX_LINE_BYTES
from reports.results.power import rail_map_from_json
from reports.results.read import (
    CALIBRATION,
    FLOORS,
    JOURNAL,
    MAX_READINGS,
    POWER_MAP,
    POWER_TRACE,
    PROBE,
    RUN,
    SESSION,
    ResultError,
    check_schema,
    read_limited,
)
from reports.results.records import BlockRecord, Probe, RunHeader, SessionRecord
from reports.results.sampler_cost import SamplerCost
from workloads.spec.messages import BLOCK_KINDS, SCHEMA, loads

TRACE_HEADER = "t_s,sensor,raw"
# Blocks that have a field of that name.
KINDS_WITH_FIGURES = ("timing", "memory", "fidelity", "by_layer")
MAX_VIOLATIONS = 20  # per file


@dataclass(frozen=True, kw_only=True)
class SchemaViolation:
    """A place in a file that does not follow the schema; ``crash``: a crash can explain it."""

    file: str
    place: str
    expected: str
    found: str
    crash: bool = False


def check_files(run: Path) -> Iterator[SchemaViolation]:
    """Yield what is wrong with the files of a run, file by file."""
    yield from _json_file(run, RUN, RunHeader)
    yield from _json_file(run, FLOORS, KeptFloors)
    targets = run / "targets"
    for folder in sorted(targets.iterdir()) if targets.is_dir() else ():
        if folder.is_dir() and not folder.is_symlink():
            place = f"targets/{folder.name}"
            yield from _json_file(run, f"{place}/{SESSION}", SessionRecord)
            yield from _json_file(run, f"{place}/{PROBE}", Probe)
            yield from _json_file(run, f"{place}/{CALIBRATION}", SamplerCost)
            yield from islice(_journal(run, f"{place}/{JOURNAL}"), MAX_VIOLATIONS)
            yield from _power(run, place)


def _json_file(run: Path, name: str, kind: Any) -> Iterator[SchemaViolation]:
    try:
        content = read_limited(run / name)
        if content is not None and content.strip() != b"null":
            yield from _object(name, "", loads(content.decode()), kind)
    except (ResultError, ValueError, RecursionError) as error:
        yield SchemaViolation(file=name, place="", expected="strict JSON", found=_words(error))


def _object(name: str, place: str, document: Any, kind: Any) -> Iterator[SchemaViolation]:
    if not isinstance(document, dict):
        found = type(document).__name__
        yield SchemaViolation(file=name, place=place, expected="a JSON object", found=found)
        return
    try:
        check_schema(document.get("schema", SCHEMA), Path(name))
    except ResultError:
        found = str(document.get("schema"))
        yield SchemaViolation(file=name, place=f"{place} schema", expected=SCHEMA, found=found)
        return
    try:
        TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        for detail in error.errors()[:MAX_VIOLATIONS]:
            field = ".".join(str(part) for part in detail["loc"])
            found = json.dumps(detail.get("input"), default=str)[:80]
            yield SchemaViolation(
                file=name, place=f"{place} {field}".strip(), expected=detail["msg"], found=found
            )


def _journal(run: Path, name: str) -> Iterator[SchemaViolation]:
    path = run / name
    if not path.is_file():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), start=1):
            place = f"line {number}"
            try:
                document = loads(line.decode())
            except (ValueError, RecursionError) as error:
                # A line that is not JSON at all was cut off by a crash.
                yield SchemaViolation(
                    file=name, place=place, expected="JSON", found=_words(error), crash=True
                )
                continue
            yield from _line(name, place, document)


def _line(name: str, place: str, document: Any) -> Iterator[SchemaViolation]:
    kind = document.get("type", "block") if isinstance(document, dict) else "block"
    if kind != "block":
        return  # idle windows, and records of later versions
    violations = list(_object(name, place, document, BlockRecord))
    yield from violations
    kind = document.get("kind")
    if violations or document.get("status") != "ok" or kind not in BLOCK_KINDS:
        return
    if kind in KINDS_WITH_FIGURES and not document.get(kind):
        expected = f"{kind} of an ok block"
        yield SchemaViolation(file=name, place=place, expected=expected, found="nothing")


def _power(run: Path, place: str) -> Iterator[SchemaViolation]:
    name = f"{place}/{POWER_MAP}"
    channels: frozenset[str] | None = None
    try:
        content = read_limited(run / name)
        document = None if content is None else loads(content.decode())
        if isinstance(document, Mapping):
            rail_map_from_json(document)
            channels = frozenset(str(channel["id"]) for channel in document.get("channels") or ())
    except (ResultError, KeyError, TypeError, AttributeError, ValueError) as error:
        yield SchemaViolation(file=name, place="", expected="a rail map", found=_words(error))
    yield from islice(_trace(run, f"{place}/{POWER_TRACE}", channels), MAX_VIOLATIONS)


def _trace(run: Path, name: str, channels: frozenset[str] | None) -> Iterator[SchemaViolation]:
    path = run / name
    if not path.is_file():
        return
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(iter(lambda: file.readline(4096), ""), start=1):
                expected = _wrong_reading(number, line.rstrip("\r\n"), channels)
                if expected:
                    place, found = f"line {number}", line.strip()[:80]
                    yield SchemaViolation(file=name, place=place, expected=expected, found=found)
                if number > MAX_READINGS:
                    return
    except EOFError:
        yield SchemaViolation(
            file=name, place="end", expected="a whole trace", found="cut off", crash=True
        )
    except (OSError, zlib.error) as error:
        yield SchemaViolation(file=name, place="", expected="gzip", found=_words(error))


def _wrong_reading(number: int, line: str, channels: frozenset[str] | None) -> str:
    """Return what a line of a trace should have been; empty if it is valid."""
    if number == 1:
        return "" if line == TRACE_HEADER else TRACE_HEADER
    try:
        time, channel, raw = line.split(",")
        finite = math.isfinite(float(time)) and math.isfinite(float(raw))
    except ValueError:
        return "seconds,channel,reading"
    if not finite:
        return "finite numbers"
    if channels is not None and channel not in channels:
        return f"one of the channels {', '.join(sorted(channels))}"
    return ""


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
