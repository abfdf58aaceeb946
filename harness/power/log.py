"""Between the board's raw power log and the trace of a result: the job's sensors, and parsing.

The board logs what it reads. Numbers pass through as they are; lines of text (tegrastats,
vcgencmd, a program that prints watts) become readings of the rail map's channels here, so that
reports need nothing but the rail map.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.power import meter
from harness.power.meter import Window
from harness.power.meter_rows import fields_of
from reports.results.power import RailMap, rail_map_from_json
from reports.results.records import BlockRecord
from reports.text.wording import printable
from targets.sensors.rails import PowerPlan
from targets.sources import SOURCES
from workloads.spec.messages import to_json

HEADER = b"t_s,sensor,raw\n"
MAX_NOTES = 8
MAX_QUOTE = 80


@dataclass(frozen=True, kw_only=True)
class LoggedTrace:
    """The readings of a board's log: ``trace`` for reports, ``raw`` where the board logged text."""

    trace: bytes
    raw: bytes | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MeterTrace:
    """The readings of an external meter, the seconds between them, and a note for the reader."""

    interval_s: float
    trace: bytes
    note: str


@dataclass
class _Faults:
    """What did not give a reading, by sensor and reason."""

    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    strange: dict[str, str] = field(default_factory=dict)  # by sensor: its first strange line

    def add(self, sensor: str, reason: str) -> None:
        self.seen[(sensor, reason)] += 1

    def add_strange(self, sensor: str, line: str) -> None:
        """Count a line that is no reading; the first one of a sensor stands for all."""
        first = self.strange.setdefault(sensor, printable(line)[:MAX_QUOTE])
        self.add(sensor, f"lines that are not readings, such as '{first}'")

    def notes(self) -> tuple[str, ...]:
        return tuple(
            f"power, {sensor}: {reason}" + (f" ({count} times)" if count > 1 else "")
            for (sensor, reason), count in self.seen.most_common(MAX_NOTES)
        )


def rail_map_of(plan: PowerPlan) -> RailMap:
    """Return a plan of ``targets`` as reports know it; ``targets`` imports nothing of ours."""
    return rail_map_from_json(to_json(asdict(plan)))


def job_power(rail_map: RailMap | None) -> dict[str, Any]:
    """Return what the board's sampler needs of a rail map; empty where it has nothing to do."""
    sensors = rail_map.sensors if rail_map else ()
    sampled = [asdict(sensor) for sensor in sensors if sensor.kind != "csv"]
    return {"sensors": to_json(sampled)} if sampled else {}


def converts_in_an_instant(rail_map: RailMap) -> bool:
    """Return whether a rail of the total shows instants, which can run in step with the work."""
    return any(
        rail.kind != "energy" and rail.conversion == "instant"
        for rail in rail_map.rails
        if rail.name in rail_map.total
    )


def align_meter(rail_map: RailMap, path: Path, busy: Sequence[Window]) -> MeterTrace:
    """Return what a meter's file shows of these windows, on the board's clock.

    Raises:
        MeterError: the file gives no power for these windows.
    """
    measured = meter.read_meter(path)
    alignment = meter.align(measured, busy)
    note = (
        f"{path.name}: the meter's clock is {-alignment.offset_s:+.2f} s off the board's "
        f"(correlation {alignment.correlation:.2f} with the blocks)"
    )
    note = f"{note}; {measured.note}" if measured.note else note
    rows = meter.trace_rows(measured, alignment, rail_map.channels[0].id)
    return MeterTrace(interval_s=measured.interval_s, trace=HEADER + rows, note=note)


def busy_windows(blocks: Iterable[BlockRecord]) -> tuple[Window, ...]:
    """Return the timed windows of blocks, in order."""
    phases = [phase for block in blocks for phase in block.timing.values()]
    return tuple(sorted(phase.window_s for phase in phases if phase.window_s))


def make_trace(log: bytes, rail_map: RailMap) -> LoggedTrace:
    """Return the trace of a board's log; what it cannot read becomes notes, never an error."""
    ids_by_path = {channel.path: channel.id for channel in rail_map.channels}
    ids = set(ids_by_path.values())
    logged = {sensor.id for sensor in rail_map.sensors}
    parsers = {
        name: source.readings
        for name, source in SOURCES.items()
        if name in logged and source.readings is not None
    }
    faults = _Faults()
    out = io.BytesIO()  # not a list: there may be fifty million readings
    out.write(HEADER)
    text = False
    for t_s, sensor, raw in _rows(log):
        if raw.startswith("!"):
            faults.add(sensor, raw[1:])
        elif sensor in parsers:
            text = True
            readings = tuple(parsers[sensor](raw))
            for path, value in readings:
                if path in ids_by_path:
                    out.write(f"{t_s},{ids_by_path[path]},{value}\n".encode())
            if not readings and raw.strip():
                faults.add_strange(sensor, raw)
        elif sensor in ids:
            out.write(f"{t_s},{sensor},{raw}\n".encode())
    return LoggedTrace(trace=out.getvalue(), raw=log if text else None, notes=faults.notes())


def _rows(log: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield (t_s, sensor, raw) of the rows that are whole; a crash may have cut some."""
    for line in io.BytesIO(log):  # row by row: a cut quotation must not swallow those after it
        if not line.endswith(b"\n"):
            return
        row = fields_of(line.decode("utf-8", "replace").rstrip("\r\n"))
        if len(row) == 3 and _is_time(row[0]):
            yield row[0], row[1], row[2]


def _is_time(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
