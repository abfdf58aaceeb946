"""A board in virtual time: a load whose energy is known exactly, and sensors that look at it.

``python tests/support/power_curves.py`` prints the table of the whole matrix.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from reports.energy.energy import Energy, measure_energy
from reports.results.power import Channel, Rail, RailMap

FloatArray = NDArray[np.float64]
CURVES = ("square", "sawtooth", "random")
SENSORS = ("on read", "held", "average")
ITERATIONS_S = (0.005, 0.011, 0.020, 0.043, 0.057, 0.100, 0.145, 0.210, 0.300)
RATES_HZ = (1.0, 2.0, 10.0, 50.0)
IDLE_W = 3.0
LEAD_S = 15.0  # idle before and after the window
BUS_V, SHUNT_OHM = 5.0, 0.005


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Power over one iteration: segments of phase, each from a first to a last power."""

    bounds: FloatArray  # (n + 1,) from 0 to 1
    first_w: FloatArray
    last_w: FloatArray

    def power_w(self, phase: FloatArray) -> FloatArray:
        index, part, _ = self._place(phase)
        return self.first_w[index] + part * (self.last_w - self.first_w)[index]

    def work(self, phase: FloatArray) -> FloatArray:
        """The integral of power over phase from 0."""
        index, part, width = self._place(phase)
        whole = np.diff(self.bounds) * (self.first_w + self.last_w) / 2
        until = np.concatenate([[0.0], np.cumsum(whole)])[index]
        rise = (self.last_w - self.first_w)[index]
        return until + width * part * (self.first_w[index] + part * rise / 2)

    @property
    def mean_w(self) -> float:
        return float(self.work(np.array([1.0]))[0])

    def _place(self, phase: FloatArray) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
        index = np.clip(np.searchsorted(self.bounds, phase, "right") - 1, 0, self.first_w.size - 1)
        width = np.diff(self.bounds)[index]
        return index, (phase - self.bounds[index]) / width, width


def make_curve(name: str, rng: Generator) -> Curve:
    """10 W and 4 W by turns, a rise from 4 to 10 W, or eight random levels: 2 to 12 W."""
    if name == "square":
        duty = rng.uniform(0.3, 0.7)
        return _levels(np.array([0, duty, 1]), np.array([10.0, 4.0]))
    if name == "sawtooth":
        ends = np.array([4.0]), np.array([10.0])
        return Curve(bounds=np.array([0.0, 1.0]), first_w=ends[0], last_w=ends[1])
    if name == "steady":
        return _levels(np.array([0.0, 1.0]), np.array([7.0]))
    inner = np.sort(rng.uniform(0.0, 1.0, 7))
    return _levels(np.concatenate([[0.0], inner, [1.0]]), rng.uniform(2.0, 12.0, 8))


def _levels(bounds: FloatArray, power_w: FloatArray) -> Curve:
    return Curve(bounds=np.asarray(bounds, dtype=np.float64), first_w=power_w, last_w=power_w)


@dataclass(frozen=True, kw_only=True)
class Load:
    """Idle, then iterations (with or without pauses), then idle; cumulative energy is exact."""

    curve: Curve
    starts_s: FloatArray
    ends_s: FloatArray
    idle_w: float = IDLE_W

    @property
    def window(self) -> tuple[float, float]:
        return float(self.starts_s[0]), float(self.ends_s[-1])

    @property
    def marks(self) -> FloatArray:
        return np.stack([self.starts_s, self.ends_s], axis=1)

    @property
    def energy_j(self) -> float:
        return float(np.sum(self.ends_s - self.starts_s)) * self.curve.mean_w

    def power_w(self, times_s: FloatArray) -> FloatArray:
        _, phase, inside = self._place(times_s)
        return np.where(inside, self.curve.power_w(np.clip(phase, 0, 1)), self.idle_w)

    def work_j(self, times_s: FloatArray) -> FloatArray:
        """Energy since time 0."""
        index, phase, _ = self._place(times_s)
        durations_s = self.ends_s - self.starts_s
        before_s = np.concatenate([[0.0], np.cumsum(durations_s)])
        started = np.searchsorted(self.starts_s, times_s, "right") > 0
        part = np.clip(phase, 0, 1)
        busy_s = np.where(started, before_s[index] + part * durations_s[index], 0.0)
        work = np.where(started, durations_s[index] * self.curve.work(part), 0.0)
        return (
            (times_s - busy_s) * self.idle_w
            + np.where(started, before_s[index], 0.0) * self.curve.mean_w
            + work
        )

    def _place(
        self, times_s: FloatArray
    ) -> tuple[NDArray[np.int64], FloatArray, NDArray[np.bool_]]:
        index = np.searchsorted(self.starts_s, times_s, "right") - 1
        started = index >= 0
        index = np.clip(index, 0, None)
        phase = (times_s - self.starts_s[index]) / (self.ends_s - self.starts_s)[index]
        return index, phase, started & (phase < 1)


def make_load(
    curve: Curve,
    iteration_s: float,
    window_s: float,
    rng: Generator,
    *,
    jitter: float = 0.01,
    pauses: bool = False,
) -> Load:
    """Iterations of about one length that fill a window; pauses are up to one iteration long."""
    cycle_s = iteration_s * (1.5 if pauses else 1.0)
    count = int(np.ceil(window_s / cycle_s * (1 + 3 * jitter))) + 1
    durations_s = iteration_s * np.clip(rng.normal(1.0, jitter, count), 0.5, 1.5)
    gaps_s = rng.uniform(0, iteration_s, count) if pauses else np.zeros(count)
    starts_s = LEAD_S + np.concatenate([[0.0], np.cumsum(durations_s + gaps_s)[:-1]])
    ends_s = starts_s + durations_s
    last = int(np.searchsorted(ends_s, LEAD_S + window_s)) + 1
    return Load(curve=curve, starts_s=starts_s[:last], ends_s=ends_s[:last])


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """How a sensor converts and how it is read.

    ``period_error`` is what its oscillator is off by; reads come at random intervals of
    ``reads_per_update`` to one update on average, 50 % more or less.
    """

    kind: str  # on read | held | average | counter
    rate_hz: float
    period_error: float = 0.0
    reads_per_update: float = 2.0
    rounding: str = "power"  # power: 1 mW | ina3221: 8 mV and 40 uV over the shunt
    gain: float = 1.0
    wrap_j: float | None = None

    @property
    def update_s(self) -> float:
        return 1.0 / self.rate_hz


def look(
    load: Load, sensor: Sensor, rng: Generator
) -> tuple[dict[str, tuple[FloatArray, FloatArray]], RailMap]:
    """Read the sensor over idle, window and idle; return the trace and its rail map."""
    reads_s = _read_times(load.window[1] + LEAD_S, sensor, rng)
    if sensor.kind == "counter":
        return _counter(load, sensor, reads_s)
    values_w = sensor.gain * _seen(load, sensor, reads_s, rng)
    update_s = None if sensor.kind == "on read" else sensor.update_s
    conversion = "average" if sensor.kind == "average" else "instant"
    if sensor.rounding == "ina3221":
        step_a = 40e-6 / SHUNT_OHM
        volts = np.round(BUS_V / 0.008) * 0.008 * np.ones_like(values_w)
        amperes = np.round(values_w / BUS_V / step_a) * step_a
        trace = {"v": (reads_s, volts * 1e3), "i": (reads_s + 0.0005, amperes * 1e3)}
        channels: tuple[Channel, ...] = (Channel(id="v", unit="mV"), Channel(id="i", unit="mA"))
        resolution: tuple[float, ...] = (0.008, step_a)
    else:
        trace = {"p": (reads_s, np.round(values_w * 1e3))}
        channels = (Channel(id="p", unit="mW"),)
        resolution = (1e-3,)
    rail = Rail(
        name="VDD_IN",
        kind="power" if len(channels) == 1 else "volt_amp",
        channels=channels,
        conversion=conversion,
        update_interval_s=update_s,
        resolution=resolution,
        tolerance=0.02,
    )
    return trace, rail_map_of(rail)


def rail_map_of(*rails: Rail, source: str = "simulated", scope: str = "board input") -> RailMap:
    return RailMap(
        source=source,
        scope=scope,
        rule="sum",
        total=tuple(rail.name for rail in rails),
        rails=rails,
        interval_s=0.1,
    )


def _read_times(end_s: float, sensor: Sensor, rng: Generator) -> FloatArray:
    per_update = 1.0 if sensor.kind in ("on read", "counter") else sensor.reads_per_update
    mean_s = sensor.update_s / per_update
    count = int(1.2 * end_s / mean_s) + 20
    reads_s = np.cumsum(mean_s * rng.uniform(0.5, 1.5, count))
    return np.asarray(reads_s[reads_s < end_s], dtype=np.float64)


def _seen(load: Load, sensor: Sensor, reads_s: FloatArray, rng: Generator) -> FloatArray:
    if sensor.kind == "on read":
        return load.power_w(reads_s)
    period_s = sensor.update_s * (1 + sensor.period_error)
    offset_s = rng.uniform(-period_s, 0.0)
    converted_s = offset_s + np.floor((reads_s - offset_s) / period_s) * period_s
    if sensor.kind == "held":
        return load.power_w(converted_s)
    return (load.work_j(converted_s) - load.work_j(converted_s - period_s)) / period_s


def _counter(
    load: Load, sensor: Sensor, reads_s: FloatArray
) -> tuple[dict[str, tuple[FloatArray, FloatArray]], RailMap]:
    joules = sensor.gain * load.work_j(reads_s)
    if sensor.wrap_j is not None:
        joules = joules % sensor.wrap_j
    channel = Channel(id="e", unit="uJ")
    rail = Rail(
        name="package-0",
        kind="energy",
        channels=(channel,),
        resolution=(61e-6,),
        tolerance=0.0,
        wrap_j=sensor.wrap_j,
    )
    return {"e": (reads_s, np.round(joules * 1e6))}, rail_map_of(rail, scope="package")


def window_for(sensor: Sensor) -> float:
    """The issue's window: the longer of 10 s and as many intervals as the sensor needs."""
    return max(10.0, (10 if sensor.kind == "average" else 100) * sensor.update_s)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One simulated window: what was said and what is true."""

    energy: Energy
    true_per_iteration_j: float

    @property
    def ok(self) -> bool:
        return self.energy.status == "ok"

    @property
    def error(self) -> float:
        """Relative error of the energy per iteration; only of a window that is ok."""
        assert self.energy.per_iteration_j is not None
        return abs(self.energy.per_iteration_j.value / self.true_per_iteration_j - 1)

    @property
    def covered(self) -> bool:
        figure = self.energy.per_iteration_j
        assert figure is not None
        return abs(figure.value - self.true_per_iteration_j) <= figure.random_u95


def run_trial(
    curve_name: str,
    sensor: Sensor,
    iteration_s: float,
    window_s: float,
    seed: int,
    *,
    jitter: float = 0.01,
    pauses: bool = False,
) -> Trial:
    """Simulate one window and measure it through the production code."""
    rng = np.random.default_rng(seed)
    curve = make_curve(curve_name, rng)
    load = make_load(curve, iteration_s, window_s, rng, jitter=jitter, pauses=pauses)
    trace, rail_map = look(load, sensor, rng)
    begin, end = load.window
    energy = measure_energy(
        trace,
        rail_map,
        (begin, end),
        iterations=load.marks,
        idle=((1.0, LEAD_S - 2.0), (end + 2.0, end + LEAD_S - 1.0)),
    )
    return Trial(energy=energy, true_per_iteration_j=load.energy_j / load.starts_s.size)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A cell of the table: all curves, lengths and seeds of one sensor at one rate."""

    name: str
    trials: tuple[Trial, ...]

    @property
    def good(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if trial.ok)

    def line(self) -> str:
        good = self.good
        if not good:
            return f"{self.name:36} {len(self.trials):6d}      0"
        errors = np.array([trial.error for trial in good])
        stated = np.array([_stated(trial) for trial in good])
        covered = np.mean([trial.covered for trial in good])
        return (
            f"{self.name:36} {len(self.trials):6d} {len(good):6d} {np.median(errors):8.3%} "
            f"{errors.max():8.3%} {np.median(stated):8.3%} {covered:8.1%}"
        )


def _stated(trial: Trial) -> float:
    assert trial.energy.per_iteration_j is not None
    return trial.energy.per_iteration_j.relative_u95


def matrix(
    seeds: int,
    *,
    stretch: float = 1.0,
    jitter: float = 0.01,
    kinds: tuple[str, ...] = SENSORS,
    rates_hz: tuple[float, ...] = RATES_HZ,
    pauses: bool = False,
) -> Iterator[Row]:
    """Yield one row per sensor, rounding and rate: every curve, iteration length and seed."""
    for kind in kinds:
        for rate_hz in rates_hz:
            rounding = "ina3221" if kind == "average" else "power"
            sensor = Sensor(kind=kind, rate_hz=rate_hz, rounding=rounding, period_error=0.004)
            window_s = stretch * window_for(sensor)
            trials = tuple(
                run_trial(
                    curve,
                    sensor,
                    iteration_s,
                    window_s,
                    1000 * seed + place,
                    jitter=jitter,
                    pauses=pauses,
                )
                for curve in CURVES
                for place, iteration_s in enumerate(ITERATIONS_S)
                for seed in range(seeds)
            )
            yield Row(name=f"{kind} {rate_hz:g} Hz, {window_s:g} s", trials=trials)


def main(seeds: int = 40) -> None:
    """Print the table of the matrix, at the least windows and at twice those."""
    print(f"{'sensor':36} {'all':>6} {'ok':>6} {'median':>8} {'worst':>8} {'stated':>8} inside")
    for stretch in (1.0, 2.0):
        for row in matrix(seeds, stretch=stretch):
            print(row.line(), flush=True)
    print("instants with random pauses between iterations, which break aliasing:")
    for row in matrix(seeds, stretch=3.0, kinds=SENSORS[:2], rates_hz=(10.0, 50.0), pauses=True):
        print(row.line(), flush=True)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
