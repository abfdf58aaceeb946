"""The files of a result folder held to their schema, strictly: every line, every reading. Pure.

``load_run`` forgives what a crash leaves; here each such thing has its place named. What a crash
can do by itself (a cut line, a cut trace) is a note; what it cannot do is a difference.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from reports.power_trace import rail_map_from_json
from reports.reading import (
    CALIBRATION,
    JOURNAL,
    MAX_LINE_BYTES,
    MAX_READINGS,
    POWER_MAP,
    POWER_TRACE,
    PROBE,
    RUN,
    SESSION,
    ResultProblem,
    check_schema,
    read_limited,
)
from reports.records import BlockRecord, Probe, RunHeader, Session
from reports.sampler_cost import SamplerCost
from workloads.messages import BLOCK_KINDS, SCHEMA, loads

TRACE_HEADER = "t_s,sensor,raw"
MAX_COMPLAINTS = 20  # per file


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """A place in a file that is not as the schema has it; ``crash`` where a crash explains it."""

    file: str
    place: str
    expected: str
    found: str
    crash: bool = False


def check_files(run: Path) -> Iterator[Complaint]:
    """Yield what is wrong with the files of a run, by file."""
    yield from _json_file(run, RUN, RunHeader)
    targets = run / "targets"
    for folder in sorted(targets.iterdir()) if targets.is_dir() else ():
        if folder.is_dir() and not folder.is_symlink():
            place = f"targets/{folder.name}"
            yield from _json_file(run, f"{place}/{SESSION}", Session)
            yield from _json_file(run, f"{place}/{PROBE}", Probe)
            yield from _json_file(run, f"{place}/{CALIBRATION}", SamplerCost)
            yield from _first(_journal(run, f"{place}/{JOURNAL}"))
            yield from _power(run, place)


def _first(complaints: Iterator[Complaint]) -> Iterator[Complaint]:
    for count, complaint in enumerate(complaints):
        if count == MAX_COMPLAINTS:
            return
        yield complaint


def _json_file(run: Path, name: str, kind: Any) -> Iterator[Complaint]:
    try:
        content = read_limited(run / name)
        if content is not None and content.strip() != b"null":
            yield from _object(name, "", loads(content.decode()), kind)
    except (ResultProblem, ValueError, RecursionError) as error:
        yield Complaint(file=name, place="", expected="strict JSON", found=_words(error))


def _object(name: str, place: str, document: Any, kind: Any) -> Iterator[Complaint]:
    if not isinstance(document, dict):
        found = type(document).__name__
        yield Complaint(file=name, place=place, expected="a JSON object", found=found)
        return
    try:
        check_schema(document.get("schema", SCHEMA), Path(name))
    except ResultProblem:
        found = str(document.get("schema"))
        yield Complaint(file=name, place=f"{place} schema", expected=SCHEMA, found=found)
        return
    try:
        TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        for one in error.errors()[:MAX_COMPLAINTS]:
            where = ".".join(str(part) for part in one["loc"])
            found = json.dumps(one.get("input"), default=str)[:80]
            yield Complaint(
                file=name, place=f"{place} {where}".strip(), expected=one["msg"], found=found
            )


def _journal(run: Path, name: str) -> Iterator[Complaint]:
    path = run / name
    if not path.is_file():
        return
    orders: dict[int, int] = {}
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), start=1):
            place = f"line {number}"
            try:
                document = loads(line.decode())
            except (ValueError, RecursionError) as error:
                # Only a crash in mid-line leaves what is no JSON at all.
                yield Complaint(
                    file=name, place=place, expected="JSON", found=_words(error), crash=True
                )
                continue
            yield from _line(name, place, document, orders)


def _line(name: str, place: str, document: Any, orders: dict[int, int]) -> Iterator[Complaint]:
    kind = document.get("type", "block") if isinstance(document, dict) else "block"
    if kind != "block":
        return  # idle windows and what later versions add
    wrong = list(_object(name, place, document, BlockRecord))
    yield from wrong
    if wrong or document.get("status") != "ok" or document.get("kind") not in BLOCK_KINDS:
        return
    part = {"timing": "timing", "memory": "memory", "fidelity": "fidelity"}.get(document["kind"])
    if part and not document.get(part):
        yield Complaint(file=name, place=place, expected=f"{part} of an ok block", found="nothing")


def _power(run: Path, place: str) -> Iterator[Complaint]:
    name = f"{place}/{POWER_MAP}"
    channels: frozenset[str] | None = None
    try:
        content = read_limited(run / name)
        document = None if content is None else loads(content.decode())
        if isinstance(document, Mapping):
            rail_map_from_json(document)
            channels = frozenset(str(channel["id"]) for channel in document.get("channels") or ())
    except (ResultProblem, KeyError, TypeError, AttributeError, ValueError) as error:
        yield Complaint(file=name, place="", expected="a rail map", found=_words(error))
    yield from _first(_trace(run, f"{place}/{POWER_TRACE}", channels))


def _trace(run: Path, name: str, channels: frozenset[str] | None) -> Iterator[Complaint]:
    path = run / name
    if not path.is_file():
        return
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(iter(lambda: file.readline(4096), ""), start=1):
                expected = _wrong_reading(number, line.rstrip("\r\n"), channels)
                if expected:
                    place, found = f"line {number}", line.strip()[:80]
                    yield Complaint(file=name, place=place, expected=expected, found=found)
                if number > MAX_READINGS:
                    return
    except EOFError:
        yield Complaint(
            file=name, place="end", expected="a whole trace", found="cut off", crash=True
        )
    except (OSError, zlib.error) as error:
        yield Complaint(file=name, place="", expected="gzip", found=_words(error))


def _wrong_reading(number: int, line: str, channels: frozenset[str] | None) -> str:
    """Return what a line of a trace should have been; empty where it is right."""
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
