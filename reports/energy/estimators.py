"""Mean power of one rail while the workload ran, from its readings, with 95 % uncertainties.

The kind of sensor decides which estimator is the primary one, never the result:

* ``counter``      An energy counter: the difference of the first and the last read in the window.
* ``conversions``  A sensor that averages without a gap: the mean of all conversions that lie wholly
                   in the window. The only unknown is the iteration cut off at either end, so the
                   error falls with 1/window rather than with 1/sqrt(window).
* ``folded``       A sensor that samples instants, with iteration marks and a steady load: the
                   samples are sorted by their phase in the iteration and integrated over one
                   period by the trapezoid rule.
* ``trapezoid``    A sensor that samples instants otherwise: the trapezoid rule over the window,
                   with the power interpolated at both edges.

The plain integral over the window (trapezoid rule, or the counter interpolated at both edges) is
always computed as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reports.energy.conversions import Conversions, conversions
from reports.energy.series import NotMeasured, RailSeries
from reports.energy.window import (
    MIN_CONVERSIONS,
    MIN_INSTANTS,
    MIN_WINDOW_S,
    View,
    averages_without_gap,
    required_window_s,
)
from reports.results.power import FloatArray, Window

# Coverage factors: half widths of 95 % intervals in standard deviations or, for TWO_ENDS_95, in
# units of the range.
NORMAL_95 = 1.96
TRAPEZOID_95 = 2.4  # a sum of few bounded terms, whose variance is estimated from the same data
TWO_ENDS_95 = 0.78  # the difference of two uniform variables: 1 - sqrt(0.05)

MIN_ITERATIONS = 5  # needed to fold the samples
MAX_PHASE_GAP = 0.05  # of an iteration, without any sample
MAX_SLIP = 0.25  # of an iteration: how uncertain the phases may be
MAX_UNSTEADY = 0.10  # of the mean power, between the two halves of a window
# A change of inputs between iterations may draw this much more or less than one in a burst, as a
# share of its power above idle.
MAX_UNLIKE = 0.01
RANDOM_PAUSES = "insert random pauses of up to one iteration between iterations"


@dataclass(frozen=True, kw_only=True)
class SteadyPower:
    """The mean power of a steady load, or of none, with its 95 % uncertainty."""

    power_w: float
    u95_w: float


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Bursts in the window in which only inputs were changed, and what they draw.

    ``more_w`` is their power minus that of the iterations, with changes between them, on either
    side of the bursts.
    """

    duration_s: float
    energy_j: float
    energy_u95_j: float
    more_w: float
    more_u95_w: float


@dataclass(frozen=True, kw_only=True)
class PowerEstimate:
    """Mean power with its 95 % uncertainties by cause, all in watts.

    ``plain_w`` is the mean power of the whole window from the plain integral.
    """

    method: str
    power_w: float
    sampling_w: float = 0.0
    edges_w: float = 0.0
    quantisation_w: float = 0.0
    samples: int = 0
    phase_gap: float | None = None
    plain_w: float = 0.0
    plain_u95_w: float = 0.0

    @property
    def u95_w(self) -> float:
        """Return the combined uncertainty of all random causes."""
        return float(np.hypot.reduce([self.sampling_w, self.edges_w, self.quantisation_w]))


def estimate(
    series: RailSeries,
    view: View,
    idle_w: float | None = None,
    changes: Changes | None = None,
) -> PowerEstimate:
    """Return the rail's mean power inside the iterations of the window.

    Args:
        series: the rail's readings.
        view: the window and its iterations.
        idle_w: the rail's idle power, if it is known.
        changes: what changing the inputs between iterations draws; None if they do not change.

    Raises:
        NotMeasured: the readings do not allow a figure; with the reason and what to change.
    """
    require_coverage(series, view)
    if series.rail.kind == "energy":
        return _counter(series, view, idle_w, changes)
    samples = conversions(series)
    if averages_without_gap(series):
        return _averaged(series, samples, view, idle_w, changes)
    return _instants(series, samples, view)


def steady_power(series: RailSeries, window: Window) -> SteadyPower | None:
    """Return the mean power in a window with one steady load or none; None with few readings."""
    times_s, values = series.times_s, series.values
    covered_s = 0.0  # the time before its instant that a value stands for
    if series.rail.kind == "energy":
        times_s, values = times_s[1:], np.diff(values) / np.diff(times_s)
        covered_s = series.interval_s
    else:
        samples = conversions(series)
        times_s, values = samples.times_s, samples.values
        if averages_without_gap(series):
            covered_s = series.rail.update_interval_s or 0.0
    values = values[(times_s - covered_s >= window[0]) & (times_s <= window[1])]
    if values.size < 3:
        return None
    error_w = float(np.std(values, ddof=1)) / np.sqrt(values.size)
    quantisation_w = 0.0
    if series.rail.kind != "energy":
        quantisation_w = _quantisation(series.quantum, values)
    u95_w = float(np.hypot(NORMAL_95 * error_w, quantisation_w))
    return SteadyPower(power_w=float(np.mean(values)), u95_w=u95_w)


def trapezoid(x: FloatArray, values: FloatArray, blur: float = 0.0) -> tuple[float, float]:
    """Return (integral, 95 % uncertainty) of samples sorted by x, each x uncertain by ``blur``.

    A step between two samples may lie anywhere between them: a uniform error of
    step x gap / sqrt(12). A sample that stands out from both neighbours is noise, or a feature that
    only one sample has seen; it adds the local variance times the square of its weight. The
    negative product of adjacent differences estimates that variance for white noise.
    """
    gaps, steps = np.diff(x), np.diff(values)
    weights = (gaps[1:] + gaps[:-1]) / 2
    noise = np.sum(weights**2 * np.maximum(0.0, -steps[1:] * steps[:-1]))
    variance = np.sum((steps * (gaps + blur)) ** 2) / 12 + noise
    integral = np.sum(gaps * (values[1:] + values[:-1])) / 2
    return float(integral), TRAPEZOID_95 * float(np.sqrt(variance))


def fold(phases: FloatArray, values: FloatArray, blur: float = 0.0) -> tuple[float, float, float]:
    """Return (mean, 95 % uncertainty, largest phase gap without a sample) over one period."""
    order = np.argsort(phases)
    phases, values = phases[order], values[order]
    closed = np.concatenate([phases, phases[:2] + 1])
    mean, _ = trapezoid(closed[:-1], np.append(values, values[0]))
    _, u95 = trapezoid(closed, np.append(values, values[:2]), blur)
    return mean, u95, float(np.max(np.diff(closed[:-1])))


def _instants(series: RailSeries, samples: Conversions, view: View) -> PowerEstimate:
    """Fold the samples by phase if that is possible, else integrate them over time."""
    rail = series.rail
    smear_s = (rail.update_interval_s or 0.0) if rail.conversion == "average" else 0.0
    times_s, values = samples.times_s - smear_s / 2, samples.values
    inside = (times_s >= view.window_s[0]) & (times_s <= view.window_s[1])
    require_instants(int(np.sum(inside)), series, view)
    plain_w, plain_u95_w = _plain(times_s, values, view)
    quantisation_w = _quantisation(series.quantum, values[inside])
    result = PowerEstimate(
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
    plain: PowerEstimate,
    samples: Conversions,
    inside: NDArray[np.bool_],
    view: View,
    smear_s: float,
) -> PowerEstimate:
    """Return the folded estimate, or the plain one if the power was not steady."""
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
    if not steady:
        # Samples at equal intervals may beat with the iteration: that looks like a drift.
        if samples.period_s is not None or _equally_spaced(times_s):
            raise slow_beat()
        return replace(plain, samples=int(times_s.size), phase_gap=gap)
    return replace(
        plain,
        method="folded",
        power_w=mean_w,
        sampling_w=u95_w,
        samples=int(times_s.size),
        phase_gap=gap,
    )


def _equally_spaced(times_s: FloatArray) -> bool:
    gaps_s = np.diff(times_s)
    return bool(np.std(gaps_s) < 0.1 * np.mean(gaps_s))


def _plain(times_s: FloatArray, values: FloatArray, view: View) -> tuple[float, float]:
    """Return (mean power, 95 % uncertainty) of the window by the trapezoid rule."""
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
) -> PowerEstimate:
    """Average readings that each are the mean power since the conversion before."""
    period_s = samples.period_s or series.rail.update_interval_s or series.interval_s
    times_s, values = samples.times_s, samples.values
    if view.duration_s < 0.99 * MIN_CONVERSIONS * period_s:
        raise too_few(int(view.duration_s / period_s), series, view)
    begin, end = view.window_s
    covered_s = period_s + samples.period_slack_s
    whole = (samples.earliest_s - covered_s >= begin) & (samples.latest_s <= end)
    seen = int(np.sum(whole))
    # Of ten periods, the one cut off at either end and one whose position is in doubt are lost.
    if seen < MIN_CONVERSIONS - 3:
        raise too_few(seen, series, view)
    knots_s = np.concatenate([[times_s[0] - period_s], times_s])
    knots_j = np.concatenate([[0.0], np.cumsum(values * np.diff(knots_s))])
    first, last = np.flatnonzero(whole)[[0, -1]]
    span_s = float(times_s[last] - times_s[first] + period_s)
    missed = max(0.0, span_s / period_s - seen)
    spread_w = float(np.std(values[whole], ddof=1))
    missed_w = NORMAL_95 * spread_w * np.sqrt(2 * missed) / (seen + missed)
    measured = PowerEstimate(
        method="conversions",
        power_w=float((knots_j[last + 1] - knots_j[first]) / span_s),
        sampling_w=float(missed_w),
        quantisation_w=_quantisation(series.quantum, values[whole]),
        samples=seen,
    )
    cumulative = _Cumulative(times_s=knots_s, energy_j=knots_j, span_s=span_s, spread_w=spread_w)
    return _without_pauses(measured, cumulative, view, idle_w, changes)


def _counter(
    series: RailSeries,
    view: View,
    idle_w: float | None,
    changes: Changes | None,
) -> PowerEstimate:
    """Take the difference of the first and the last read of a counter in the window."""
    times_s, joules = series.times_s, series.values
    inside = np.flatnonzero((times_s >= view.window_s[0]) & (times_s <= view.window_s[1]))
    if inside.size < 2 or times_s[inside[-1]] - times_s[inside[0]] < view.duration_s / 2:
        raise too_few(int(inside.size), series, view)
    first, last = inside[0], inside[-1]
    span_s = float(times_s[last] - times_s[first])
    mean_w = float((joules[last] - joules[first]) / span_s)
    slopes_w = np.diff(joules[inside]) / np.diff(times_s[inside])
    spread_w = float(np.std(slopes_w, ddof=1)) if slopes_w.size > 3 else abs(mean_w)
    # A counter that is only refreshed at times lags by up to one refresh at either end.
    lag_w = mean_w * (series.rail.update_interval_s or 0.0) / span_s
    step_w = np.sqrt(2) * series.quantum / np.sqrt(12) / span_s
    measured = PowerEstimate(
        method="counter",
        power_w=mean_w,
        sampling_w=TWO_ENDS_95 * abs(lag_w),
        quantisation_w=float(NORMAL_95 * step_w),
        samples=int(inside.size),
    )
    cumulative = _Cumulative(times_s=times_s, energy_j=joules, span_s=span_s, spread_w=spread_w)
    return _without_pauses(measured, cumulative, view, idle_w, changes)


@dataclass(frozen=True, kw_only=True)
class _Cumulative:
    """The cumulative energy of a rail that is measured without a gap.

    ``span_s`` is the part of the window that was measured, ``spread_w`` the standard deviation of
    the power between readings.
    """

    times_s: FloatArray
    energy_j: FloatArray
    span_s: float
    spread_w: float


def _without_pauses(
    measured: PowerEstimate,
    cumulative: _Cumulative,
    view: View,
    idle_w: float | None,
    changes: Changes | None,
) -> PowerEstimate:
    """Add the uncertainty of the ends of the span, and subtract what lies between iterations.

    The mean over whole iterations is exact. The span may cut off an iteration at either end; the
    energy in doubt is at most that of one iteration above idle power (or above zero). Between
    iterations inputs are changed, at a power that bursts of changes have shown; in older runs the
    board is idle there.
    """
    mean_w, span_s = measured.power_w, cumulative.span_s
    open_s = max(0.0, view.duration_s - span_s)
    floor_w = min(idle_w or 0.0, mean_w)
    # The power in the open ends may differ: because the load itself changes slowly ...
    edges_w = NORMAL_95 * cumulative.spread_w * open_s / span_s
    if view.cycle_s is not None:  # ... and because they hold part of an iteration.
        cut_s = min(open_s, view.cycle_s)
        cut_w = TWO_ENDS_95 * (mean_w - floor_w) * cut_s / span_s
        edges_w = float(np.hypot(edges_w, cut_w))
    pause_share = view.pause_s / view.busy_s
    if changes is None:
        pause_w = mean_w if idle_w is None else floor_w
        more_w = (pause_w - mean_w) * pause_share
        doubt_w = (mean_w - floor_w) * pause_share / 2
    else:
        rest_s = view.duration_s - changes.duration_s  # iterations, and changes in between
        rest_w = (mean_w * view.duration_s - changes.energy_j) / rest_s
        share = (rest_s - view.busy_s) / view.busy_s
        more_w = mean_w - rest_w + changes.more_w * share
        unlike_w = MAX_UNLIKE * (rest_w + changes.more_w - floor_w) * share
        doubts_w = [changes.more_u95_w * share, changes.energy_u95_j / rest_s, unlike_w]
        doubt_w = float(np.hypot.reduce(doubts_w))
    plain_j, plain_u95_j = _interpolated_energy(cumulative, view)
    return replace(
        measured,
        power_w=mean_w - more_w,
        edges_w=float(np.hypot(edges_w, doubt_w)),
        plain_w=plain_j / view.duration_s,
        plain_u95_w=plain_u95_j / view.duration_s,
    )


def _interpolated_energy(cumulative: _Cumulative, view: View) -> tuple[float, float]:
    """Return (energy_j, u95_j) of the window, interpolated at both edges."""
    times_s, energy_j = cumulative.times_s, cumulative.energy_j
    total_j, variance = 0.0, 0.0
    for edge_s, sign in zip(view.window_s, (-1, 1), strict=True):
        right = int(np.clip(np.searchsorted(times_s, edge_s), 1, times_s.size - 1))
        share = (edge_s - times_s[right - 1]) / (times_s[right] - times_s[right - 1])
        step_j = energy_j[right] - energy_j[right - 1]
        total_j += sign * float(energy_j[right - 1] + share * step_j)
        variance += step_j**2 * max(0.0, share * (1 - share))
    return total_j, float(np.sqrt(variance))


def _quantisation(quantum: float, values: FloatArray) -> float:
    """Return the 95 % uncertainty that quantisation gives a mean.

    The error of one value is uniform, quantum / sqrt(12). Equal values have equal errors, so only
    different ones count as independent.
    """
    _, counts = np.unique(values, return_counts=True)
    independent = values.size**2 / np.sum(counts**2.0)
    return float(NORMAL_95 * quantum / np.sqrt(12 * independent))


def require_coverage(series: RailSeries, view: View) -> None:
    """Refuse a window with a long gap in its readings.

    Raises:
        NotMeasured: a gap is longer than five read intervals and than 5 % of the window.
    """
    begin, end = view.window_s
    inner = series.times_s[(series.times_s > begin) & (series.times_s < end)]
    before, after = series.times_s[series.times_s <= begin], series.times_s[series.times_s >= end]
    first = before[-1:] if before.size else np.array([begin])
    last = after[:1] if after.size else np.array([end])
    gap_s = float(np.max(np.diff(np.concatenate([first, inner, last]))))
    if gap_s > max(5 * series.interval_s, 0.05 * view.duration_s):
        raise NotMeasured(
            "invalid",
            f"cut window: {series.rail.name} was not read for {gap_s:.2g} s of it",
            "repeat the block; if it happens again, look at the sampler's notes in the journal",
        )


def require_instants(count: int, series: RailSeries, view: View) -> None:
    """Refuse fewer than 90 samples: 100, less the 10 % by which random read intervals vary.

    Raises:
        NotMeasured: there are fewer samples.
    """
    if count < 0.9 * MIN_INSTANTS:
        raise too_few(count, series, view)


def require_all_phases(period_s: float, view: View) -> None:
    """Refuse a sensor whose conversions, whether read or not, miss some phases of the iteration.

    Raises:
        NotMeasured: the sensor runs in step with the iteration.
    """
    converted_s = np.arange(view.window_s[0], view.window_s[1], period_s)
    phases = np.sort(view.phases(converted_s[view.inside(converted_s)]))
    gap = float(np.max(np.diff(np.append(phases, phases[0] + 1)))) if phases.size else 1.0
    if gap > MAX_PHASE_GAP:
        raise empty_phases(gap, max(phases.size, 1), view)


def too_few(count: int, series: RailSeries, view: View) -> NotMeasured:
    """Return the error for too few samples, with the window that gives enough."""
    needed_s = max(MIN_WINDOW_S, 1.05 * required_window_s(series))
    return NotMeasured(
        "invalid",
        f"too few samples: {count} of {series.rail.name} in {view.duration_s:.3g} s",
        f"measure at least {needed_s:.3g} s per window (min_window_s)",
    )


def empty_phases(gap: float, count: int, view: View) -> NotMeasured:
    """Return the error for a phase gap without samples: chance, or a sensor in step (aliasing).

    With random phases, the largest gap stays below (ln n + 3.5) / n in 97 % of cases.
    """
    usual = (np.log(count) + 3.5) / count
    reason = f"no sample in {gap:.0%} of the iteration ({MAX_PHASE_GAP:.0%} allowed)"
    if gap <= usual:
        longer = f"measure twice as long ({2 * view.duration_s:.3g} s, min_window_s)"
        return NotMeasured("invalid", reason, longer)
    reason = f"aliasing: {reason}; the sensor runs in step with the iteration"
    return NotMeasured("invalid", reason, RANDOM_PAUSES)


def unknown_phases(samples: Conversions, view: View) -> NotMeasured:
    """Return the error for readings that do not show when the sensor converts."""
    return NotMeasured(
        "invalid",
        f"the sensor converts every {samples.period_s or 0:.3g} s, but its readings do not show "
        f"when: phases in an iteration of {(view.cycle_s or 0):.3g} s are unknown",
        f"read it more often, {RANDOM_PAUSES}, or use a sensor that averages or counts",
    )


def slow_beat() -> NotMeasured:
    """Return the error for a slow drift, which a steady load does not show."""
    return NotMeasured(
        "invalid",
        "power drifts slowly: the load is not steady, or the sensor is nearly in step with it",
        RANDOM_PAUSES,
    )
