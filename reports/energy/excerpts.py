"""Excerpts of a long trace: the readings around a window, and how often they were taken.

A run has thousands of windows, and its trace a hundred thousand readings. How far around a window
readings count depends on the time between two of them, which is the median over VICINITY_S on
either side: a slow meter needs that much. An excerpt works this out once for each channel, and
only for windows whose energy is estimated at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from reports.results.power import FloatArray, RailMap, Trace, Window

VICINITY_S = 300.0
MARGIN_INTERVALS = 3  # around a window
Readings = tuple[FloatArray, FloatArray]  # (t_s, raw)


class LongTrace:
    """A trace of which many excerpts are made, each of a few windows."""

    def __init__(self, trace: Trace, rail_map: RailMap) -> None:
        """Bring the readings of each channel into the order of time."""
        updates_s = [rail.update_interval_s or 0.0 for rail in rail_map.rails]
        self._slowest_s = max(updates_s, default=0.0)
        self._channels = {name: _Channel(*readings) for name, readings in trace.items()}

    def around(self, windows: Sequence[Window]) -> Excerpt:
        """Return what lies around a few windows, the margin of each included."""
        return Excerpt(self._channels, windows, self._slowest_s)


class Excerpt(Mapping[str, Readings]):
    """The readings around some windows, as a trace; each channel is cut when it is asked for."""

    def __init__(
        self, channels: Mapping[str, _Channel], windows: Sequence[Window], slowest_s: float
    ) -> None:
        """Take the channels whole; ``slowest_s`` is the longest update interval of a sensor."""
        self._channels, self._windows, self._slowest_s = channels, windows, slowest_s
        self._readings: dict[str, Readings] = {}
        self._intervals_s: dict[str, float] = {}

    def interval_s(self, name: str) -> float:
        """Return the median time between two reads of a channel in the vicinity."""
        if name not in self._intervals_s:
            self._intervals_s[name] = self._channels[name].interval_s(self._windows)
        return self._intervals_s[name]

    def __getitem__(self, name: str) -> Readings:
        """Return a channel's readings around the windows; they may overlap and then repeat."""
        if name not in self._readings:
            longest_s = max(end_s - begin_s for begin_s, end_s in self._windows)
            reach_s = longest_s + margin_s(self.interval_s(name), self._slowest_s)
            cut = self._channels[name].readings(self._windows, min(reach_s, VICINITY_S))
            self._readings[name] = cut
        return self._readings[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the channels."""
        return iter(self._channels)

    def __len__(self) -> int:
        """Return the number of channels."""
        return len(self._channels)


def interval_s(trace: Trace, channel_id: str) -> float:
    """Return the median time between two reads of a channel; 0 if it was read only once."""
    if isinstance(trace, Excerpt):
        return trace.interval_s(channel_id)
    times_s = trace[channel_id][0]
    return float(np.median(np.abs(np.diff(times_s)))) if times_s.size > 1 else 0.0


def margin_s(between_reads_s: float, update_interval_s: float | None) -> float:
    """Return how far around a window readings of a sensor count."""
    return MARGIN_INTERVALS * max(between_reads_s, update_interval_s or 0.0)


class _Channel:
    """One channel's readings in the order of time."""

    def __init__(self, times_s: FloatArray, raw: FloatArray) -> None:
        order = np.argsort(times_s, kind="stable")
        self._times_s, self._raw = times_s[order], raw[order]
        self._gaps_s = np.diff(self._times_s)

    def readings(self, windows: Sequence[Window], reach_s: float) -> Readings:
        parts = [slice(*bounds) for bounds in self._bounds(windows, reach_s)]
        return (
            np.concatenate([self._times_s[part] for part in parts]),
            np.concatenate([self._raw[part] for part in parts]),
        )

    def interval_s(self, windows: Sequence[Window]) -> float:
        """Return the median time between two reads in the windows' vicinity, taken one by one."""
        pieces = []
        last_s = None
        for first, end in self._bounds(windows, VICINITY_S):
            if first == end:
                continue
            if last_s is not None:
                pieces.append(np.abs([self._times_s[first] - last_s]))
            pieces.append(self._gaps_s[first : end - 1])
            last_s = self._times_s[end - 1]
        gaps_s = np.concatenate(pieces) if pieces else np.empty(0)
        return float(np.median(gaps_s, overwrite_input=True)) if gaps_s.size else 0.0

    def _bounds(self, windows: Sequence[Window], reach_s: float) -> list[tuple[int, int]]:
        ends_s = np.array(windows) + np.array([-reach_s, reach_s])
        return [(first, end) for first, end in np.searchsorted(self._times_s, ends_s).tolist()]
