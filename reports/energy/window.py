"""The window of a measurement, its iterations, and how long it must be for a valid figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.energy.series import RailSeries
from reports.results.power import FloatArray, RailMap, Window

MIN_WINDOW_S = 10.0
MIN_INSTANTS = 100  # samples of a sensor that converts an instant
MIN_CONVERSIONS = 10  # of a sensor that averages without a gap


@dataclass(frozen=True, kw_only=True)
class View:
    """The window and the timed samples in it, in order; each sample holds ``loops`` iterations."""

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
        """Return the time inside iterations; without marks, the whole window."""
        return float(np.sum(self.ends_s - self.starts_s)) if self.starts_s.size else self.duration_s

    @property
    def pause_s(self) -> float:
        """Return the time outside iterations, the edges of the window included."""
        return max(0.0, self.duration_s - self.busy_s)

    @property
    def iterations(self) -> int:
        """Return the number of iterations."""
        return int(self.starts_s.size) * self.loops

    @property
    def cycle_s(self) -> float | None:
        """Return the mean time from one iteration to the next; None without marks."""
        if not self.iterations:
            return None
        return float(self.ends_s[-1] - self.starts_s[0]) / self.iterations

    def phases(self, times_s: FloatArray) -> FloatArray:
        """Return the phase in [0, 1) of each instant; all of them must lie in an iteration."""
        index = np.clip(np.searchsorted(self.starts_s, times_s, "right") - 1, 0, None)
        share = (times_s - self.starts_s[index]) / (self.ends_s - self.starts_s)[index]
        return (share * self.loops) % 1.0

    def inside(self, times_s: FloatArray) -> NDArray[np.bool_]:
        """Return whether each instant lies in an iteration."""
        index = np.searchsorted(self.starts_s, times_s, "right") - 1
        inside = (index >= 0) & (times_s < self.ends_s[np.clip(index, 0, None)])
        return np.asarray(inside, dtype=np.bool_)


def averages_without_gap(series: RailSeries) -> bool:
    """Return whether the sensor averages and (nearly) all of its conversions are read."""
    interval_s = series.rail.update_interval_s
    if series.rail.conversion != "average" or interval_s is None:
        return False
    return interval_s >= series.interval_s / 2


def recommended_window_s(rail_map: RailMap) -> float:
    """Return a window in which every rail of the total gives a figure, before anything is read.

    100 samples of a sensor that converts an instant are enough, but every other time they leave
    some phases of the iteration without a sample: this allows for twice as many.
    """
    window_s = MIN_WINDOW_S
    for name in rail_map.total:
        rail = rail_map.rail(name)
        if rail is None or rail.kind == "energy":
            continue
        interval_s, update_s = rail_map.interval_s or 0.0, rail.update_interval_s or 0.0
        if rail.conversion == "average" and update_s >= interval_s / 2:
            window_s = max(window_s, 12 * update_s)
        else:
            window_s = max(window_s, 200 * max(interval_s, update_s))
    return window_s


def required_window_s(series: RailSeries) -> float:
    """Return the shortest window for this rail: 10 conversions, 100 instants or 3 counter reads."""
    if series.rail.kind == "energy":
        return 3 * series.interval_s
    if averages_without_gap(series):
        return MIN_CONVERSIONS * (series.rail.update_interval_s or 0.0)
    return MIN_INSTANTS * max(series.interval_s, series.rail.update_interval_s or 0.0)
