"""The window of a measurement: its iterations, and what its readings must be to carry a figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.energy.series import RailSeries
from reports.results.power import FloatArray, RailMap, Window

MIN_WINDOW_S = 10.0
MIN_INSTANTS = 100
MIN_CONVERSIONS = 10


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
