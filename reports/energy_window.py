"""The window of a measurement: its iterations, and what its readings must be to carry a figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.conversions import Conversions
from reports.power_trace import FloatArray, NotMeasured, RailMap, RailSeries, Window

MIN_WINDOW_S = 10.0
MIN_INSTANTS = 100
MIN_CONVERSIONS = 10
MAX_PHASE_GAP = 0.05
RANDOM_PAUSES = "insert random pauses of up to one iteration between iterations"


@dataclass(frozen=True, kw_only=True)
class View:
    """The window and its iterations: starts and ends, each of ``loops`` iterations, in order."""

    window_s: Window
    starts_s: FloatArray
    ends_s: FloatArray
    loops: int

    @property
    def duration_s(self) -> float:
        """Return the length of the window."""
        return self.window_s[1] - self.window_s[0]

    @property
    def busy_s(self) -> float:
        """Return the time inside iterations; the whole window where none are marked."""
        return float(np.sum(self.ends_s - self.starts_s)) if self.starts_s.size else self.duration_s

    @property
    def pause_s(self) -> float:
        """Return the time between marked iterations, edges of the window included."""
        return max(0.0, self.duration_s - self.busy_s)

    @property
    def iterations(self) -> int:
        """Return how many iterations ran."""
        return int(self.starts_s.size) * self.loops

    @property
    def cycle_s(self) -> float | None:
        """Return the mean time from one iteration to the next."""
        if not self.iterations:
            return None
        return float(self.ends_s[-1] - self.starts_s[0]) / self.iterations

    def phases(self, times_s: FloatArray) -> FloatArray:
        """Return the phase in [0, 1) of each instant that lies in an iteration; drop the others."""
        index = np.clip(np.searchsorted(self.starts_s, times_s, "right") - 1, 0, None)
        place = (times_s - self.starts_s[index]) / (self.ends_s - self.starts_s)[index]
        return (place * self.loops) % 1.0

    def inside(self, times_s: FloatArray) -> NDArray[np.bool_]:
        """Return for each instant whether it lies in an iteration."""
        index = np.searchsorted(self.starts_s, times_s, "right") - 1
        inside = (index >= 0) & (times_s < self.ends_s[np.clip(index, 0, None)])
        return np.asarray(inside, dtype=np.bool_)


def averages_without_pause(series: RailSeries) -> bool:
    """Return whether the reads see (nearly) all conversions of a sensor that averages."""
    interval_s = series.rail.update_interval_s
    if series.rail.conversion != "average" or interval_s is None:
        return False
    return interval_s >= series.interval_s / 2


def recommended_window_s(rail_map: RailMap) -> float:
    """Return the window that lets every rail of the total give a figure, before anything is read.

    A sensor that converts in an instant needs 100 samples, but so few leave an empty phase gap
    as often as not: twice as many are asked for.
    """
    needs_s = [MIN_WINDOW_S]
    for name in rail_map.total:
        rail = rail_map.rail(name)
        if rail is not None and rail.kind != "energy":
            interval_s, update_s = rail_map.interval_s or 0.0, rail.update_interval_s or 0.0
            contiguous = rail.conversion == "average" and update_s >= interval_s / 2
            needs_s.append(12 * update_s if contiguous else 200 * max(interval_s, update_s))
    return max(needs_s)


def required_window_s(series: RailSeries) -> float:
    """Return how long a window must be for this rail: ten conversions, or a hundred instants."""
    if series.rail.kind == "energy":
        return 3 * series.interval_s
    if averages_without_pause(series):
        return MIN_CONVERSIONS * (series.rail.update_interval_s or 0.0)
    return MIN_INSTANTS * max(series.interval_s, series.rail.update_interval_s or 0.0)


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
