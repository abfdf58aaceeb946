"""The power profile of one iteration: readings of many iterations, sorted by their phase. Pure.

For drawing only; energies come from ``reports.energy.energy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.energy.by_round import WindowEnergy, marks_of
from reports.energy.conversions import conversions
from reports.energy.estimators import MAX_SLIP
from reports.energy.series import NotMeasured, rail_series
from reports.energy.window import View
from reports.results.power import FloatArray, Rail, RailMap, Trace

MAX_BINS = 40
MIN_PER_BIN = 5
MAX_BLUR = 0.1  # of the iteration: the longest time that one reading may average over


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Mean power in equal parts of an iteration (None: no reading), and its median time."""

    power_w: tuple[float | None, ...]
    iteration_s: float
    readings: int


def profile(trace: Trace, rail_map: RailMap, windows: Sequence[WindowEnergy]) -> Profile:
    """Return the total power over one iteration, from all windows of one case and phase.

    Raises:
        NotMeasured: a rail was not read, or the sensor does not resolve the iteration.
    """
    rails = [rail for name in rail_map.total if (rail := rail_map.rail(name))]
    if not rails or len(rails) < len(rail_map.total):
        raise NotMeasured("missing", "a rail of the total was not read")
    points = [_points(trace, rail, windows) for rail in rails]
    fewest = min(phases.size for phases, _ in points)
    bins = min(MAX_BINS, fewest // MIN_PER_BIN)
    if bins < 4:
        raise NotMeasured("invalid", f"only {fewest} readings in the windows")
    power_w = np.sum([_binned(phases, values, bins) for phases, values in points], axis=0)
    times_s = [time_s for window in windows for time_s in window.timing.times_s]
    return Profile(
        power_w=tuple(None if np.isnan(value) else float(value) for value in power_w),
        iteration_s=float(np.median(times_s)),
        readings=fewest,
    )


def _points(
    trace: Trace, rail: Rail, windows: Sequence[WindowEnergy]
) -> tuple[FloatArray, FloatArray]:
    """Return (phase, power_w) of one rail's readings inside iterations."""
    phases, values = [np.empty(0)], [np.empty(0)]
    for window in windows:
        marks = marks_of(window.timing, window.window_s)
        view = View(
            window_s=window.window_s,
            starts_s=marks[:, 0],
            ends_s=marks[:, 1],
            loops=window.timing.loops,
        )
        times_s, power_w = _resolved(trace, rail, view)
        inside = view.inside(times_s)
        phases.append(view.phases(times_s[inside]))
        values.append(power_w[inside])
    return np.concatenate(phases), np.concatenate(values)


def _resolved(trace: Trace, rail: Rail, view: View) -> tuple[FloatArray, FloatArray]:
    """Return (t_s, power_w) of readings that each average over a short part of an iteration."""
    series = rail_series(trace, rail, view.window_s)
    iteration_s = view.busy_s / view.iterations if view.iterations else 0.0
    blur_s, slip_s = 0.0, 0.0
    if rail.kind == "energy":
        times_s = (series.times_s[1:] + series.times_s[:-1]) / 2
        power_w = np.diff(series.values) / np.diff(series.times_s)
        blur_s = max(series.interval_s, rail.update_interval_s or 0.0)
    else:
        samples = conversions(series)
        if rail.conversion == "average":
            blur_s = rail.update_interval_s or 0.0
        times_s, power_w, slip_s = samples.times_s - blur_s / 2, samples.values, samples.slip_s
    if blur_s > MAX_BLUR * iteration_s:
        reason = f"each reading of {rail.name} is a mean over {blur_s:.3g} s"
        raise NotMeasured("invalid", f"{reason}, but one iteration takes {iteration_s:.3g} s")
    if slip_s > MAX_SLIP * iteration_s:
        raise NotMeasured("invalid", f"the readings do not show when {rail.name} converts")
    return times_s, power_w


def _binned(phases: FloatArray, values: FloatArray, bins: int) -> FloatArray:
    """Return the mean in each bin; NaN in bins without a reading."""
    index = np.minimum((phases * bins).astype(np.int64), bins - 1)
    counts = np.bincount(index, minlength=bins)
    sums = np.bincount(index, weights=values, minlength=bins)
    means: FloatArray = np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)
    return means
