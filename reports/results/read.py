"""Reading a result folder: files in, the dataclasses of ``records`` out.

What a board wrote is data: sizes are limited, fields are checked, unknown ones are ignored, and
nothing in a file is ever used as a path.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from gzip import GzipFile
from pathlib import Path
from typing import Any

import numpy as np

from reports.results.discounted import discounted
from reports.results.documents import (
    Malformed,
    ResultError,
    check_schema,
    read_document,
    read_limited,
    read_optional,
    typed,
)
from reports.results.fields import LARGEST, LATEST_S
from reports.results.files import (
    CALIBRATION,
    FLOORS,
    GATE,
    JOURNAL,
    MANIFEST,
    POWER_MAP,
    POWER_TRACE,
    PROBE,
    REPORT,
    RUN,
    SESSION,
    check_target_name,
)
from reports.results.journal import read_journal
from reports.results.power import RailMap, Trace, rail_map_from_json
from reports.results.records import Probe, Rule, Run, RunHeader, SessionRecord, TargetRun
from reports.results.sampler_cost import SamplerCost
from reports.text.masking import masked

__all__ = [  # with what the readers of a single file need
    "CALIBRATION",
    "FLOORS",
    "GATE",
    "JOURNAL",
    "MANIFEST",
    "MAX_READINGS",
    "POWER_MAP",
    "POWER_TRACE",
    "PROBE",
    "REPORT",
    "RUN",
    "SESSION",
    "ResultError",
    "check_schema",
    "check_target_name",
    "load_header",
    "load_run",
    "parse_trace",
    "read_limited",
    "read_trace",
    "run_folders",
]

MAX_READINGS = 50_000_000


def load_header(folder: Path) -> RunHeader:
    """Read run.json of a result folder alone, without the rule of its gate.

    Raises:
        ResultError: no run there, a broken run.json, or a newer major schema.
    """
    return typed(RunHeader, {**_run_json(folder), "gate": None}, folder / RUN)


def load_run(path: Path) -> Run:
    """Read a result folder.

    Tolerant of what a crash leaves: a cut last line, garbage lines and absent files become notes.

    Raises:
        ResultError: no run there, a broken run.json, or a newer major schema.
    """
    path = Path(path)
    if path.name == RUN:
        path = path.parent
    document = _run_json(path)
    try:
        return _load(path, document)
    except OSError as error:
        raise ResultError(f"cannot read {error.filename}: {error.strerror}") from error


def _run_json(folder: Path) -> dict[str, Any]:
    document = read_document(folder / RUN)
    if document is None:
        raise ResultError(f"{folder} is not a result folder: it has no {RUN}")
    check_schema(document.get("schema"), folder / RUN)
    return document


def _load(path: Path, document: Mapping[str, Any]) -> Run:
    header = typed(RunHeader, {**document, "gate": None}, path / RUN)
    header = replace(header, argv=tuple(masked(word) for word in header.argv))  # of older versions
    names, notes = _target_names(path / "targets")
    if document.get("gate") is not None:
        header = replace(header, gate=_rule(document["gate"], path / RUN, notes))
    listed = header.targets
    notes += [f"target {name} left no files" for name in listed if name not in names]
    names.sort(key=lambda name: (listed.index(name) if name in listed else len(listed), name))
    targets = tuple(_load_target(path / "targets" / name) for name in names)
    return Run(path=path, header=header, targets=targets, notes=tuple(notes))


def _rule(document: object, path: Path, notes: list[str]) -> Rule | None:
    """Return what the run is judged by; a broken rule costs the verdicts and nothing else."""
    try:
        if not isinstance(document, dict):
            raise Malformed(f"{path} is broken: gate is not a JSON object")
        return typed(Rule, document, path)
    except Malformed as error:
        notes.append(f"no verdicts: the rule by which the run is judged cannot be read: {error}")
        return None


def run_folders(path: Path) -> Iterator[Path]:
    """Yield the path if it is a run, else the runs right in it, in order of their names."""
    if (path / RUN).is_file() or path.name == RUN or not path.is_dir():
        yield path
        return
    yield from sorted(entry for entry in path.iterdir() if (entry / RUN).is_file())


def read_trace(target: TargetRun) -> Trace | None:
    """Read the raw power readings of one target by channel; None where it has none.

    A trace that a crash has cut is read up to the cut; lines that make no sense are left out.
    """
    path = target.folder / POWER_TRACE
    if not path.is_file():
        return None
    return parse_trace(_gzip_lines(path))


def parse_trace(lines: Iterable[str]) -> Trace:
    """Return the first MAX_READINGS readings of a trace's lines, without its header, by channel."""
    readings: dict[str, tuple[array[float], array[float]]] = {}
    count = 0
    for line in lines:
        try:
            time, channel, raw = line.rstrip("\r\n").split(",")
            t_s, value = float(time), float(raw)
        except ValueError:
            continue
        if abs(t_s) <= LATEST_S and abs(value) <= LARGEST:  # neither holds for NaN
            times, values = readings.setdefault(channel, (array("d"), array("d")))
            times.append(t_s)
            values.append(value)
            count += 1
        if count == MAX_READINGS:
            break
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
    """Return the targets' names in order of the alphabet, and notes on what is not a target."""
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
    session = read_optional(SessionRecord, folder / SESSION, notes) or SessionRecord(
        target=folder.name, reason="the session left no record"
    )
    probe = read_optional(Probe, folder / PROBE, notes)
    power = _read_power_map(folder / POWER_MAP, notes)
    sampler_cost = read_optional(SamplerCost, folder / CALIBRATION, notes)
    journal = read_journal(folder / JOURNAL)
    notes += journal.notes
    blocks = discounted(journal.blocks)
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
        idle=journal.idle,
        sampler_cost=sampler_cost,
    )


def _read_power_map(path: Path, notes: list[str]) -> RailMap | None:
    """Read power.json; a broken one is a note and no sensor."""
    try:
        document = read_document(path)
        if document is None:
            return None
        return typed(RailMap, asdict(rail_map_from_json(document)), path)
    except (Malformed, KeyError, TypeError, AttributeError, ValueError) as error:
        notes.append(f"{path.name} is broken, so there are no power figures: {error}")
        return None
