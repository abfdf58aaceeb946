"""The power side of one target's result folder: power.json, the trace, the raw log beside it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.power.log import align_meter, busy_windows, job_power, make_trace, rail_map_of
from harness.power.meter import MeterError
from reports.results.files import POWER_PART
from reports.results.power import RailMap, rail_map_from_json
from reports.results.read import MAX_READINGS, POWER_MAP, POWER_TRACE
from reports.results.records import BlockRecord
from reports.results.write import write_bytes_atomic, write_json_atomic
from reports.text.masking import masked
from targets.inventory import Inventory, Target
from targets.power_plans import plan_power
from workloads.spec.messages import to_json

POWER_LOG = "power-raw.csv.gz"  # what the board logged, where that was text


class PowerFiles:
    """Plans a target's sensors and writes what they gave; every method returns notes for a user."""

    def __init__(self, target: Target, inventory: Inventory | None, folder: Path) -> None:
        """Remember where the files go; nothing is written yet."""
        self._power = target.power
        self._inventory = inventory
        self._folder = folder
        self._planned: RailMap | None = None

    @property
    def rail_map(self) -> RailMap | None:
        """Return what was planned, else what power.json says; None where power is off."""
        if self._planned is not None:
            return self._planned
        document = self._document()
        return None if document is None else rail_map_from_json(document)

    @property
    def part(self) -> Path:
        """Return where the board's log grows until all of it is here."""
        return self._folder / POWER_PART

    @property
    def is_sampled(self) -> bool:
        """Return whether the board itself logs the power."""
        return bool(job_power(self.rail_map))

    @property
    def has_trace(self) -> bool:
        """Return whether a trace is here."""
        return (self._folder / POWER_TRACE).is_file()

    def plan(self, platform: str, probe: Mapping[str, Any]) -> tuple[str, ...]:
        """Choose the sensors and write power.json, which also says what is missing and why."""
        if self._power.kind == "off":
            return ("power is switched off in the inventory",)
        plan = plan_power(platform, probe, self._power.kind, self._power.argument)
        self._planned = rail_map_of(plan)
        write_json_atomic(self._folder / POWER_MAP, to_json(asdict(plan)))
        return tuple(f"{item.what}: {item.reason} — {item.remedy}" for item in plan.missing)

    def job_power(self, platform: str, probe: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the board's sampler needs, secrets and all, as the inventory has it now."""
        plan = plan_power(platform, probe, self._power.kind, self._power.argument)
        return job_power(rail_map_of(plan))

    def keep(self, log: bytes) -> tuple[str, ...]:
        """Write the trace of what the board logged, and the log itself where it is text."""
        rail_map = self.rail_map
        if rail_map is None:
            return ()
        trace = make_trace(log, rail_map)
        self._continue(POWER_TRACE, trace.trace)
        if trace.raw is not None:
            text = trace.raw.decode("utf-8", "surrogateescape")
            self._continue(POWER_LOG, masked(text).encode("utf-8", "surrogateescape"))
        readings = trace.trace.count(b"\n") - 1
        if readings > MAX_READINGS:
            late = f"power: of {readings} readings only the first {MAX_READINGS} are evaluated"
            return (*trace.notes, late)
        return trace.notes

    def keep_meter(self, blocks: Iterable[BlockRecord]) -> tuple[str, ...]:
        """Take the power from an external meter's file, if the inventory names one."""
        document = self._document()
        if self._power.kind != "csv" or document is None:
            return ()
        path = Path(self._power.argument or "").expanduser()
        if self._inventory is not None:
            path = self._inventory.path.parent / path
        try:
            measured = align_meter(rail_map_from_json(document), path, busy_windows(blocks))
        except MeterError as problem:
            return (f"power: {problem}",)
        self._write(POWER_TRACE, measured.trace)
        rails = [{**rail, "update_interval_s": measured.interval_s} for rail in document["rails"]]
        document |= {"rails": rails, "interval_s": measured.interval_s}
        write_json_atomic(self._folder / POWER_MAP, document)
        return (measured.note,)

    def _document(self) -> dict[str, Any] | None:
        path = self._folder / POWER_MAP
        if not path.exists():
            return None
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document

    def _continue(self, name: str, content: bytes) -> None:
        """Write a log after what is here of a job folder that the board has lost."""
        path = self._folder / name
        earlier = gzip.decompress(path.read_bytes()) if path.exists() else b""
        if not content.startswith(earlier):
            content = earlier[: earlier.rfind(b"\n") + 1] + content.partition(b"\n")[2]
        self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        write_bytes_atomic(self._folder / name, gzip.compress(content, mtime=0))
