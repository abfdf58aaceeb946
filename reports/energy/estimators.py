"""Mean power of one rail while the workload ran, from its readings, with 95 % uncertainties.

Which estimator is primary follows from the sensor, never from the outcome:

* ``counter``      an energy counter: difference of the first and the last read inside the window.
* ``conversions``  a sensor that averages without pause: mean of the conversions that lie wholly
                   inside the window. What is unknown is only what the cut iteration at the two
                   ends adds, so the error falls with 1/window, not with its root.
* ``folded``       a sensor that samples instants, with iteration marks and a steady window: all
                   samples sorted by their phase in the iteration, periodic trapezoid.
* ``trapezoid``    a sensor that samples instants otherwise: trapezoid with the power
                   interpolated at both edges of the window.

The plain integral (trapezoid, or the counter interpolated at both edges) is always computed too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.energy.conversions import Conversions, conversions
from reports.energy.series import NotMeasured, RailSeries
from reports.energy.window import (
    MIN_CONVERSIONS,
    MIN_INSTANTS,
    MIN_WINDOW_S,
    View,
    averages_without_pause,
    required_window_s,
)
from reports.results.power import FloatArray, Window

NORMAL_95 = 1.96
# The sum of few bounded terms, estimated from the data itself, needs more than the normal 1.96.
TRAPEZOID_95 = 2.4
# 95 % of the difference of two uniform variables lies within this part of their range.
TWO_ENDS_95 = 0.78
MIN_ITERATIONS = 5  # fewer iterations are not folded
# By so much of what it draws above idle may a change between iterations differ from one alone.
MAX_UNLIKE = 0.01
MAX_SLIP = 0.25  # of an iteration: phases less sure than this are not known
MAX_UNSTEADY = 0.10  # of the mean power between the two halves of a window


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Bursts of changes within a window: what they took, and how much more than what is beside.

    Beside them are iterations with changes in between.
    """

    duration_s: float
    energy_j: float
    energy_u95_j: float
    more_w: float
    more_u95_w: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Mean power with its 95 % uncertainties by cause, all in watts."""

    method: str
    power_w: float
    sampling_w: float = 0.0
    edges_w: float = 0.0
    quantisation_w: float = 0.0
    drift_w: float = 0.0
    samples: int = 0
    phase_gap: float | None = None
    plain_w: float = 0.0
    plain_u95_w: float = 0.0

    @property
    def u95_w(self) -> float:
        """Return all random causes together."""
        return float(np.hypot.reduce([self.sampling_w, self.edges_w, self.quantisation_w]))


def estimate(
    series: RailSeries,
    view: View,
    idle_w: float | None = None,
    changes: Changes | None = None,
) -> Estimate:
    """Return the rail's mean power inside the iterations of the window.

    Args:
        series: the rail's readings.
        view: the window and its iterations.
        idle_w: the rail's power without any work, where it is known.
        changes: what changing the inputs draws; without it only a pause lies between iterations.

    Raises:
        NotMeasured: the readings cannot support a figure; with the reason and what to change.
    """
    require_coverage(series, view)
    if series.rail.kind == "energy":
        return _counter(series, view, idle_w, changes)
    samples = conversions(series)
    if averages_without_pause(series):
        return _averaged(series, samples, view, idle_w, changes)
    return _instants(series, samples, view)


def steady_power(series: RailSeries, window: Window) -> tuple[float, float] | None:
    """Return (power_w, u95_w) over a window of one steady load or none; None with few readings."""
    times_s, values = series.times_s, series.values
    if series.rail.kind == "energy":
        times_s, values = times_s[1:], np.diff(values) / np.diff(times_s)
        lead_s = series.interval_s
    else:
        samples = conversions(series)
        times_s, values = samples.times_s, samples.values
        lead_s = series.rail.update_interval_s or 0.0 if averages_without_pause(series) else 0.0
    values = values[(times_s - lead_s >= window[0]) & (times_s <= window[1])]
    if values.size < 3:
        return None
    spread_w = float(np.std(values, ddof=1)) / np.sqrt(values.size)
    step_w = 0.0 if series.rail.kind == "energy" else _quantisation(series.quantum, values)
    return float(np.mean(values)), float(np.hypot(NORMAL_95 * spread_w, step_w))


def trapezoid(x: FloatArray, values: FloatArray, blur: float = 0.0) -> tuple[float, float]:
    """Return (integral, 95 % uncertainty) of samples in order of x, each x known to ``blur``.

    Where the value steps between two samples, the step may be anywhere between them: a uniform
    error of step times gap / sqrt(12). Where one sample stands out from both neighbours, it is
    noise, or a feature that only one sample has seen: the local variance times the square of
    its weight (for white noise the negative product of adjacent differences estimates it).
    """
    gaps, steps = np.diff(x), np.diff(values)
    weights = (gaps[1:] + gaps[:-1]) / 2
    noise = np.sum(weights**2 * np.maximum(0.0, -steps[1:] * steps[:-1]))
    variance = np.sum((steps * (gaps + blur)) ** 2) / 12 + noise
    integral = np.sum(gaps * (values[1:] + values[:-1])) / 2
    return float(integral), TRAPEZOID_95 * float(np.sqrt(variance))


def fold(phases: FloatArray, values: FloatArray, blur: float = 0.0) -> tuple[float, float, float]:
    """Return (mean, 95 % uncertainty, largest empty phase gap) of a periodic function."""
    order = np.argsort(phases)
    phases, values = phases[order], values[order]
    closed = np.concatenate([phases, phases[:2] + 1])
    mean, _ = trapezoid(closed[:-1], np.append(values, values[0]))
    _, u95 = trapezoid(closed, np.append(values, values[:2]), blur)
    return mean, u95, float(np.max(np.diff(closed[:-1])))


def _instants(series: RailSeries, samples: Conversions, view: View) -> Estimate:
    """Fold the samples by phase where that is possible, else integrate them over time."""
    rail = series.rail
    smear_s = (rail.update_interval_s or 0.0) if rail.conversion == "average" else 0.0
    times_s, values = samples.times_s - smear_s / 2, samples.values
    inside = (times_s >= view.window_s[0]) & (times_s <= view.window_s[1])
    require_instants(int(np.sum(inside)), series, view)
    plain_w, plain_u95_w = _plain(times_s, values, view)
    quantisation_w = _quantisation(series.quantum, values[inside])
    result = Estimate(
        method="trapezoid",
        power_w=plain_w,
        sampling_w=plain_u95_w,
        quantisation_w=quantisation_w,
        samples=int(np.sum(inside)),
        plain_w=plain_w,
        plain_u95_w=float(np.hypot(plain_u95_w, quantisation_w)),
    )
    if view.starts_s.size < MIN_ITERATIONS:
        return result
    inside &= view.inside(times_s)
    require_instants(int(np.sum(inside)), series, view)
    if rail.conversion != "average" and rail.update_interval_s is not None:
        require_all_phases(samples.period_s or rail.update_interval_s, view)
    return _folded(result, samples, inside, view, smear_s)


def _folded(
    plain: Estimate, samples: Conversions, inside: NDArray[np.bool_], view: View, smear_s: float
) -> Estimate:
    """Return the folded estimate beside the plain one; the plain one if power was not steady."""
    times_s, values = samples.times_s[inside] - smear_s / 2, samples.values[inside]
    length_s = view.busy_s / view.iterations
    if samples.slip_s > MAX_SLIP * length_s:
        raise unknown_phases(samples, view)
    phases = view.phases(times_s)
    mean_w, u95_w, gap = fold(phases, values, (samples.slack_s + samples.slip_s / 2) / length_s)
    gap = max(0.0, gap - smear_s / length_s)
    if gap > MAX_PHASE_GAP:
        raise empty_phases(gap, times_s.size, view)
    half = times_s.size // 2
    first_w, first_u95_w, _ = fold(phases[:half], values[:half])
    second_w, second_u95_w, _ = fold(phases[half:], values[half:])
    noise_w = float(np.hypot(first_u95_w, second_u95_w))
    steady = abs(second_w - first_w) <= max(MAX_UNSTEADY * abs(mean_w), noise_w)
    if not steady and (samples.period_s is not None or _regular(times_s)):
        raise slow_beat()
    return Estimate(
        method="folded" if steady else "trapezoid",
        power_w=mean_w if steady else plain.power_w,
        sampling_w=u95_w if steady else plain.sampling_w,
        quantisation_w=plain.quantisation_w,
        samples=int(times_s.size),
        phase_gap=gap,
        plain_w=plain.plain_w,
        plain_u95_w=plain.plain_u95_w,
    )


def _regular(times_s: FloatArray) -> bool:
    """Return whether samples come at equal intervals, and may beat with the iteration."""
    gaps_s = np.diff(times_s)
    return bool(np.std(gaps_s) < 0.1 * np.mean(gaps_s))


def _plain(times_s: FloatArray, values: FloatArray, view: View) -> tuple[float, float]:
    """Return mean power and uncertainty of the trapezoid, power interpolated at both edges."""
    begin, end = view.window_s
    inner = (times_s > begin) & (times_s < end)
    nodes_s = np.concatenate([[begin], times_s[inner], [end]])
    integral_j, u95_j = trapezoid(nodes_s, np.interp(nodes_s, times_s, values))
    return integral_j / view.duration_s, u95_j / view.duration_s


def _averaged(
    series: RailSeries,
    samples: Conversions,
    view: View,
    idle_w: float | None,
    changes: Changes | None,
) -> Estimate:
    """Integrate readings that each stand for the mean since the conversion before."""
    period_s = samples.period_s or series.rail.update_interval_s or series.interval_s
    times_s, values = samples.times_s, samples.values
    if view.duration_s < 0.99 * MIN_CONVERSIONS * period_s:
        raise too_few(int(view.duration_s / period_s), series, view)
    begin, end = view.window_s
    lead_s = period_s + samples.period_slack_s
    whole = (samples.earliest_s - lead_s >= begin) & (samples.latest_s <= end)
    # The window holds ten periods; the cut one at each end, and one more in doubt, do not count.
    if np.sum(whole) < MIN_CONVERSIONS - 3:
        raise too_few(int(np.sum(whole)), series, view)
    knots_s = np.concatenate([[times_s[0] - period_s], times_s])
    knots_j = np.concatenate([[0.0], np.cumsum(values * np.diff(knots_s))])
    first, last = np.flatnonzero(whole)[[0, -1]]
    span_s = float(times_s[last] - times_s[first] + period_s)
    seen = int(np.sum(whole))
    missed = max(0.0, span_s / period_s - seen)
    mean_w = float((knots_j[last + 1] - knots_j[first]) / span_s)
    spread_w = float(np.std(values[whole], ddof=1))
    missed_w = NORMAL_95 * spread_w * np.sqrt(2 * missed) / (seen + missed)
    return _contiguous(
        Estimate(
            method="conversions",
            power_w=mean_w,
            sampling_w=float(missed_w),
            quantisation_w=_quantisation(series.quantum, values[whole]),
            samples=seen,
        ),
        span_s, spread_w, (knots_s, knots_j), view, idle_w, changes,
    )  # fmt: skip


def _counter(
    series: RailSeries,
    view: View,
    idle_w: float | None,
    changes: Changes | None,
) -> Estimate:
    """Take the difference of the first and the last read of a counter inside the window."""
    times_s, joules = series.times_s, series.values
    inside = np.flatnonzero((times_s >= view.window_s[0]) & (times_s <= view.window_s[1]))
    if inside.size < 2 or times_s[inside[-1]] - times_s[inside[0]] < view.duration_s / 2:
        raise too_few(int(inside.size), series, view)
    first, last = inside[0], inside[-1]
    span_s = float(times_s[last] - times_s[first])
    mean_w = float((joules[last] - joules[first]) / span_s)
    slopes_w = np.diff(joules[inside]) / np.diff(times_s[inside])
    spread_w = float(np.std(slopes_w, ddof=1)) if slopes_w.size > 3 else abs(mean_w)
    # A counter that refreshes now and then is late by up to one refresh at either end.
    late_w = mean_w * (series.rail.update_interval_s or 0.0) / span_s
    step_w = np.sqrt(2) * series.quantum / np.sqrt(12) / span_s
    return _contiguous(
        Estimate(
            method="counter",
            power_w=mean_w,
            sampling_w=TWO_ENDS_95 * abs(late_w),
            quantisation_w=float(NORMAL_95 * step_w),
            samples=int(inside.size),
        ),
        span_s, spread_w, (times_s, joules), view, idle_w, changes,
    )  # fmt: skip


def _contiguous(
    measured: Estimate,
    span_s: float,
    spread_w: float,
    knots: tuple[FloatArray, FloatArray],
    view: View,
    idle_w: float | None,
    changes: Changes | None,
) -> Estimate:
    """Add what the ends of the span leave open, take out what lies between iterations.

    Over whole iterations the mean is exact. The span may cut an iteration at either end; the
    energy in doubt is at most what one iteration has above the floor (idle power, or nothing).
    Between iterations inputs are changed, at a power that a window of its own has shown, or, in
    older runs, nothing is done. The plain integral, of the whole window, stands beside.
    """
    mean_w, open_s = measured.power_w, max(0.0, view.duration_s - span_s)
    floor_w = min(idle_w or 0.0, mean_w)
    # What lies open at the ends may have had another power: by the load's own slow changes ...
    edges_w = NORMAL_95 * spread_w * open_s / span_s
    if view.cycle_s is not None:  # ... and by the part of an iteration that it holds.
        cut_s = min(open_s, view.cycle_s)
        cut_w = TWO_ENDS_95 * (mean_w - floor_w) * cut_s / span_s
        edges_w = float(np.hypot(edges_w, cut_w))
    pause_share = view.pause_s / view.busy_s
    if changes is None:
        pause_w = mean_w if idle_w is None else floor_w
        more_w, doubt_w = (pause_w - mean_w) * pause_share, (mean_w - floor_w) * pause_share / 2
    else:
        rest_s = view.duration_s - changes.duration_s  # iterations, and changes in between
        rest_w = (mean_w * view.duration_s - changes.energy_j) / rest_s
        share = (rest_s - view.busy_s) / view.busy_s
        more_w = mean_w - rest_w + changes.more_w * share
        unlike_w = MAX_UNLIKE * (rest_w + changes.more_w - floor_w) * share
        doubts_w = [changes.more_u95_w * share, changes.energy_u95_j / rest_s, unlike_w]
        doubt_w = float(np.hypot.reduce(doubts_w))
    plain_j, plain_u95_j = _between_knots(knots, view)
    return Estimate(
        method=measured.method,
        power_w=mean_w - more_w,
        sampling_w=measured.sampling_w,
        edges_w=float(np.hypot(edges_w, doubt_w)),
        quantisation_w=measured.quantisation_w,
        samples=measured.samples,
        plain_w=plain_j / view.duration_s,
        plain_u95_w=plain_u95_j / view.duration_s,
    )


def _between_knots(knots: tuple[FloatArray, FloatArray], view: View) -> tuple[float, float]:
    """Return (energy_j, u95_j) of the window, cumulative energy interpolated at both edges."""
    times_s, joules = knots
    total, doubt = 0.0, 0.0
    for edge_s, sign in zip(view.window_s, (-1, 1), strict=True):
        right = int(np.clip(np.searchsorted(times_s, edge_s), 1, times_s.size - 1))
        part = (edge_s - times_s[right - 1]) / (times_s[right] - times_s[right - 1])
        step_j = joules[right] - joules[right - 1]
        total += sign * float(joules[right - 1] + part * step_j)
        doubt += step_j**2 * max(0.0, part * (1 - part))
    return total, float(np.sqrt(doubt))


def _quantisation(quantum: float, values: FloatArray) -> float:
    """Return the 95 % error of a mean of rounded values: equal ones err alike, others apart."""
    _, counts = np.unique(values, return_counts=True)
    independent = values.size**2 / np.sum(counts**2.0)
    return float(NORMAL_95 * quantum / np.sqrt(12 * independent))


MAX_PHASE_GAP = 0.05
RANDOM_PAUSES = "insert random pauses of up to one iteration between iterations"


def require_coverage(series: RailSeries, view: View) -> None:
    """Refuse a window in which the readings stop for long.

    Raises:
        NotMeasured: nothing was read for five intervals and a twentieth of the window.
    """
    begin, end = view.window_s
    inner = series.times_s[(series.times_s > begin) & (series.times_s < end)]
    before, after = series.times_s[series.times_s <= begin], series.times_s[series.times_s >= end]
    first = before[-1:] if before.size else np.array([begin])
    last = after[:1] if after.size else np.array([end])
    hole_s = float(np.max(np.diff(np.concatenate([first, inner, last]))))
    if hole_s > max(5 * series.interval_s, 0.05 * view.duration_s):
        raise NotMeasured(
            "invalid",
            f"cut window: {series.rail.name} was not read for {hole_s:.2g} s of it",
            "repeat the block; if it happens again, look at the sampler's notes in the journal",
        )


def require_instants(count: int, series: RailSeries, view: View) -> None:
    """Refuse fewer than a hundred samples, less what random read intervals scatter (10 %).

    Raises:
        NotMeasured: there are fewer.
    """
    if count < 0.9 * MIN_INSTANTS:
        raise too_few(count, series, view)


def require_all_phases(period_s: float, view: View) -> None:
    """Refuse a sensor whose own conversions, read or not, leave phases of the iteration out.

    Raises:
        NotMeasured: it runs in step with the iteration.
    """
    converted_s = np.arange(view.window_s[0], view.window_s[1], period_s)
    phases = np.sort(view.phases(converted_s[view.inside(converted_s)]))
    gap = float(np.max(np.diff(np.append(phases, phases[0] + 1)))) if phases.size else 1.0
    if gap > MAX_PHASE_GAP:
        raise empty_phases(gap, max(phases.size, 1), view)


def too_few(count: int, series: RailSeries, view: View) -> NotMeasured:
    """Say that there are too few samples and how long the window must be for enough."""
    needed_s = max(MIN_WINDOW_S, 1.05 * required_window_s(series))
    return NotMeasured(
        "invalid",
        f"too few samples: {count} of {series.rail.name} in {view.duration_s:.3g} s",
        f"measure at least {needed_s:.3g} s per window (min_window_s)",
    )


def empty_phases(gap: float, count: int, view: View) -> NotMeasured:
    """Tell bad luck with few samples from a sensor in step with the iteration."""
    usual = (np.log(count) + 3.5) / count  # 97 % of random phases stay below
    reason = f"no sample in {gap:.0%} of the iteration ({MAX_PHASE_GAP:.0%} allowed)"
    if gap <= usual:
        longer = f"measure twice as long ({2 * view.duration_s:.3g} s, min_window_s)"
        return NotMeasured("invalid", reason, longer)
    reason = f"aliasing: {reason}; the sensor runs in step with the iteration"
    return NotMeasured("invalid", reason, RANDOM_PAUSES)


def unknown_phases(samples: Conversions, view: View) -> NotMeasured:
    """Say that the readings do not show when the sensor converts."""
    return NotMeasured(
        "invalid",
        f"the sensor converts every {samples.period_s or 0:.3g} s, but its readings do not show "
        f"when: phases in an iteration of {(view.cycle_s or 0):.3g} s are unknown",
        f"read it more often, {RANDOM_PAUSES}, or use a sensor that averages or counts",
    )


def slow_beat() -> NotMeasured:
    """Say that a held value drifts slowly, which a steady load does not."""
    return NotMeasured(
        "invalid",
        "power drifts slowly: the load is not steady, or the sensor is nearly in step with it",
        RANDOM_PAUSES,
    )
