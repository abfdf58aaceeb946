"""What the board wrote down, as power: raw readings and a rail map in, rails in SI units out.

A reading gets its unit, and its partner: volts are multiplied with the amperes read nearest in
time. A counter is unwrapped: it may wrap any number of times if it was read at least once per
wrap. What repeated reads of one conversion mean is told in ``reports.conversions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Trace = Mapping[str, tuple[FloatArray, FloatArray]]  # channel id -> (t_s, raw), any order
Window = tuple[float, float]

SI = {
    f"{prefix}{unit}": factor
    for unit in "VAWJ"
    for prefix, factor in (("", 1.0), ("m", 1e-3), ("u", 1e-6))
}
# A negative step of a counter is a wrap only if the power it implies can be.
PLAUSIBLE_POWER_W = 5000.0


class NotMeasured(Exception):
    """No figure can be given: ``status`` is missing or invalid, with reason and remedy."""

    def __init__(self, status: str, reason: str, remedy: str = "") -> None:
        """Keep what is wrong and what to change."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One file or field that was read, and the unit of its raw numbers."""

    id: str
    unit: str
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Rail:
    """One supply rail: the channels it is computed from and how its sensor behaves.

    ``update_interval_s`` is None for a sensor that converts when it is read.
    """

    name: str
    kind: str  # volt_amp | power | energy
    channels: tuple[Channel, ...]
    conversion: str = "instant"  # instant | average
    update_interval_s: float | None = None
    resolution: tuple[float | None, ...] = ()  # SI unit of each channel
    tolerance: float | None = None
    wrap_j: float | None = None


@dataclass(frozen=True, kw_only=True)
class RailMap:
    """Which rails were read, which of them make the total, and what the total stands for."""

    source: str
    scope: str
    rule: str
    total: tuple[str, ...]
    rails: tuple[Rail, ...]
    interval_s: float | None = None
    missing: tuple[str, ...] = ()

    def rail(self, name: str) -> Rail | None:
        """Return the rail of that name."""
        return next((rail for rail in self.rails if rail.name == name), None)


@dataclass(frozen=True, kw_only=True)
class RailSeries:
    """A rail's readings in time order: watts, or unwrapped joules where ``rail.kind`` is energy."""

    rail: Rail
    times_s: FloatArray
    values: FloatArray
    quantum: float  # the step of one value, W or J

    @property
    def interval_s(self) -> float:
        """Return the median time between two reads."""
        return float(np.median(np.diff(self.times_s))) if self.times_s.size > 1 else float("inf")


def rail_map_from_json(data: Mapping[str, Any]) -> RailMap:
    """Read the object of ``power.json``; unknown fields are ignored."""
    channels = {
        str(item["id"]): Channel(id=str(item["id"]), unit=item["unit"], path=item.get("path") or "")
        for item in data["channels"]
    }
    rails = tuple(
        Rail(
            name=item["name"],
            kind=item["kind"],
            channels=tuple(channels[str(name)] for name in item["channels"]),
            conversion=item.get("conversion") or "instant",
            update_interval_s=item.get("update_interval_s"),
            resolution=tuple(item.get("resolution") or ()),
            tolerance=item.get("tolerance"),
            wrap_j=item.get("wrap_j"),
        )
        for item in data["rails"]
    )
    return RailMap(
        source=data.get("source") or "",
        scope=data.get("scope") or "",
        rule=data.get("rule") or "",
        total=tuple(data.get("total") or ()),
        rails=rails,
        interval_s=data.get("interval_s"),
        missing=tuple(_missing_words(item) for item in data.get("missing") or ()),
    )


def rail_series(trace: Trace, rail: Rail, window: Window | None = None) -> RailSeries:
    """Return the rail's readings around the window (all of them without one).

    Raises:
        NotMeasured: a channel has no readings there, or a counter went backwards.
    """
    parts = [_channel_readings(trace, channel, rail, window) for channel in rail.channels]
    if rail.kind == "volt_amp":
        times_s, values, quantum = _volt_amp(rail, parts)
    elif rail.kind in ("power", "energy") and len(parts) == 1:
        (times_s, values), quantum = parts[0], _quantum(rail, 0)
    else:
        raise NotMeasured(
            "missing", f"rail {rail.name}: unknown kind, {rail.kind} of {len(parts)} channels"
        )
    if rail.kind == "energy":
        values = unwrap(times_s, values, rail)
    return RailSeries(rail=rail, times_s=times_s, values=values, quantum=quantum)


def unwrap(times_s: FloatArray, counter_j: FloatArray, rail: Rail) -> FloatArray:
    """Return the joules since the first read of a counter that restarts at ``rail.wrap_j``.

    Raises:
        NotMeasured: it went backwards and no wrap explains it (a reset, a reloaded driver).
    """
    steps_j = np.diff(counter_j)
    back = steps_j < 0
    if back.any():
        wrapped_j = steps_j + (rail.wrap_j or 0.0)
        explained = (wrapped_j >= 0) & (wrapped_j <= PLAUSIBLE_POWER_W * np.diff(times_s))
        if not rail.wrap_j or not explained[back].all():
            raise NotMeasured(
                "invalid",
                f"the energy counter of {rail.name} was reset inside the window",
                "repeat the measurement, and do not reload the sensor's driver during it",
            )
        steps_j = np.where(back, wrapped_j, steps_j)
    return np.concatenate(([0.0], np.cumsum(steps_j)))


def total_power(trace: Trace, rail_map: RailMap) -> tuple[FloatArray, FloatArray] | None:
    """Return (t_s, power_w) of the total on the union of its rails' times, for drawing.

    None where a rail of the total is missing: a partial sum is never shown as the total.
    """
    rails = [rail_map.rail(name) for name in rail_map.total]
    try:
        drawn = [power_series(trace, rail) for rail in rails if rail is not None]
    except NotMeasured:
        return None
    if not drawn or len(drawn) != len(rails):
        return None
    times_s = np.unique(np.concatenate([times for times, _ in drawn]))
    first = max(times[0] for times, _ in drawn)
    last = min(times[-1] for times, _ in drawn)
    times_s = times_s[(times_s >= first) & (times_s <= last)]
    return times_s, np.sum([np.interp(times_s, *series) for series in drawn], axis=0)


def power_series(trace: Trace, rail: Rail) -> tuple[FloatArray, FloatArray]:
    """Return (t_s, power_w) of one rail; a counter's is its slope, at the middle of two reads.

    Raises:
        NotMeasured: as for rail_series.
    """
    series = rail_series(trace, rail)
    if rail.kind != "energy":
        return series.times_s, series.values
    middle_s = (series.times_s[1:] + series.times_s[:-1]) / 2
    return middle_s, np.diff(series.values) / np.diff(series.times_s)


def _channel_readings(
    trace: Trace, channel: Channel, rail: Rail, window: Window | None
) -> tuple[FloatArray, FloatArray]:
    """Return (t_s, value in SI) of one channel in time order, a margin around the window."""
    if channel.unit not in SI:
        raise NotMeasured("missing", f"rail {rail.name}: unknown unit {channel.unit!r}")
    times_s, raw = trace.get(channel.id, (np.empty(0), np.empty(0)))
    times_s, raw = np.asarray(times_s, dtype=np.float64), np.asarray(raw, dtype=np.float64)
    good = np.isfinite(times_s) & np.isfinite(raw)
    if window is not None and times_s.size > 1:
        interval_s = float(np.median(np.abs(np.diff(times_s))))
        margin_s = 3 * max(interval_s, rail.update_interval_s or 0.0)
        good &= (times_s >= window[0] - margin_s) & (times_s <= window[1] + margin_s)
    times_s, first = np.unique(times_s[good], return_index=True)
    raw = raw[good][first]
    if times_s.size < 2:
        raise NotMeasured(
            "missing",
            f"rail {rail.name}: no readings of {channel.path or channel.id} in this window",
            "gfbench doctor shows which sensors can be read, and how to open the rest",
        )
    return times_s, raw * SI[channel.unit]


def _volt_amp(
    rail: Rail, parts: list[tuple[FloatArray, FloatArray]]
) -> tuple[FloatArray, FloatArray, float]:
    """Multiply each current with the voltage read nearest to it in time."""
    by_unit = {channel.unit[-1]: index for index, channel in enumerate(rail.channels)}
    if set(by_unit) != {"V", "A"} or len(parts) != 2:
        raise NotMeasured("missing", f"rail {rail.name}: needs one voltage and one current")
    volt_s, volts = parts[by_unit["V"]]
    times_s, amperes = parts[by_unit["A"]]
    right = np.clip(np.searchsorted(volt_s, times_s), 1, volt_s.size - 1)
    nearest = right - (times_s - volt_s[right - 1] < volt_s[right] - times_s)
    close = np.abs(volt_s[nearest] - times_s) <= np.median(np.diff(volt_s))
    volts, amperes, times_s = volts[nearest][close], amperes[close], times_s[close]
    if times_s.size < 2:
        raise NotMeasured(
            "missing", f"rail {rail.name}: voltage and current were never read together"
        )
    steps = (_quantum(rail, by_unit["V"]), _quantum(rail, by_unit["A"]))
    quantum_w = np.hypot(steps[0] * np.mean(np.abs(amperes)), steps[1] * np.mean(np.abs(volts)))
    return times_s, volts * amperes, float(quantum_w)


def _quantum(rail: Rail, index: int) -> float:
    """Return the step of a channel in SI units: as stated, else one unit of its raw number."""
    stated = rail.resolution[index] if index < len(rail.resolution) else None
    return SI[rail.channels[index].unit] if stated is None else float(stated)


def _missing_words(item: Any) -> str:
    """Return what cannot be read, why, and what to do; what is all of the power needs no name."""
    if not isinstance(item, Mapping):
        return str(item)
    what, reason, remedy = (str(item.get(key) or "") for key in ("what", "reason", "remedy"))
    why = reason if what in ("", "power") and reason else ": ".join(filter(None, (what, reason)))
    return " — ".join(filter(None, (why, remedy)))
