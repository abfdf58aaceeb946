"""Meters' files and programs as people have them: the right unit, or refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from field_data import folder_of, said

from harness.power.log import HEADER, make_trace, rail_map_of
from harness.power.meter import Meter, MeterError, read_meter
from targets.power_plans import plan_power


def meter_of(case: str, name: str) -> Meter:
    return read_meter(folder_of(case) / name)


def refused(tmp_path: Path, text: str) -> str:
    """Return why a file is refused."""
    path = tmp_path / "meter.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MeterError) as problem:
        read_meter(path)
    return str(problem.value)


def table(header: str, row: str, count: int = 30) -> str:
    """Return a file whose rows hold the time {t} in seconds and {ms}, and the figure {w}."""
    rows = [row.format(t=n / 2, ms=n * 500, w=3 + n % 5 / 10) for n in range(count)]
    return "\n".join([*([header] if header else []), *rows]) + "\n"


def test_m3_decimal_commas_between_commas_are_refused_with_the_line() -> None:
    with pytest.raises(MeterError, match="line 2: 4 fields where the first line has 2") as problem:
        meter_of("M3", "ambiguous.csv")
    assert "decimal commas" in str(problem.value)
    assert "LC_ALL=C" in str(problem.value)


def test_m3_decimal_commas_between_semicolons_are_refused_with_what_turns_them() -> None:
    with pytest.raises(MeterError, match="line 2: '0,0' has a decimal comma") as problem:
        meter_of("M3", "semicolon.csv")
    assert "`tr , . < FILE`" in str(problem.value)


def test_m3_what_the_remedy_makes_of_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(said("M3", "semicolon.csv").replace(",", "."))
    found = read_meter(path)
    assert found.times_s.tolist()[:3] == [0.0, 0.5, 1.0]
    assert found.watts.tolist()[:3] == [3.25, 4.35, 5.45]


def test_m3_a_program_that_prints_decimal_commas_gives_no_reading_and_is_quoted() -> None:
    rows = [f'{n}.0,command,"{line}"' for n, line in enumerate(said("M3", "command.txt").split())]
    rail_map = rail_map_of(plan_power("linux-arm", {}, "command", "meter"))
    made = make_trace(HEADER + "\n".join([*rows, ""]).encode(), rail_map)
    assert made.trace == HEADER
    assert made.notes == ("power, command: lines that are not readings, such as '3,25' (3 times)",)


def test_m4_nan_is_no_reading_and_is_counted() -> None:
    found = meter_of("M4", "meter.csv")
    assert found.times_s.size == 34
    assert np.isfinite(found.watts).all()
    assert found.watts.min() == 3.2
    assert found.note == "6 lines hold no reading, the first is line 5"


@pytest.mark.parametrize("name", ["power_mw.csv", "timestamp_ms.csv"])
def test_m5_the_unit_in_the_header_counts(name: str) -> None:
    found = meter_of("M5", name)
    assert found.interval_s == pytest.approx(0.5)
    assert found.watts.tolist()[:5] == pytest.approx([3.2, 3.25, 3.3, 3.35, 3.4])


def test_m5_volts_and_amperes_are_multiplied_and_never_taken_for_watts() -> None:
    found = meter_of("M5", "volt_amp.csv")
    assert found.watts.tolist()[:2] == pytest.approx([5.02 * 0.64, 5.01 * 0.65])


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("time_s,power_mw", "{t},{w}e3"),
        ("Time (ms);Power [W]", "{ms};{w}"),
        ("t_us\tp_uw", "{ms}e3\t{w}e6"),
        ("elapsed,kW", "{t},{w}e-3"),
        ("seconds,Watts", "{t},{w}"),
        ("Timestamp,U [V],I [mA]", "{t},1,{w}e3"),
        ("time,current_ma,voltage_mv,temp", "{t},{w}e3,1000,50"),
        ('"time","power (W)"', '"{t}","{w}"'),
        ("time,watts,", "{t},{w},"),
        ("# a remark of the meter\n\ntime,watts", "{t},{w}"),
    ],
)
def test_m5_a_name_is_a_quantity_a_unit_or_both(tmp_path: Path, header: str, row: str) -> None:
    path = tmp_path / "meter.csv"
    path.write_text(table(header, row), encoding="utf-8")
    found = read_meter(path)
    assert found.times_s.tolist() == pytest.approx([n / 2 for n in range(30)])
    assert found.watts.tolist() == pytest.approx([3 + n % 5 / 10 for n in range(30)])
    assert found.note == ""


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("time,voltage", "{t},5.1", "no column of its header is a power (found time, voltage)"),
        ("time,value", "{t},{w}", "no column of its header is a power (found time, value)"),
        ("time,current", "{t},{w}", "no column of its header is a power"),
        ("n,watts", "{t},{w}", "no column of its header is a time (found n, watts)"),
        ("time,power_va", "{t},{w}", "no column of its header is a power"),
        ("time,power_w,power_mw", "{t},{w},{w}", "several columns could be the power: power_w, "),
        ("time,voltage_in_v,current", "{t},5,{w}", "no column of its header is a power"),
        ("", "{t},{w},5.1", "a file without a header has two columns, and not 3"),
        ("", "{t};3,25", "its numbers have decimal commas"),
        ("time,watts", "{t},{w},9", "line 2: 3 fields where the first line has 2"),
        ("time,watts", "17{ms}00000000,{w}", "name the column time_ms"),
    ],
)
def test_m5_what_a_header_does_not_say_is_refused_with_what_was_found(
    tmp_path: Path, header: str, row: str, words: str
) -> None:
    message = refused(tmp_path, table(header, row))
    assert message.startswith(str(tmp_path / "meter.csv"))
    assert words in message


def test_m5_short_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    path.write_text(table("time,watts,volts", "{t},{w},5") + "99,3\n99.5,3.2\n\n")
    found = read_meter(path)
    assert found.times_s.size == 30
    assert found.note == "2 lines hold no reading, the first is line 32"


def test_m5_several_recordings_in_one_file_are_refused(tmp_path: Path) -> None:
    once = table("", "{t},{w}")
    message = refused(tmp_path, "time,watts\n" + once + once)
    assert "line 32: the time goes back by 14.5 s: several recordings in one file" in message
    path = tmp_path / "meter.csv"
    path.write_text("time,watts\n" + once + "13,3.5\n")
    assert read_meter(path).times_s.size == 30, "a line out of order is no other recording"


def test_m5_a_file_of_dates_without_a_clock_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, table("date,time,watts", "2026-11-22,19:00:{t},{w}"))
    assert "holds only 1 readings" in message
