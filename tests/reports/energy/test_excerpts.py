"""An excerpt of a trace gives the figures of the trace."""

from __future__ import annotations

import numpy as np
import pytest

from reports.energy.excerpts import VICINITY_S, Excerpt, LongTrace, interval_s
from reports.energy.series import NotMeasured, rail_series
from reports.results.power import Channel, Rail, RailMap, Trace, Window

RAIL = Rail(name="IN", kind="power", channels=(Channel(id="c0", unit="mW"),))
WINDOWS: tuple[Window, ...] = ((4000.0, 4010.0), (100.0, 111.0), (7000.0, 7011.0))


def rail_map(rail: Rail = RAIL) -> RailMap:
    return RailMap(source="test", scope="board", rule="", rails=(rail,), total=("IN",))


def long_trace(interval: float) -> Trace:
    """Two hours of readings with jitter, as a sampler logs them that has fallen behind."""
    rng = np.random.default_rng(1)
    times_s = np.cumsum(rng.uniform(0.5, 1.5, int(7200 / interval)) * interval)
    shuffled = rng.permutation(times_s.size)
    return {"c0": (times_s[shuffled], rng.normal(5000, 100, times_s.size))}


def vicinity(trace: Trace) -> Trace:
    """All readings within VICINITY_S of a window, window after window."""
    times_s, raw = trace["c0"]
    order = np.argsort(times_s)
    parts = [
        order[(times_s[order] >= begin - VICINITY_S) & (times_s[order] < end + VICINITY_S)]
        for begin, end in WINDOWS
    ]
    kept = np.concatenate(parts)
    return {"c0": (times_s[kept], raw[kept])}


@pytest.mark.parametrize("interval", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("update", [None, 0.1, 35.0])
def test_a_rail_has_the_readings_that_its_vicinity_gives(
    interval: float, update: float | None
) -> None:
    rail = Rail(name="IN", kind="power", channels=RAIL.channels, update_interval_s=update)
    trace = long_trace(interval)
    excerpt = LongTrace(trace, rail_map(rail)).around(WINDOWS)
    assert interval_s(excerpt, "c0") == interval_s(vicinity(trace), "c0")
    for window in WINDOWS:
        ours, theirs = (rail_series(one, rail, window) for one in (excerpt, vicinity(trace)))
        assert ours.times_s.tolist() == theirs.times_s.tolist()
        assert ours.values.tolist() == theirs.values.tolist()
    assert len(excerpt["c0"][0]) < len(trace["c0"][0]) / 3


def test_a_channel_that_was_hardly_read_is_not_measured() -> None:
    for times_s in ([], [4005.0]):
        trace = {"c0": (np.array(times_s), np.array(times_s))}
        excerpt: Excerpt = LongTrace(trace, rail_map()).around(WINDOWS)
        assert list(excerpt) == ["c0"]
        with pytest.raises(NotMeasured, match="no readings"):
            rail_series(excerpt, RAIL, WINDOWS[0])
