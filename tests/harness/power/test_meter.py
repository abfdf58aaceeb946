"""An external meter's file: read, aligned by the load it sees, refused where that is not clear."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.power import meter as meters
from harness.power.log import align_meter, rail_map_of
from harness.power.meter import Meter, MeterError, align, read_meter, trace_rows

FloatArray = NDArray[np.float64]
OFFSET_S = 1_700_000_000.0 - 5_000.0  # the meter's clock is the wall's, the board's began at boot


def busy_windows(
    seed: int, *, count: int = 12, window_s: float = 10.0
) -> tuple[tuple[float, float], ...]:
    """Return windows with pauses of random length, as blocks leave them."""
    rng = np.random.default_rng(seed)
    windows, now_s = [], 5_000.0
    for _ in range(count):
        now_s += float(rng.uniform(0.4, 6.0))
        windows.append((now_s, now_s + window_s * float(rng.uniform(1.0, 1.1))))
        now_s = windows[-1][1]
    return tuple(windows)


def seen(
    windows: tuple[tuple[float, float], ...],
    *,
    interval_s: float = 1.0,
    busy_w: float = 7.0,
    noise_w: float = 0.2,
    lead_s: float = 60.0,
    seed: int = 1,
) -> Meter:
    """Return what a meter that averages over its interval records of 3 W idle and some load."""
    rng = np.random.default_rng(seed)
    begin, end = windows[0][0] - lead_s, windows[-1][1] + lead_s
    times = np.arange(begin, end, interval_s) + float(rng.uniform(0, interval_s))
    fine = times[:, None] - interval_s * (np.arange(50) + 0.5) / 50
    busy = np.zeros(fine.shape, dtype=bool)
    for first, last in windows:
        busy |= (fine >= first) & (fine <= last)
    watts = 3.0 + (busy_w - 3.0) * busy.mean(axis=1) + rng.normal(0, noise_w, times.size)
    return Meter(times_s=times + OFFSET_S, watts=watts)


@pytest.mark.parametrize("interval_s", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_offset_of_the_clocks_is_found(interval_s: float, seed: int) -> None:
    windows = busy_windows(seed)
    found = align(seen(windows, interval_s=interval_s, seed=seed), windows)
    assert found.offset_s == pytest.approx(-OFFSET_S, abs=0.2 * interval_s + 0.02)
    assert found.correlation > 0.9


def test_another_machines_meter_is_refused() -> None:
    rng = np.random.default_rng(3)
    times = np.arange(0.0, 600.0, 1.0)
    with pytest.raises(MeterError, match="does not follow the blocks"):
        align(Meter(times_s=times, watts=rng.normal(5, 1, times.size)), busy_windows(3))


def test_a_load_that_the_noise_hides_is_refused() -> None:
    windows = busy_windows(4)
    with pytest.raises(MeterError, match="does not follow the blocks"):
        align(seen(windows, busy_w=3.2, noise_w=1.0), windows)


def test_a_pattern_that_fits_in_two_places_is_refused() -> None:
    one = ((5_000.0, 5_010.0),)
    twice = (*one, (5_030.0, 5_040.0))
    with pytest.raises(MeterError, match="at two places"):
        align(seen(twice, noise_w=0.01), one)


def test_a_file_that_ends_too_early_is_refused() -> None:
    windows = busy_windows(5)
    whole = seen(windows)
    half = Meter(times_s=whole.times_s[:60], watts=whole.watts[:60])
    with pytest.raises(MeterError, match="start the meter before the run"):
        align(half, windows)
    with pytest.raises(MeterError, match="no window was measured"):
        align(whole, ())


def test_a_meter_that_shows_a_constant_is_refused() -> None:
    times = np.arange(0.0, 600.0, 1.0)
    with pytest.raises(MeterError):
        align(Meter(times_s=times, watts=np.full(times.size, 5.0)), busy_windows(6))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("time,watts", "{t},{w}"),
        ("", "{t},{w}"),
        ("Time (s);Watts;Volts", "{t};{w};230"),
        ("Volts\tPower\tTimestamp", "230\t{w}\t{t}"),
        ("\ufefftimestamp,voltage,power_w", "{t},5.1,{w}"),
    ],
)
def test_columns_go_by_their_names(tmp_path: Path, header: str, row: str) -> None:
    path = tmp_path / "meter.csv"
    rows = [row.format(t=second / 2, w=5 + second % 3) for second in range(30)]
    path.write_text("\n".join([*([header] if header else []), *rows, "", "garbage"]))
    found = read_meter(path)
    assert found.times_s.tolist() == [second / 2 for second in range(30)]
    assert found.watts.tolist() == [5 + second % 3 for second in range(30)]
    assert found.interval_s == 0.5


def test_times_may_be_dates(tmp_path: Path) -> None:
    start = datetime(2026, 11, 22, 19, 0, tzinfo=timezone.utc)
    path = tmp_path / "meter.csv"
    rows = [f"{(start + timedelta(seconds=s)).isoformat()},{5.5}" for s in range(25)]
    path.write_text("datetime,watts\n" + "\n".join(rows).replace("+00:00", "Z"))
    assert read_meter(path).times_s[0] == start.timestamp()


@pytest.mark.parametrize("content", [b"", b"time,watts\n1,2\n", b"\xff\x00" * 500, b"a\n" * 500])
def test_a_file_without_readings_says_what_it_needs(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "meter.csv"
    path.write_bytes(content)
    with pytest.raises(MeterError, match="columns time"):
        read_meter(path)
    with pytest.raises(MeterError, match="cannot be read"):
        read_meter(tmp_path / "absent.csv")


def test_a_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "meter.csv"
    path.write_text("time,watts\n")
    monkeypatch.setattr(meters, "MAX_BYTES", 5)
    with pytest.raises(MeterError, match="larger than"):
        read_meter(path)


def test_the_trace_is_on_the_boards_clock_with_the_meters_own_interval(tmp_path: Path) -> None:
    from targets.power_plans import plan_power

    windows = busy_windows(7)
    whole = seen(windows, interval_s=0.5)
    path = tmp_path / "meter.csv"
    pairs = zip(whole.times_s, whole.watts, strict=True)
    path.write_text(
        "time,watts\n" + "\n".join(f"{t!r},{w!r}" for t, w in np.array(list(pairs)).tolist())
    )
    rail_map = rail_map_of(plan_power("linux-arm", {}, "csv", str(path)))
    measured = align_meter(rail_map, path, windows)
    assert measured.interval_s == pytest.approx(0.5)
    first = float(measured.trace.decode().splitlines()[1].split(",")[0])
    assert first == pytest.approx(whole.times_s[0] - OFFSET_S, abs=0.15)
    assert "correlation" in measured.note
    assert trace_rows(whole, align(whole, windows), "c0") == measured.trace.partition(b"\n")[2]
