"""Energy of a window from the power trace and the iteration marks, or why it is not measured.

Pure: arrays in, one ``Energy`` out. Each figure has its 95 % uncertainty and is only given if the
random part is at most 2 %. The random causes (sampling, window edges, quantisation) are kept apart
from the sensor's tolerance, which cancels in ratios of figures from the same sensor.
``reports.energy.estimators`` integrates each rail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.energy.estimators import Changes, PowerEstimate, SteadyPower, estimate, steady_power
from reports.energy.series import NotMeasured, RailSeries, rail_series
from reports.energy.window import MIN_WINDOW_S, View, recommended_window_s
from reports.results.power import FloatArray, Rail, RailMap, Trace, Window

MAX_RELATIVE_U95 = 0.02  # figures that are less certain are not given
MAX_IDLE_CHANGE = 0.05  # of the mean idle power
MAX_PAUSE = 0.01  # of the window; with more, the plain integral measures something else


@dataclass(frozen=True, kw_only=True)
class UncertainValue:
    """A value and its 95 % uncertainty: a random part, and the tolerance of the sensor's gain."""

    value: float
    random_u95: float
    systematic_u95: float = 0.0

    @property
    def u95(self) -> float:
        """Return the combined uncertainty."""
        return float(np.hypot(self.random_u95, self.systematic_u95))

    @property
    def relative_u95(self) -> float:
        """Return the random part relative to the value: the part that remains in a ratio."""
        return self.random_u95 / abs(self.value) if self.value else float("inf")

    def times(self, factor: float) -> UncertainValue:
        """Return the value multiplied by an exact factor."""
        return UncertainValue(
            value=self.value * factor,
            random_u95=self.random_u95 * abs(factor),
            systematic_u95=self.systematic_u95 * abs(factor),
        )


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """The 95 % uncertainty of the gross energy by cause, in joules.

    The drift of a window's power is part of its sampling uncertainty.
    """

    sampling_j: float
    edges_j: float
    quantisation_j: float
    tolerance_j: float


@dataclass(frozen=True, kw_only=True)
class RailEnergy:
    """The energy of one rail; None, with the reason, if it was not measured."""

    name: str
    energy_j: UncertainValue | None
    method: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy of one window; all figures are None unless ``status`` is ok.

    ``status`` is ok, invalid (the readings do not allow a figure) or missing (a rail of the total
    was not read). ``gross_j`` is the energy inside the iterations, without the pauses between them;
    if no iterations are marked, that of the whole window. ``net_j`` is gross less idle energy.
    """

    status: str
    reason: str | None
    remedy: str | None
    source: str
    scope: str
    total: tuple[str, ...]
    duration_s: float
    iterations: int
    method: str | None = None
    samples: int = 0
    phase_gap: float | None = None
    gross_j: UncertainValue | None = None
    net_j: UncertainValue | None = None
    per_iteration_j: UncertainValue | None = None
    net_per_iteration_j: UncertainValue | None = None
    mean_power_w: UncertainValue | None = None
    idle_power_w: UncertainValue | None = None
    uncertainty: Uncertainty | None = None
    rails: tuple[RailEnergy, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """A rail with its estimate, and its idle power in each idle window (None: not read)."""

    rail: Rail
    series: RailSeries
    estimate: PowerEstimate
    idle: tuple[SteadyPower | None, ...]


def measure_energy(
    trace: Trace,
    rail_map: RailMap,
    window: Window,
    *,
    iterations: FloatArray | Sequence[Window] | None = None,
    loops: int = 1,
    idle: Sequence[Window] = (),
    changes: Sequence[Window] = (),
    throttled: bool | str = False,
) -> Energy:
    """Return the energy of a window with its uncertainty, or why it was not measured.

    Args:
        trace: channel id -> (t_s, raw reading) in the board's monotonic clock.
        rail_map: the rails and channels that were read.
        window: (start, end) in the same clock; the device was synchronised before both.
        iterations: (start, end) of every timed sample in the window, in order.
        loops: the number of iterations in each timed sample.
        idle: windows without workload, the first before and the last after the measured one.
        changes: bursts in the window in which only inputs were changed, as between iterations.
        throttled: whether the board throttled in the window, or the evidence as text.
    """
    marks = np.asarray([] if iterations is None else iterations, dtype=np.float64).reshape(-1, 2)
    view = View(window_s=window, starts_s=marks[:, 0], ends_s=marks[:, 1], loops=loops)
    rails: tuple[RailEnergy, ...] = ()
    try:
        _require_window(view, rail_map, throttled)
        rails = tuple(_rail_energy(trace, rail, view, changes) for rail in rail_map.rails)
        readings = [
            _read(trace, _total_rail(rail_map, name), view, idle, changes)
            for name in rail_map.total
        ]
        _require_consumption(readings, view)
        return _total(readings, rail_map, view, rails)
    except NotMeasured as problem:
        return Energy(
            status=problem.status,
            reason=problem.reason,
            remedy=problem.remedy or None,
            source=rail_map.source,
            scope=rail_map.scope,
            total=rail_map.total,
            duration_s=view.duration_s,
            iterations=view.iterations,
            rails=rails,
        )


def why_not_comparable(first: Energy, second: Energy) -> str | None:
    """Return the reason why two energies must not be compared; None if they may be."""
    for energy in (first, second):
        if energy.status != "ok":
            return f"energy {energy.status}: {energy.reason}"
    for what, ours, theirs in (
        ("scope", first.scope, second.scope),
        ("sensor", first.source, second.source),
        ("rails", " + ".join(first.total), " + ".join(second.total)),
    ):
        if ours != theirs:
            return f"not comparable: {what} {ours!r} against {theirs!r}"
    return None


def back_to_back(window_start_s: float, times_s: Sequence[float], loops: int = 1) -> FloatArray:
    """Return (start, end) of timed samples that followed each other without a pause.

    Args:
        window_start_s: the start of the first one.
        times_s: seconds per iteration of each.
        loops: the number of iterations in each.
    """
    edges_s = window_start_s + np.concatenate([[0.0], np.cumsum(times_s)]) * loops
    return np.stack([edges_s[:-1], edges_s[1:]], axis=1)


def _require_window(view: View, rail_map: RailMap, throttled: bool | str) -> None:
    if throttled:
        evidence = f": {throttled}" if isinstance(throttled, str) else ""
        raise NotMeasured(
            "invalid",
            f"the board throttled in this window{evidence}",
            "cool the board, check its supply, or lock lower clocks; then repeat",
        )
    if view.duration_s < 0.999 * MIN_WINDOW_S:
        needed_s = recommended_window_s(rail_map)
        raise NotMeasured(
            "invalid",
            f"energy not measured: window too short ({view.duration_s:.3g} s)",
            f"measure at least {needed_s:.3g} s per window (min_window_s)",
        )
    if not rail_map.total:
        reason = "; ".join(rail_map.missing) or "no rail gives the total"
        raise NotMeasured("missing", reason, "gfbench doctor shows what can be read")


def _total_rail(rail_map: RailMap, name: str) -> Rail:
    rail = rail_map.rail(name)
    if rail is None:
        reason = "; ".join(item for item in rail_map.missing if name in item)
        raise NotMeasured(
            "missing",
            reason or f"rail {name} of the total was not read",
            "gfbench doctor shows what can be read",
        )
    return rail


def _read(
    trace: Trace, rail: Rail, view: View, idle: Sequence[Window], changes: Sequence[Window]
) -> _Reading:
    """Estimate one rail of the total; its idle power bounds the uncertainty at the edges."""
    idle_powers = tuple(_steady_power(trace, rail, window) for window in idle)
    known_w = [power.power_w for power in idle_powers if power is not None]
    idle_w = float(np.mean(known_w)) if known_w else None
    series = rail_series(trace, rail, view.window_s)
    result = estimate(series, view, idle_w, _changes(trace, rail, changes))
    return _Reading(rail=rail, series=series, estimate=result, idle=idle_powers)


def _changes(trace: Trace, rail: Rail, changes: Sequence[Window]) -> Changes | None:
    """Return what a rail draws in bursts of changes, and how much more than next to them.

    Each burst is compared with windows of the same length on either side, so a steady drift
    cancels. The median over all bursts ignores a single one at which the drift turns.

    Raises:
        NotMeasured: the rail was not read for long enough.
    """
    if not changes:
        return None
    energy_j = 0.0
    energy_u95_j, more_w, more_u95_w = [], [], []
    for begin_s, end_s in changes:
        length_s = end_s - begin_s
        burst = _steady_power(trace, rail, (begin_s, end_s))
        before = _steady_power(trace, rail, (begin_s - length_s, begin_s))
        after = _steady_power(trace, rail, (end_s, end_s + length_s))
        if burst is None or before is None or after is None:
            raise NotMeasured(
                "invalid",
                f"{rail.name} was read too rarely while the inputs were changed, so the energy of "
                "these changes cannot be subtracted",
                "repeat the block; if it happens again, look at the sampler's notes in the journal",
            )
        energy_j += burst.power_w * length_s
        energy_u95_j.append(burst.u95_w * length_s)
        more_w.append(burst.power_w - (before.power_w + after.power_w) / 2)
        beside_u95_w = np.hypot(before.u95_w, after.u95_w) / 2
        more_u95_w.append(float(np.hypot(burst.u95_w, beside_u95_w)))
    return Changes(
        duration_s=sum(end_s - begin_s for begin_s, end_s in changes),
        energy_j=energy_j,
        energy_u95_j=float(np.hypot.reduce(energy_u95_j)),
        more_w=float(np.median(more_w)),
        more_u95_w=float(np.hypot.reduce(more_u95_w)) / len(more_u95_w),
    )


def _steady_power(trace: Trace, rail: Rail, window: Window) -> SteadyPower | None:
    try:
        return steady_power(rail_series(trace, rail, window), window)
    except NotMeasured:
        return None


def _rail_energy(trace: Trace, rail: Rail, view: View, changes: Sequence[Window]) -> RailEnergy:
    """Return the energy of one rail, whether it is part of the total or not."""
    try:
        between = _changes(trace, rail, changes)
        result = estimate(rail_series(trace, rail, view.window_s), view, changes=between)
    except NotMeasured as problem:
        return RailEnergy(name=rail.name, energy_j=None, reason=problem.reason)
    energy_j = UncertainValue(
        value=result.power_w,
        random_u95=result.u95_w,
        systematic_u95=abs(result.power_w) * (rail.tolerance or 0.0),
    ).times(view.busy_s)
    return RailEnergy(name=rail.name, energy_j=energy_j, method=result.method)


def _total(
    readings: list[_Reading], rail_map: RailMap, view: View, rails: tuple[RailEnergy, ...]
) -> Energy:
    """Add up the rails of the total and derive every figure."""
    estimates = [reading.estimate for reading in readings]
    uncertainty = _uncertainty(readings, view)
    gross_j = UncertainValue(
        value=sum(result.power_w for result in estimates) * view.busy_s,
        random_u95=float(
            np.hypot.reduce(
                [uncertainty.sampling_j, uncertainty.edges_j, uncertainty.quantisation_j]
            )
        ),
        systematic_u95=uncertainty.tolerance_j,
    )
    _require_precision(gross_j, view)
    idle_w, idle_flags = _idle(readings)
    net_j = None if idle_w is None else _net(gross_j, idle_w, view)
    count = view.iterations
    phase_gaps = [result.phase_gap for result in estimates if result.phase_gap is not None]
    return Energy(
        status="ok",
        reason=None,
        remedy=None,
        source=rail_map.source,
        scope=rail_map.scope,
        total=rail_map.total,
        duration_s=view.duration_s,
        iterations=count,
        method=" + ".join(sorted({result.method for result in estimates})),
        samples=min(result.samples for result in estimates),
        phase_gap=max(phase_gaps, default=None),
        gross_j=gross_j,
        net_j=net_j,
        per_iteration_j=gross_j.times(1 / count) if count else None,
        net_per_iteration_j=net_j.times(1 / count) if net_j and count else None,
        mean_power_w=gross_j.times(1 / view.busy_s),
        idle_power_w=idle_w,
        uncertainty=uncertainty,
        rails=rails,
        flags=(
            *_estimator_flags(gross_j, estimates, view),
            *idle_flags,
            *_sensor_flags(readings),
        ),
    )


def _uncertainty(readings: list[_Reading], view: View) -> Uncertainty:
    """Add up the rails' uncertainties: in quadrature if independent, else linearly.

    The errors of sampling and edges have the same cause in all rails, the common load.
    """
    estimates = [reading.estimate for reading in readings]
    quantisation_w = float(np.hypot.reduce([result.quantisation_w for result in estimates]))
    tolerances_w = [
        abs(reading.estimate.power_w) * (reading.rail.tolerance or 0.0) for reading in readings
    ]
    return Uncertainty(
        sampling_j=sum(result.sampling_w for result in estimates) * view.busy_s,
        edges_j=sum(result.edges_w for result in estimates) * view.busy_s,
        quantisation_j=quantisation_w * view.busy_s,
        tolerance_j=sum(tolerances_w) * view.busy_s,
    )


def _require_consumption(readings: list[_Reading], view: View) -> None:
    """Refuse a total that at some time is no power of a board: a board always takes some.

    Of several rails one may read below zero, by the offset of its amplifier; their sum may not.
    """
    names = " + ".join(reading.rail.name for reading in readings)
    remedy = (
        "is it at a battery that charges, or its shunt reversed? Name another rail "
        "(power: {rail: NAME}), or use an external meter"
    )
    total_w = sum(reading.estimate.power_w for reading in readings)
    if total_w <= 0:
        raise NotMeasured("invalid", f"{names} shows no consumption: {total_w:.3g} W", remedy)
    if len(readings) > 1 or readings[0].rail.kind == "energy":
        return
    series = readings[0].series
    begin_s, end_s = view.window_s
    inside_w = series.values[(series.times_s >= begin_s) & (series.times_s <= end_s)]
    none = int(np.count_nonzero(inside_w <= 0))
    if none:
        raise NotMeasured(
            "invalid",
            f"{names} shows no consumption in {none} of {inside_w.size} readings, "
            f"down to {inside_w.min():.3g} W",
            remedy,
        )


def _require_precision(gross_j: UncertainValue, view: View) -> None:
    excess = gross_j.relative_u95 / MAX_RELATIVE_U95
    if excess > 1:
        longer_s = view.duration_s * min(excess**2, 10.0)
        raise NotMeasured(
            "invalid",
            f"too uncertain: ±{gross_j.relative_u95:.1%} ({MAX_RELATIVE_U95:.0%} allowed)",
            f"measure at least {longer_s:.3g} s per window (min_window_s), or read more often",
        )


def _net(gross_j: UncertainValue, idle_w: UncertainValue, view: View) -> UncertainValue:
    """Subtract the idle energy; both have the same relative error of the sensor's gain."""
    idle_j = idle_w.times(view.busy_s)
    value = gross_j.value - idle_j.value
    return UncertainValue(
        value=value,
        random_u95=float(np.hypot(gross_j.random_u95, idle_j.random_u95)),
        systematic_u95=abs(value) * gross_j.systematic_u95 / gross_j.value,
    )


def _idle(readings: list[_Reading]) -> tuple[UncertainValue | None, list[str]]:
    """Return the total's mean idle power over all idle windows, and flags on it."""
    windows = list(zip(*(reading.idle for reading in readings), strict=True))
    read = [total for rails in windows if (total := _idle_total(rails)) is not None]
    totals = [total for total in read if total.power_w > 0]
    if not totals:
        why = "the rails show no consumption at rest" if read else "idle power not measured"
        return None, [f"{why}: net energy is missing"] if windows else []
    flags = []
    if len(totals) < len(windows):
        flags.append("idle power was measured only before or only after the run")
    mean_w = float(np.mean([total.power_w for total in totals]))
    noise_w = float(np.hypot.reduce([total.u95_w for total in totals])) / len(totals)
    change_w = abs(totals[-1].power_w - totals[0].power_w)
    change = change_w / mean_w if mean_w else 0.0
    if change > MAX_IDLE_CHANGE:
        flags.append(f"idle power changed by {change:.0%} from before to after the run")
    random_u95 = float(np.hypot(noise_w, change_w / 2))
    return UncertainValue(value=mean_w, random_u95=random_u95), flags


def _idle_total(rails: tuple[SteadyPower | None, ...]) -> SteadyPower | None:
    """Return the sum over the rails of the total; None if one was not read."""
    known = [power for power in rails if power is not None]
    if len(known) < len(rails):
        return None
    return SteadyPower(
        power_w=sum(power.power_w for power in known),
        u95_w=float(np.hypot.reduce([power.u95_w for power in known])),
    )


def _estimator_flags(
    gross_j: UncertainValue, estimates: list[PowerEstimate], view: View
) -> list[str]:
    """Return flags for estimators that disagree, and for aliasing that cannot be detected."""
    flags = []
    plain_j = sum(result.plain_w for result in estimates) * view.duration_s
    plain_u95_j = sum(result.plain_u95_w for result in estimates) * view.duration_s
    difference_j = abs(plain_j - gross_j.value)
    disagree = difference_j > np.hypot(plain_u95_j, gross_j.random_u95)
    if disagree and view.pause_s <= MAX_PAUSE * view.duration_s:
        share = difference_j / gross_j.value
        flags.append(
            f"the plain and the primary estimate differ by {share:.1%}, beyond their uncertainty"
        )
    if any(result.method == "trapezoid" for result in estimates):
        why = "power was not steady" if view.iterations else "no iteration marks"
        flags.append(f"{why}: readings were not folded by phase, so aliasing cannot be excluded")
    return flags


def _sensor_flags(readings: list[_Reading]) -> list[str]:
    unknown = [reading.rail.name for reading in readings if reading.rail.tolerance is None]
    return [f"sensor tolerance unknown: {', '.join(unknown)}"] if unknown else []
