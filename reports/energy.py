"""Energy of a window from the power trace and the iteration marks, or the reason why not.

Pure: arrays in, one ``Energy`` out. A figure is given only with its 95 % uncertainty, and only
if that is at most 2 %: sampling, window edges, quantisation and drift, which are random, are
kept apart from the sensor's tolerance, which cancels in ratios of figures of the same sensor.
How each rail is integrated is told in ``reports.energy_estimators``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.energy_estimators import Changes, Estimate, estimate, steady_power
from reports.energy_window import MIN_WINDOW_S, View, recommended_window_s
from reports.power_trace import (
    FloatArray,
    NotMeasured,
    Rail,
    RailMap,
    Trace,
    Window,
    rail_series,
)

MAX_RELATIVE_U95 = 0.02  # a figure less certain than this is not given
MAX_IDLE_CHANGE = 0.05
MAX_PAUSE = 0.01  # of the window; with more pauses the plain integral is of something else


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A value with its 95 % uncertainty: the random part, and what the sensor's gain may add."""

    value: float
    random_u95: float
    systematic_u95: float = 0.0

    @property
    def u95(self) -> float:
        """Return both parts together."""
        return float(np.hypot(self.random_u95, self.systematic_u95))

    @property
    def relative_u95(self) -> float:
        """Return the random part as a share of the value: what remains in a ratio."""
        return self.random_u95 / abs(self.value) if self.value else float("inf")

    def times(self, factor: float) -> Figure:
        """Return the figure in another unit or per something."""
        return Figure(
            value=self.value * factor,
            random_u95=self.random_u95 * abs(factor),
            systematic_u95=self.systematic_u95 * abs(factor),
        )


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """The 95 % uncertainty of the gross energy by cause, in joules."""

    sampling_j: float
    edges_j: float
    quantisation_j: float
    drift_j: float
    tolerance_j: float


@dataclass(frozen=True, kw_only=True)
class RailEnergy:
    """One rail's share; ``energy_j`` is None with a reason where it was not measured."""

    name: str
    energy_j: Figure | None
    method: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy of one window; every figure is None unless ``status`` is ok.

    ``status`` is ok, invalid (the readings cannot carry a figure) or missing (a rail of the
    total was not read). Gross is the energy inside the iterations, pauses between them left
    out; of the whole window where no iterations are marked. Net is gross less idle power.
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
    gross_j: Figure | None = None
    net_j: Figure | None = None
    per_iteration_j: Figure | None = None
    net_per_iteration_j: Figure | None = None
    mean_power_w: Figure | None = None
    idle_power_w: Figure | None = None
    edp_js: Figure | None = None
    plain_j: Figure | None = None
    uncertainty: Uncertainty | None = None
    rails: tuple[RailEnergy, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """A rail with its estimate, and its idle power in each idle window."""

    rail: Rail
    estimate: Estimate
    idle: tuple[tuple[float, float] | None, ...]


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
    """Return the energy of a window with its uncertainty, or the reason why there is none.

    Args:
        trace: channel id -> (t_s, raw) in the board's monotonic clock.
        rail_map: the map that was used to read them.
        window: (t0, t1) in the same clock, device synchronised before both marks.
        iterations: (start, end) of every timed sample in the window, in order.
        loops: how many iterations each timed sample holds.
        idle: windows without workload, the first before and the last after the measured one.
        changes: bursts within the window in which inputs were changed, as between iterations, and
            nothing else was done.
        throttled: whether the board throttled in the window, or the evidence in words.
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


def comparable(one: Energy, other: Energy) -> str | None:
    """Return why two energies must not be compared; None if they may be."""
    for energy in (one, other):
        if energy.status != "ok":
            return f"energy {energy.status}: {energy.reason}"
    for what, first, second in (
        ("scope", one.scope, other.scope),
        ("sensor", one.source, other.source),
        ("rails", " + ".join(one.total), " + ".join(other.total)),
    ):
        if first != second:
            return f"not comparable: {what} {first!r} against {second!r}"
    return None


def back_to_back(window_start_s: float, times_s: Sequence[float], loops: int = 1) -> FloatArray:
    """Return (start, end) of samples that ran one after the other, for ``iterations``."""
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
        words = "; ".join(rail_map.missing) or "no rail gives the total"
        raise NotMeasured("missing", words, "gfbench doctor shows what can be read")


def _total_rail(rail_map: RailMap, name: str) -> Rail:
    rail = rail_map.rail(name)
    if rail is None:
        words = "; ".join(item for item in rail_map.missing if name in item)
        raise NotMeasured(
            "missing",
            words or f"rail {name} of the total was not read",
            "gfbench doctor shows what can be read",
        )
    return rail


def _read(
    trace: Trace, rail: Rail, view: View, idle: Sequence[Window], changes: Sequence[Window]
) -> _Reading:
    """Estimate one rail of the total, its idle power first: it bounds what the edges can hide."""
    powers = tuple(_steady_reading(trace, rail, window) for window in idle)
    known = [power[0] for power in powers if power is not None]
    series = rail_series(trace, rail, view.window_s)
    between = _changes(trace, rail, changes)
    found = estimate(series, view, float(np.mean(known)) if known else None, between)
    return _Reading(rail=rail, estimate=found, idle=powers)


def _changes(trace: Trace, rail: Rail, changes: Sequence[Window]) -> Changes | None:
    """Return what a rail draws in bursts of changes, and how much more than beside them.

    Beside: as long on either side, so that what drifts steadily cancels; and the median of all, so
    that one burst in which the drift turns does not count.

    Raises:
        NotMeasured: the rail was not read for long enough.
    """
    if not changes:
        return None
    energy_j, energy_u95_j, more_w, more_u95_w = 0.0, [], [], []
    for begin, end in changes:
        length = end - begin
        parts = ((begin, end), (begin - length, begin), (end, end + length))
        alone, before, after = (_steady_reading(trace, rail, part) for part in parts)
        if alone is None or before is None or after is None:
            raise NotMeasured(
                "invalid",
                f"{rail.name} was read too rarely while the inputs were changed, and the energy "
                "of that has to be subtracted",
                "repeat the block; if it happens again, look at the sampler's notes in the journal",
            )
        energy_j += alone[0] * length
        energy_u95_j.append(alone[1] * length)
        more_w.append(alone[0] - (before[0] + after[0]) / 2)
        more_u95_w.append(float(np.hypot(alone[1], np.hypot(before[1], after[1]) / 2)))
    return Changes(
        duration_s=sum(end - begin for begin, end in changes),
        energy_j=energy_j,
        energy_u95_j=float(np.hypot.reduce(energy_u95_j)),
        more_w=float(np.median(more_w)),
        more_u95_w=float(np.hypot.reduce(more_u95_w)) / len(more_u95_w),
    )


def _steady_reading(trace: Trace, rail: Rail, window: Window) -> tuple[float, float] | None:
    try:
        return steady_power(rail_series(trace, rail, window), window)
    except NotMeasured:
        return None


def _rail_energy(trace: Trace, rail: Rail, view: View, changes: Sequence[Window]) -> RailEnergy:
    """Return what one rail gives on its own."""
    try:
        between = _changes(trace, rail, changes)
        found = estimate(rail_series(trace, rail, view.window_s), view, changes=between)
    except NotMeasured as problem:
        return RailEnergy(name=rail.name, energy_j=None, reason=problem.reason)
    energy_j = Figure(
        value=found.power_w,
        random_u95=found.u95_w,
        systematic_u95=abs(found.power_w) * (rail.tolerance or 0.0),
    ).times(view.busy_s)
    return RailEnergy(name=rail.name, energy_j=energy_j, method=found.method)


def _total(
    readings: list[_Reading], rail_map: RailMap, view: View, rails: tuple[RailEnergy, ...]
) -> Energy:
    """Add the rails up and derive every figure."""
    found = [reading.estimate for reading in readings]
    terms = _uncertainty(readings, view)
    random_j = float(
        np.hypot.reduce([terms.sampling_j, terms.edges_j, terms.quantisation_j, terms.drift_j])
    )
    gross_j = Figure(
        value=sum(item.power_w for item in found) * view.busy_s,
        random_u95=random_j,
        systematic_u95=terms.tolerance_j,
    )
    _require_precision(gross_j, view)
    plain_j = Figure(
        value=sum(item.plain_w for item in found) * view.duration_s,
        random_u95=sum(item.plain_u95_w for item in found) * view.duration_s,
        systematic_u95=terms.tolerance_j,
    )
    idle_w, idle_flags = _idle(readings)
    net_j = None if idle_w is None else _net(gross_j, idle_w, view)
    count = view.iterations
    per_iteration_j = gross_j.times(1 / count) if count else None
    gaps = [item.phase_gap for item in found if item.phase_gap is not None]
    return Energy(
        status="ok",
        reason=None,
        remedy=None,
        source=rail_map.source,
        scope=rail_map.scope,
        total=rail_map.total,
        duration_s=view.duration_s,
        iterations=count,
        method=" + ".join(sorted({item.method for item in found})),
        samples=min(item.samples for item in found),
        phase_gap=max(gaps) if gaps else None,
        gross_j=gross_j,
        net_j=net_j,
        per_iteration_j=per_iteration_j,
        net_per_iteration_j=net_j.times(1 / count) if net_j and count else None,
        mean_power_w=gross_j.times(1 / view.busy_s),
        idle_power_w=idle_w,
        edp_js=per_iteration_j.times(view.busy_s / count) if per_iteration_j else None,
        plain_j=plain_j,
        uncertainty=terms,
        rails=rails,
        flags=(*_estimator_flags(gross_j, plain_j, found, view), *idle_flags,
               *_sensor_flags(readings)),
    )  # fmt: skip


def _uncertainty(readings: list[_Reading], view: View) -> Uncertainty:
    """Add rails of one load linearly where they err together, else by squares."""
    found = [reading.estimate for reading in readings]
    tolerances_w = [abs(item.estimate.power_w) * (item.rail.tolerance or 0.0) for item in readings]
    return Uncertainty(
        sampling_j=sum(item.sampling_w for item in found) * view.busy_s,
        edges_j=sum(item.edges_w for item in found) * view.busy_s,
        quantisation_j=float(np.hypot.reduce([item.quantisation_w for item in found]))
        * view.busy_s,
        drift_j=sum(item.drift_w for item in found) * view.busy_s,
        tolerance_j=sum(tolerances_w) * view.busy_s,
    )


def _require_precision(gross_j: Figure, view: View) -> None:
    if gross_j.value <= 0:
        raise NotMeasured("invalid", "the sensor shows no power", "check the rail map and wiring")
    excess = gross_j.relative_u95 / MAX_RELATIVE_U95
    if excess > 1:
        longer_s = view.duration_s * min(excess**2, 10.0)
        raise NotMeasured(
            "invalid",
            f"too uncertain: ±{gross_j.relative_u95:.1%} ({MAX_RELATIVE_U95:.0%} allowed)",
            f"measure at least {longer_s:.3g} s per window (min_window_s), or read more often",
        )


def _net(gross_j: Figure, idle_w: Figure, view: View) -> Figure:
    """Subtract the idle power; the sensor's gain is the same in both."""
    idle_j = idle_w.times(view.busy_s)
    value = gross_j.value - idle_j.value
    return Figure(
        value=value,
        random_u95=float(np.hypot(gross_j.random_u95, idle_j.random_u95)),
        systematic_u95=abs(value) * gross_j.systematic_u95 / gross_j.value,
    )


def _idle(readings: list[_Reading]) -> tuple[Figure | None, list[str]]:
    """Return the total's idle power over all idle windows, flagged if it changed."""
    powers = [
        _idle_total(windows) for windows in zip(*(item.idle for item in readings), strict=True)
    ]
    known = [power for power in powers if power is not None]
    if not known:
        return None, ["idle power not measured: net energy is missing"] if powers else []
    first, last = known[0][0], known[-1][0]
    mean_w = float(np.mean([power for power, _ in known]))
    noise_w = float(np.hypot.reduce([u95 for _, u95 in known])) / len(known)
    change = abs(last - first) / mean_w if mean_w else 0.0
    flags = (
        []
        if len(known) == len(powers)
        else ["idle power was measured only before or only after the run"]
    )
    if change > MAX_IDLE_CHANGE:
        flags.append(f"idle power changed by {change:.0%} from before to after the run")
    idle_w = Figure(value=mean_w, random_u95=float(np.hypot(noise_w, abs(last - first) / 2)))
    return idle_w, flags


def _idle_total(
    rails: tuple[tuple[float, float] | None, ...],
) -> tuple[float, float] | None:
    known = [power for power in rails if power is not None]
    if len(known) < len(rails):
        return None
    return sum(power for power, _ in known), float(np.hypot.reduce([u95 for _, u95 in known]))


def _estimator_flags(
    gross_j: Figure, plain_j: Figure, found: list[Estimate], view: View
) -> list[str]:
    """Say where the two estimators disagree, and where aliasing could not be looked for."""
    flags = []
    difference = abs(plain_j.value - gross_j.value)
    apart = difference > np.hypot(plain_j.random_u95, gross_j.random_u95)
    if apart and view.pause_s <= MAX_PAUSE * view.duration_s:
        share = difference / gross_j.value
        flags.append(
            f"the plain and the primary estimate differ by {share:.1%}, beyond their uncertainty"
        )
    if any(item.method == "trapezoid" for item in found):
        words = "power was not steady" if view.iterations else "no iteration marks"
        flags.append(f"{words}: not folded by phase, aliasing cannot be excluded")
    return flags


def _sensor_flags(readings: list[_Reading]) -> list[str]:
    unknown = [item.rail.name for item in readings if item.rail.tolerance is None]
    return [f"sensor tolerance unknown: {', '.join(unknown)}"] if unknown else []
