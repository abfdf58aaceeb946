"""Series of power or energy in SI units, from the raw readings of a trace and the rail map.

Volts are multiplied by the amperes that were read nearest in time. An energy counter is unwrapped:
it may wrap any number of times, provided that it was read at least once per wrap. Reads that
repeat one conversion of a sensor are the subject of ``reports.energy.conversions``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.energy.excerpts import interval_s, margin_s
from reports.results.power import Channel, FloatArray, Rail, RailMap, Trace, Window

SI = {
    f"{prefix}{unit}": factor
    for unit in "VAWJ"
    for prefix, factor in (("", 1.0), ("m", 1e-3), ("u", 1e-6))
}
# A counter that goes backwards has wrapped if the power that this implies is plausible.
PLAUSIBLE_POWER_W = 5000.0


class NotMeasured(Exception):
    """No figure can be given: ``status`` is missing or invalid; reason and remedy say why."""

    def __init__(self, status: str, reason: str, remedy: str = "") -> None:
        """Store what is wrong and what to change."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, kw_only=True)
class RailSeries:
    """A rail's readings in time order: watts, or unwrapped joules where ``rail.kind`` is energy."""

    rail: Rail
    times_s: FloatArray
    values: FloatArray
    quantum: float  # quantisation step of one value, W or J

    @property
    def interval_s(self) -> float:
        """Return the median time between two reads."""
        return float(np.median(np.diff(self.times_s))) if self.times_s.size > 1 else float("inf")


def rail_series(trace: Trace, rail: Rail, window: Window | None = None) -> RailSeries:
    """Return the rail's readings in and shortly around the window; without one, all of them.

    Raises:
        NotMeasured: a channel has no readings there, or a counter was reset.
    """
    readings = [_channel_readings(trace, channel, rail, window) for channel in rail.channels]
    if rail.kind == "volt_amp":
        return _volt_amp(rail, readings)
    if rail.kind not in ("power", "energy") or len(readings) != 1:
        raise NotMeasured("missing", f"rail {rail.name}: a {rail.kind} of {len(readings)} channels")
    times_s, values = readings[0]
    if rail.kind == "energy":
        values = unwrap(times_s, values, rail)
    return RailSeries(rail=rail, times_s=times_s, values=values, quantum=_quantum(rail, 0))


def unwrap(times_s: FloatArray, counter_j: FloatArray, rail: Rail) -> FloatArray:
    """Return the joules since the first read of a counter that restarts at ``rail.wrap_j``.

    Raises:
        NotMeasured: the counter was reset (by a reloaded driver): no wrap explains its values.
    """
    steps_j = np.diff(counter_j)
    backwards = steps_j < 0
    if backwards.any():
        wrapped_j = steps_j + (rail.wrap_j or 0.0)
        plausible = (wrapped_j >= 0) & (wrapped_j <= PLAUSIBLE_POWER_W * np.diff(times_s))
        if not rail.wrap_j or not plausible[backwards].all():
            raise NotMeasured(
                "invalid",
                f"the energy counter of {rail.name} was reset inside the window",
                "repeat the measurement, and do not reload the sensor's driver during it",
            )
        steps_j = np.where(backwards, wrapped_j, steps_j)
    return np.concatenate(([0.0], np.cumsum(steps_j)))


def total_power(trace: Trace, rail_map: RailMap) -> tuple[FloatArray, FloatArray] | None:
    """Return (t_s, power_w) of the total, at the times of all its rails, for drawing.

    None if a rail of the total is missing: a partial sum is never shown as the total.
    """
    rails = [rail_map.rail(name) for name in rail_map.total]
    try:
        series = [power_series(trace, rail) for rail in rails if rail is not None]
    except NotMeasured:
        return None
    if not series or len(series) != len(rails):
        return None
    times_s = np.unique(np.concatenate([rail_times_s for rail_times_s, _ in series]))
    first_s = max(rail_times_s[0] for rail_times_s, _ in series)
    last_s = min(rail_times_s[-1] for rail_times_s, _ in series)
    times_s = times_s[(times_s >= first_s) & (times_s <= last_s)]
    powers_w = [np.interp(times_s, rail_times_s, power_w) for rail_times_s, power_w in series]
    return times_s, np.sum(powers_w, axis=0)


def power_series(trace: Trace, rail: Rail) -> tuple[FloatArray, FloatArray]:
    """Return (t_s, power_w) of one rail; of a counter, its slope at the middle of two reads.

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
    """Return (t_s, value in SI units) of one channel in time order, with a margin."""
    if channel.unit not in SI:
        raise NotMeasured("missing", f"rail {rail.name}: unknown unit {channel.unit!r}")
    times_s, raw = trace.get(channel.id, (np.empty(0), np.empty(0)))
    times_s, raw = np.asarray(times_s, dtype=np.float64), np.asarray(raw, dtype=np.float64)
    kept = np.isfinite(times_s) & np.isfinite(raw)
    if window is not None and times_s.size > 1:
        reach_s = margin_s(interval_s(trace, channel.id), rail.update_interval_s)
        kept &= (times_s >= window[0] - reach_s) & (times_s <= window[1] + reach_s)
    times_s, first = np.unique(times_s[kept], return_index=True)
    raw = raw[kept][first]
    if times_s.size < 2:
        raise NotMeasured(
            "missing",
            f"rail {rail.name}: no readings of {channel.path or channel.id} in this window",
            "gfbench doctor shows which sensors can be read, and how to open the rest",
        )
    return times_s, raw * SI[channel.unit]


def _volt_amp(rail: Rail, readings: list[tuple[FloatArray, FloatArray]]) -> RailSeries:
    """Multiply each current by the voltage read nearest to it in time."""
    index_of = {channel.unit[-1]: index for index, channel in enumerate(rail.channels)}
    if set(index_of) != {"V", "A"} or len(readings) != 2:
        raise NotMeasured("missing", f"rail {rail.name}: needs one voltage and one current")
    volt_times_s, volts = readings[index_of["V"]]
    times_s, amperes = readings[index_of["A"]]
    right = np.clip(np.searchsorted(volt_times_s, times_s), 1, volt_times_s.size - 1)
    nearest = right - (times_s - volt_times_s[right - 1] < volt_times_s[right] - times_s)
    close = np.abs(volt_times_s[nearest] - times_s) <= np.median(np.diff(volt_times_s))
    volts, amperes, times_s = volts[nearest][close], amperes[close], times_s[close]
    if times_s.size < 2:
        raise NotMeasured(
            "missing", f"rail {rail.name}: voltage and current were never read together"
        )
    quantum_v, quantum_a = _quantum(rail, index_of["V"]), _quantum(rail, index_of["A"])
    quantum_w = np.hypot(quantum_v * np.mean(np.abs(amperes)), quantum_a * np.mean(np.abs(volts)))
    return RailSeries(rail=rail, times_s=times_s, values=volts * amperes, quantum=float(quantum_w))


def _quantum(rail: Rail, index: int) -> float:
    """Return a channel's quantisation step in SI units: as stated, or one unit of its raw value."""
    stated = rail.resolution[index] if index < len(rail.resolution) else None
    return SI[rail.channels[index].unit] if stated is None else float(stated)
