"""An external meter's file: read after the run, and aligned with the blocks by the load it shows.

The meter has a clock of its own. Busy windows draw more than the pauses between them, so the lag
at which the meter's power follows the blocks best is the offset of the two clocks. Where no lag
stands out there is no alignment and no energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.power.meter_columns import NEEDED, FormatError
from harness.power.meter_rows import read_rows

FloatArray = NDArray[np.float64]
Window = tuple[float, float]

MAX_BYTES = 512 << 20
MAX_READINGS = 20_000_000
MIN_READINGS = 20
MIN_CORRELATION = 0.7
MAX_RIVAL = 0.9  # of the best correlation: what another lag may reach
FINEST_GRID = 200_000


class MeterError(Exception):
    """A meter's file that gives no power for this run; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Meter:
    """A meter's readings on the meter's own clock, in order of time."""

    times_s: FloatArray
    watts: FloatArray
    note: str = ""  # what of the file is no reading

    @property
    def interval_s(self) -> float:
        """Return the median time between two readings."""
        return float(np.median(np.diff(self.times_s)))


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What to add to the meter's times to get the board's, and how well that fits."""

    offset_s: float
    correlation: float


def read_meter(path: Path) -> Meter:
    """Read a CSV file with the columns time and watts.

    Columns go by their names, with units (see ``meter_columns``); a file without a header has
    these two. Times are seconds or ISO 8601; commas, semicolons and tabs separate.

    Raises:
        MeterError: it cannot be read or understood, or holds too few readings.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MeterError(f"{path} is larger than {MAX_BYTES >> 20} MiB")
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = read_rows(file, MAX_READINGS)
    except OSError as error:
        raise MeterError(f"{path} cannot be read: {error.strerror}") from None
    except FormatError as problem:
        raise MeterError(f"{path}: {problem}") from None
    lines = "line holds" if rows.skipped == 1 else "lines hold"
    left_out = f"{rows.skipped} {lines} no reading, the first is line {rows.first_skipped}"
    note = left_out if rows.skipped else ""
    table = np.array(rows.readings, dtype=np.float64).reshape(-1, 2)
    times_s, first = np.unique(table[:, 0], return_index=True)
    if times_s.size < MIN_READINGS:
        why = f" ({note})" if note else ""
        raise MeterError(f"{path} holds only {times_s.size} readings{why} — {NEEDED}")
    return Meter(times_s=times_s, watts=table[first, 1], note=note)


def align(meter: Meter, busy: Sequence[Window]) -> Alignment:
    """Find the offset between the meter's clock and the board's.

    Args:
        meter: The meter's readings.
        busy: The measured windows on the board's clock.

    Raises:
        MeterError: no windows, a file that is too short, or a load that does not stand out.
    """
    if not busy:
        raise MeterError("no window was measured, so the meter's file cannot be aligned")
    begin, end = min(window[0] for window in busy), max(window[1] for window in busy)
    recorded_s = float(meter.times_s[-1] - meter.times_s[0])
    if recorded_s < end - begin:
        raise MeterError(
            f"the meter's file covers {recorded_s:.0f} s and the blocks took {end - begin:.0f} s — "
            "start the meter before the run and stop it afterwards"
        )
    coarse_s = max(meter.interval_s, (recorded_s + 2 * (end - begin)) / FINEST_GRID)
    lag_s, best = _best_lag(meter, busy, coarse_s)
    if not best >= MIN_CORRELATION:
        raise MeterError(
            f"the meter's power does not follow the blocks (correlation {best:.2f}, "
            f"{MIN_CORRELATION} needed) — does it measure another machine, or was it not running?"
        )
    fine = [lag_s + step * coarse_s / 20 for step in range(-30, 31)]
    scores = [(_correlation(meter, busy, lag), lag) for lag in fine]
    correlation, offset_s = max(scores)
    return Alignment(offset_s=offset_s, correlation=correlation)


def trace_rows(meter: Meter, alignment: Alignment, channel: str) -> bytes:
    """Return the readings as rows of a power trace, on the board's clock."""
    times_s = meter.times_s + alignment.offset_s
    return b"".join(
        f"{t_s:.6f},{channel},{watts:.6g}\n".encode()
        for t_s, watts in zip(times_s, meter.watts, strict=True)
    )


def _best_lag(meter: Meter, busy: Sequence[Window], step_s: float) -> tuple[float, float]:
    """Return the lag with the highest correlation on a grid, and that correlation.

    The products at all lags come from one Fourier transform, the norms from running sums.

    Raises:
        MeterError: another lag fits nearly as well.
    """
    begin, end = min(window[0] for window in busy), max(window[1] for window in busy)
    watts = np.interp(
        np.arange(meter.times_s[0], meter.times_s[-1], step_s), meter.times_s, meter.watts
    )
    load = _share_busy(np.arange(begin - step_s, end + 2 * step_s, step_s), step_s, busy)
    load = load - load.mean()
    lags = watts.size - load.size + 1
    if lags < 1 or not load.any():
        raise MeterError("the meter reads too rarely to show blocks as short as these")
    size = 1 << (watts.size + load.size).bit_length()
    centred = watts - watts.mean()
    products = np.fft.irfft(np.fft.rfft(centred, size) * np.conj(np.fft.rfft(load, size)), size)
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    squares = np.concatenate([[0.0], np.cumsum(centred**2)])
    ends = slice(load.size, load.size + lags)  # where the readings under the load end, by lag
    total = sums[ends] - sums[:lags]
    spread = np.sqrt(np.maximum(squares[ends] - squares[:lags] - total**2 / load.size, 0.0))
    norm = spread * float(np.linalg.norm(load))
    floor = 1e-9 * max(1.0, float(np.abs(centred).max()))
    scores = np.where(norm > floor, products[:lags] / np.maximum(norm, floor), -1.0)
    best = int(np.argmax(scores))
    near_s = max(2 * step_s, min(window[1] - window[0] for window in busy) / 2)
    away = np.abs(np.arange(lags) - best) * step_s > near_s
    rival = float(scores[away].max()) if away.any() else -1.0
    if scores[best] >= MIN_CORRELATION and rival > MAX_RIVAL * scores[best]:
        raise MeterError(
            f"the meter's power fits the blocks equally well at two places (correlations "
            f"{scores[best]:.2f} and {rival:.2f}) — measure more rounds, or trim the file "
            "to the run"
        )
    return float(begin - step_s - (meter.times_s[0] + best * step_s)), float(scores[best])


def _correlation(meter: Meter, busy: Sequence[Window], offset_s: float) -> float:
    """Return how well the readings follow the windows at one offset."""
    times_s = meter.times_s + offset_s
    begin, end = min(window[0] for window in busy), max(window[1] for window in busy)
    inside = (times_s >= begin - meter.interval_s) & (times_s <= end + meter.interval_s)
    load = _share_busy(times_s[inside], meter.interval_s, busy)
    watts = meter.watts[inside]
    if watts.size < 3 or not np.std(load) or not np.std(watts):
        return -1.0
    return float(np.corrcoef(load, watts)[0, 1])


def _share_busy(ends_s: FloatArray, step_s: float, busy: Sequence[Window]) -> FloatArray:
    """Return which share of the interval before each instant lies in a window."""
    ordered = np.array(sorted(busy), dtype=np.float64)
    edges = ordered.reshape(-1)
    totals = np.concatenate([[0.0], np.cumsum(ordered[:, 1] - ordered[:, 0])])
    knots = np.repeat(totals, 2)[1:-1]

    def busy_until(t_s: FloatArray) -> FloatArray:
        return np.asarray(np.interp(t_s, edges, knots), dtype=np.float64)

    return (busy_until(ends_s) - busy_until(ends_s - step_s)) / step_s
