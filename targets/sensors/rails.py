"""What sensor files say: readings as text, rails made of them, and the plan of what to sample."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

TO_SI = {
    "V": 1.0,
    "A": 1.0,
    "mV": 1e-3,
    "mA": 1e-3,
    "mW": 1e-3,
    "uW": 1e-6,
    "uJ": 1e-6,
    "mJ": 1e-3,
    "W": 1.0,
}
_NUMBER = re.compile(r"[+-]?[0-9]{1,24}(?:\.[0-9]{1,12})?")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One sensor file as it was read; `raw` is None where there is no such file."""

    path: str
    unit: str
    raw: str | None

    @property
    def number(self) -> float | None:
        """Return the number in the file, in its own unit; None for an error or anything else."""
        text = (self.raw or "").strip()
        return float(text) if _NUMBER.fullmatch(text) else None

    @property
    def value(self) -> float | None:
        """Return the reading in V, A, W or J."""
        number = self.number
        return None if number is None else number * TO_SI[self.unit]

    @property
    def fault(self) -> str | None:
        """Say why there is no number, None where there is a number."""
        if self.number is not None:
            return None
        if self.raw is None:
            return f"{self.path} does not exist"
        if self.raw.startswith("!"):
            return f"{self.path} is not readable ({self.raw[1:]})"
        return f"{self.path} does not hold a number"


@dataclass(frozen=True, kw_only=True)
class SensedRail:
    """A rail of a sensor: its readings at the probe, and how the sensor takes them."""

    name: str
    sensor: str  # hwmon-ina3221, iio-ina3221x, hwmon-ina238, powercap, ...
    kind: str  # volt_amp, power or energy
    readings: tuple[Reading, ...]
    resolution: tuple[float, ...]  # the step of each reading, in V, A, W or J
    tolerance: float  # relative
    conversion: str = "instant"  # or average: the value covers the whole update interval
    update_interval_s: float | None = None
    wrap_j: float | None = None
    labelled: bool = True  # False: the name is only the chip and its address

    @property
    def power_w(self) -> float | None:
        """Return the power at the probe; None where a reading is missing or it is a counter."""
        if self.kind == "energy" or not self.readings:
            return None
        power_w = 1.0
        for reading in self.readings:
            value = reading.value
            if value is None:
                return None
            power_w *= value
        return power_w

    @property
    def fault(self) -> Reading | None:
        """Return the first reading that gave no number."""
        return next((reading for reading in self.readings if reading.fault), None)

    def named(self, name: str) -> SensedRail:
        """Return the same rail under another name."""
        return replace(self, name=name)


@dataclass(frozen=True, kw_only=True)
class PlannedRail:
    """A rail of power.json."""

    name: str
    kind: str
    channels: tuple[str, ...]
    conversion: str
    update_interval_s: float | None
    resolution: tuple[float, ...]
    tolerance: float | None  # None: nobody knows
    wrap_j: float | None


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A number that the board samples.

    Its path is a file's as seen below the sysroot, or names the rail of another source, such as
    `tegrastats:VDD_IN`.
    """

    id: str
    path: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something that cannot be measured, why, and what would mend it."""

    what: str
    reason: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """A source that the board reads on its own schedule.

    Its kind is files, nvml, pynvml, jtop or pyrapl, whose readings are numbers; lines (a program
    that prints on and on) or repeated (a program that is run for each reading), whose lines are
    text for a parser; or csv, a meter's file that is read after the run.
    """

    id: str  # the name in the board's log for lines of text and errors
    kind: str
    argv: tuple[str, ...]
    interval_s: float
    channels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Secondary:
    """Another total that the same trace gives; of another scope, so never added or compared."""

    source: str
    scope: str
    rule: str
    total: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PowerPlan:
    """What to sample and how to make power of it; asdict() is power.json."""

    source: str | None
    scope: str | None
    rule: str
    total: tuple[str, ...]  # names of the rails to add; empty: the power is not measured
    rails: tuple[PlannedRail, ...]
    channels: tuple[Channel, ...]
    interval_s: float
    missing: tuple[Missing, ...]
    sensors: tuple[Sensor, ...] = ()
    secondary: tuple[Secondary, ...] = ()


Files = Mapping[str, str]


def files_of(probe: Mapping[str, Any]) -> Files:
    """Return the probe's files; what is not a path with a text is left out."""
    files = probe.get("files")
    if not isinstance(files, Mapping):
        return {}
    return {
        path: content
        for path, content in files.items()
        if isinstance(path, str) and isinstance(content, str)
    }


def folders(files: Files) -> dict[str, dict[str, str]]:
    """Sort files by the folder they are in: folder -> name -> content."""
    sorted_files: dict[str, dict[str, str]] = {}
    for path in sorted(files):
        folder, _, name = path.rpartition("/")
        sorted_files.setdefault(folder, {})[name] = files[path]
    return sorted_files


def power_now_w(plan: PowerPlan, rail: PlannedRail, files: Files) -> float | None:
    """Return what a rail's files showed at the probe.

    None for a counter, for what no file shows, and where a reading is missing.
    """
    channels = {channel.id: channel for channel in plan.channels}
    power_w = 1.0
    for name in rail.channels:
        channel = channels[name]
        value = Reading(path=channel.path, unit=channel.unit, raw=files.get(channel.path)).value
        if value is None or rail.kind == "energy":
            return None
        power_w *= value
    return power_w


def text_of(folder: Mapping[str, str], name: str) -> str | None:
    """Return a file's text, None where it is absent, empty or not readable."""
    text = folder.get(name, "").strip()
    return text if text and not text.startswith("!") else None


def number_of(folder: Mapping[str, str], name: str) -> float | None:
    """Return the number in a file, None where there is none."""
    return Reading(path=name, unit="W", raw=folder.get(name)).number
