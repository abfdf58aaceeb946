"""Between the board's raw power log and the trace of a result: the job's sensors, and parsing.

The board logs what it reads. Numbers pass through as they are; lines of text (tegrastats,
vcgencmd, a program that prints watts) become readings of the rail map's channels here, so that
reports need nothing but the rail map.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.power import meter
from harness.power.meter import Window
from reports.results.records import BlockRecord
from targets.sensors.vcgencmd import pmic_read_adc
from targets.tegrastats import parse_line

HEADER = b"t_s,sensor,raw\n"
MAX_NOTES = 8
_WATTS = re.compile(r"\s*([+-]?[0-9]{1,9}(?:\.[0-9]{0,12})?(?:[eE][+-]?[0-9]{1,2})?)\s*[wW]?\s*")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The readings of a run: ``trace`` for reports, ``raw`` where the board logged text."""

    trace: bytes
    raw: bytes | None
    notes: tuple[str, ...]


@dataclass
class _Faults:
    """What did not give a reading, by sensor and reason."""

    seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, sensor: str, reason: str) -> None:
        self.seen[(sensor, reason)] += 1

    def notes(self) -> tuple[str, ...]:
        return tuple(
            f"power, {sensor}: {reason}" + (f" ({count} times)" if count > 1 else "")
            for (sensor, reason), count in self.seen.most_common(MAX_NOTES)
        )


def job_power(rail_map: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the board's sampler needs of a rail map; empty where it has nothing to do."""
    if not rail_map:
        return {}
    channels = {channel["id"]: channel for channel in rail_map["channels"]}
    sensors = [
        {**sensor, "channels": [channels[name] for name in sensor["channels"]]}
        for sensor in rail_map.get("sensors") or ()
        if sensor["kind"] != "csv"
    ]
    return {"sensors": sensors} if sensors else {}


def converts_in_an_instant(rail_map: Mapping[str, Any]) -> bool:
    """Tell whether a rail of the total shows instants, which can run in step with the work."""
    return any(
        rail["kind"] != "energy" and rail["conversion"] == "instant"
        for rail in rail_map["rails"]
        if rail["name"] in rail_map["total"]
    )


def add_meter(
    run_map: Mapping[str, Any], path: Path, busy: Sequence[Window]
) -> tuple[dict[str, Any], bytes, str]:
    """Return the rail map with the meter's own interval, its rows of the trace, and a note.

    Raises:
        MeterProblem: the file gives no power for these windows.
    """
    measured = meter.read_meter(path)
    found = meter.align(measured, busy)
    rails = [{**rail, "update_interval_s": measured.interval_s} for rail in run_map["rails"]]
    rail_map = {**run_map, "rails": rails, "interval_s": measured.interval_s}
    note = (
        f"{path.name}: the meter's clock is {-found.offset_s:+.2f} s off the board's "
        f"(correlation {found.correlation:.2f} with the blocks)"
    )
    rows = meter.trace_rows(measured, found, str(run_map["channels"][0]["id"]))
    return rail_map, HEADER + rows, note


def busy_windows(blocks: Iterable[BlockRecord]) -> tuple[Window, ...]:
    """Return the timed windows of blocks, in order."""
    phases = [phase for block in blocks for phase in block.timing.values()]
    return tuple(sorted(phase.window_s for phase in phases if phase.window_s))


def make_trace(log: bytes, rail_map: Mapping[str, Any]) -> Trace:
    """Return the trace of a board's log; what it cannot read becomes notes, never an error."""
    numbers = {str(channel["id"]) for channel in rail_map["channels"]}
    ids = {str(channel["path"]): str(channel["id"]) for channel in rail_map["channels"]}
    parsers = _parsers(rail_map)
    faults = _Faults()
    out = [HEADER]
    text = False
    for t_s, sensor, raw in _rows(log):
        if raw.startswith("!"):
            faults.add(sensor, raw[1:])
        elif sensor in parsers:
            text = True
            found = tuple(parsers[sensor](raw))
            readings = ((ids[path], value) for path, value in found if path in ids)
            out += [f"{t_s},{channel},{value}\n".encode() for channel, value in readings]
            if not found and raw.strip():
                faults.add(sensor, "lines that are no reading")
        elif sensor in numbers:
            out.append(f"{t_s},{sensor},{raw}\n".encode())
    return Trace(trace=b"".join(out), raw=log if text else None, notes=faults.notes())


_Parser = Callable[[str], Iterator[tuple[str, str]]]


def _parsers(rail_map: Mapping[str, Any]) -> dict[str, _Parser]:
    """Return, for each sensor that gives text, what makes (path, number) pairs of a line."""
    known: dict[str, _Parser] = {"tegrastats": _tegrastats, "vcgencmd": _pmic, "command": _watts}
    ids = (sensor["id"] for sensor in rail_map.get("sensors") or ())
    return {sensor: known[sensor] for sensor in ids if sensor in known}


def _tegrastats(raw: str) -> Iterator[tuple[str, str]]:
    sample = parse_line(raw + "\n")  # the board passes on whole lines only
    if sample is not None:
        for name, rail in sample.rails_mw.items():
            yield f"tegrastats:{name}", str(rail[0])


def _pmic(raw: str) -> Iterator[tuple[str, str]]:
    reply = pmic_read_adc(raw)
    for unit, values in (("V", reply.volts), ("A", reply.amperes)):
        for name, value in values.items():
            yield f"pmic:{name}_{unit}", repr(value)


def _watts(raw: str) -> Iterator[tuple[str, str]]:
    match = _WATTS.fullmatch(raw)
    if match:
        yield "command", match[1]


def _rows(log: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield (t_s, sensor, raw) of the rows that are whole; a crash may have cut some."""
    for line in io.BytesIO(log):  # row by row: a cut quotation must not swallow those after it
        if not line.endswith(b"\n"):
            return
        row = _row(line.decode("utf-8", "replace").rstrip("\r\n"))
        if len(row) == 3 and _is_time(row[0]):
            yield row[0], row[1], row[2]


def _row(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def _is_time(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
