"""Reading a result folder: files in, the dataclasses of ``records`` out.

What a board wrote is data: sizes are limited, fields are checked, unknown ones are ignored, and
nothing in a file is ever used as a path.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from gzip import GzipFile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from reports.discounted import discounted
from reports.power_trace import RailMap, Trace, Window, rail_map_from_json
from reports.records import (
    BlockRecord,
    Probe,
    Run,
    RunHeader,
    Session,
    TargetRun,
)
from reports.sampler_cost import SamplerCost
from reports.throttle import throttled
from workloads.messages import SCHEMA

RUN = "run.json"
SESSION = "session.json"
PROBE = "probe.json"
JOURNAL = "journal.jsonl"
POWER_MAP = "power.json"
POWER_TRACE = "power.csv.gz"
CALIBRATION = "calibration.json"
REPORT = "report.html"
MANIFEST = "MANIFEST.sha256"

MAX_JSON_BYTES = 64 << 20
MAX_LINE_BYTES = 64 << 20
MAX_BLOCKS = 1_000_000
MAX_READINGS = 50_000_000
MAX_NAME = 100

T = TypeVar("T")


class ResultProblem(Exception):
    """A result folder that is absent, broken or too new; says what to do."""


def check_target_name(name: str) -> None:
    """Refuse a name that would leave the folder or hide in it.

    Raises:
        ValueError: with the reason.
    """
    if not name or len(name.encode()) > MAX_NAME:
        raise ValueError(f"a target's name must have 1 to {MAX_NAME} bytes")
    if name.startswith(".") or re.search(r"[/\\\x00-\x1f\x7f]", name):
        raise ValueError(
            f"{name!r} cannot be a target's name: it must not begin with a dot or contain a slash "
            "or a control character"
        )


def load_run(path: Path) -> Run:
    """Read a result folder.

    Tolerant of what a crash leaves: a cut last line, garbage lines and absent files become notes.

    Raises:
        ResultProblem: no run there, a broken run.json, or a newer major schema.
    """
    path = Path(path)
    if path.name == RUN:
        path = path.parent
    document = _read_document(path / RUN)
    if document is None:
        raise ResultProblem(f"{path} is not a result folder: it has no {RUN}")
    check_schema(document.get("schema"), path / RUN)
    try:
        return _load(path, document)
    except OSError as error:
        raise ResultProblem(f"cannot read {error.filename}: {error.strerror}") from error


def _load(path: Path, document: Mapping[str, Any]) -> Run:
    header = _typed(RunHeader, document, path / RUN)
    names, notes = _target_names(path / "targets")
    listed = [name for name in document.get("targets") or () if isinstance(name, str)]
    notes += [f"target {name} left no files" for name in listed if name not in names]
    names.sort(key=lambda name: (listed.index(name) if name in listed else len(listed), name))
    targets = tuple(_load_target(path / "targets" / name) for name in names)
    return Run(path=path, header=header, targets=targets, notes=tuple(notes))


def run_folders(path: Path) -> Iterator[Path]:
    """Yield the path if it is a run, else the runs right in it, in order of their names."""
    if (path / RUN).is_file() or path.name == RUN or not path.is_dir():
        yield path
        return
    yield from sorted(entry for entry in path.iterdir() if (entry / RUN).is_file())


def check_schema(schema: object, where: Path) -> None:
    """Refuse a file of another family or a newer major version.

    Raises:
        ResultProblem: with what to do.
    """
    family, ours = SCHEMA.split("/")
    match = re.fullmatch(rf"{family}/(\d+)(\.\d+)*", str(schema))
    if match is None:
        raise ResultProblem(f"{where}: schema {schema!r} is not one of {family}'s")
    if int(match[1]) > int(ours):
        raise ResultProblem(
            f"{where}: its schema is {schema}, this gfbench reads up to {SCHEMA}; upgrade gfbench"
        )


def read_trace(target: TargetRun) -> Trace | None:
    """Read the raw power readings of one target by channel; None where it has none.

    A trace that a crash has cut is read up to the cut; lines that make no sense are left out.

    Raises:
        ResultProblem: more readings than any run makes.
    """
    path = target.folder / POWER_TRACE
    if not path.is_file():
        return None
    return parse_trace(_gzip_lines(path), path)


def parse_trace(lines: Iterable[str], where: Path) -> Trace:
    """Return the readings of a trace's lines, its header left out, by channel.

    Raises:
        ResultProblem: more readings than any run makes.
    """
    readings: dict[str, tuple[array[float], array[float]]] = {}
    count = 0
    for line in lines:
        try:
            time, channel, raw = line.rstrip("\r\n").split(",")
            t_s, value = float(time), float(raw)
        except ValueError:
            continue
        if math.isfinite(t_s) and math.isfinite(value):
            times, values = readings.setdefault(channel, (array("d"), array("d")))
            times.append(t_s)
            values.append(value)
            count += 1
        if count > MAX_READINGS:
            raise ResultProblem(f"{where}: more than {MAX_READINGS} readings")
    return {name: (np.array(times), np.array(raw)) for name, (times, raw) in readings.items()}


def _gzip_lines(path: Path) -> Iterator[str]:
    with open(path, "rb") as raw, GzipFile(fileobj=raw) as file:
        try:
            header = True
            while line := file.readline(4096):
                if not header:
                    yield line.decode("utf-8", "replace")
                header = False
        except (EOFError, zlib.error, OSError):
            return  # cut by a crash: what came before is good


def _target_names(folder: Path) -> tuple[list[str], list[str]]:
    """Return the targets' names in order of the alphabet, and notes on what is not one."""
    names: list[str] = []
    notes: list[str] = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            check_target_name(entry.name)
        except ValueError as error:
            notes.append(f"left out: {error}")
            continue
        if entry.is_symlink():
            notes.append(f"left out: targets/{entry.name} is a link")
        elif entry.is_dir():
            names.append(entry.name)
    return names, notes


def _load_target(folder: Path) -> TargetRun:
    notes: list[str] = []
    session = _optional(Session, folder / SESSION, notes) or Session(
        target=folder.name, reason="the session left no record"
    )
    probe = _optional(Probe, folder / PROBE, notes)
    power = _read_power_map(folder / POWER_MAP, notes)
    sampler_cost = _optional(SamplerCost, folder / CALIBRATION, notes)
    idle: list[Window] = []
    blocks = discounted(_last_ok_of_each_order(_read_journal(folder / JOURNAL, notes, idle)))
    return TargetRun(
        name=folder.name,
        folder=folder,
        session=session,
        probe=probe,
        blocks=tuple(b for b in blocks if b.kind != "sentinel" and not b.verification),
        sentinels=tuple(b for b in blocks if b.kind == "sentinel"),
        verification=tuple(b for b in blocks if b.kind != "sentinel" and b.verification),
        power=power,
        notes=tuple(dict.fromkeys(notes)),
        idle=tuple(sorted(idle)),
        sampler_cost=sampler_cost,
    )


def _read_power_map(path: Path, notes: list[str]) -> RailMap | None:
    """Read power.json; a broken one is a note and no sensor."""
    try:
        document = _read_document(path)
        if document is None:
            return None
        return _typed(RailMap, asdict(rail_map_from_json(document)), path)
    except (_Malformed, KeyError, TypeError, AttributeError, ValueError) as error:
        notes.append(f"{path.name} is broken, so there are no power figures: {error}")
        return None


def _last_ok_of_each_order(blocks: list[BlockRecord]) -> tuple[BlockRecord, ...]:
    """Keep one block per order: a resumed run repeats what had failed."""
    kept: dict[int, BlockRecord] = {}
    for block in blocks:
        earlier = kept.get(block.order)
        if earlier is None or block.status == "ok" or earlier.status != "ok":
            kept[block.order] = block
    return tuple(kept[order] for order in sorted(kept))


def _read_journal(path: Path, notes: list[str], idle: list[Window]) -> list[BlockRecord]:
    """Return the blocks; notes on what is not one and the idle windows are added to the lists."""
    blocks: list[BlockRecord] = []
    garbage = 0
    for line, whole in _journal_lines(path):
        document = _parse(line)
        if isinstance(document, dict) and document.get("type", "block") != "block":
            idle += _idle_window(document)
            continue
        try:
            blocks.append(_block(document, path))
        except ResultProblem as error:
            if not whole:
                notes.append("the journal's last line is cut off: its block does not count")
                continue
            garbage += 1
            if not isinstance(error, _Malformed):
                notes.append(str(error))
        if len(blocks) > MAX_BLOCKS:
            raise ResultProblem(f"{path}: more than {MAX_BLOCKS} blocks")
    if garbage:
        notes.append(f"{garbage} line(s) of the journal are not blocks and do not count")
    return blocks


def _block(document: object, path: Path) -> BlockRecord:
    if not isinstance(document, dict):
        raise _Malformed(f"{path}: a line is not a JSON object")
    check_schema(document.get("schema", SCHEMA), path)
    block = _typed(BlockRecord, document, path)
    evidence = throttled(block.state_before, block.state_after)
    if block.kind in ("timing", "sentinel") and block.status == "ok" and evidence:
        return replace(block, status="throttled", reason=evidence)
    return block


def _idle_window(document: Mapping[str, Any]) -> list[Window]:
    """Return the window of a record of the idle machine, if it is one."""
    window = document.get("window_s")
    if document.get("type") != "idle" or not isinstance(window, list) or len(window) != 2:
        return []
    begin, end = (float(edge) if isinstance(edge, (int, float)) else math.nan for edge in window)
    return [(begin, end)] if begin < end < math.inf else []


def _journal_lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield the lines and whether each is whole; an overlong one is cut and its rest dropped."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            whole = line.endswith(b"\n")
            rest = line
            while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
                rest, whole = file.readline(MAX_LINE_BYTES), True
            if line.strip():
                yield line, whole


class _Malformed(ResultProblem):
    """A document that lacks what it must have."""


def _optional(kind: type[T], path: Path, notes: list[str]) -> T | None:
    """Read a document that a crash may have left out or broken."""
    try:
        document = _read_document(path)
        return None if document is None else _typed(kind, document, path)
    except _Malformed as error:
        notes.append(str(error))
        return None


def _read_document(path: Path) -> dict[str, Any] | None:
    content = read_limited(path)
    if content is None or content.strip() == b"null":
        return None
    document = _parse(content)
    if not isinstance(document, dict):
        raise _Malformed(f"{path} is broken: not a JSON object")
    return document


def read_limited(path: Path) -> bytes | None:
    """Return a file's bytes, None where there is none; refuse a huge one."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ResultProblem(f"cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_JSON_BYTES:
        raise _Malformed(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB")
    return content


def _parse(content: bytes) -> object:
    """Return the JSON value, None where it is not strict JSON."""
    try:
        value: object = json.loads(content, parse_constant=_refuse_constant)
        return _unicode(value) if _SURROGATE.search(content) else value
    except (ValueError, RecursionError):
        return None


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _unicode(value: object) -> object:
    """Replace lone surrogates, which JSON can escape and no file or page can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_unicode(item) for item in value]
    if isinstance(value, dict):
        return {_unicode(name): _unicode(item) for name, item in value.items()}
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _typed(kind: type[T], document: Mapping[str, Any], path: Path) -> T:
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        adapter = _ADAPTERS[kind] = TypeAdapter(kind)
    try:
        value: T = adapter.validate_python(dict(document))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _Malformed(f"{path} is broken: {where}: {first['msg']}") from error
    return value
