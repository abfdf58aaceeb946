"""From the board's raw log to the trace: recorded lines in, readings of the rail map out."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
from telemetry_data import lines, manifest, text

from harness.power.log import (
    HEADER,
    busy_windows,
    converts_in_an_instant,
    job_power,
    make_trace,
    rail_map_of,
)
from reports.energy.series import total_power
from reports.results.power import RailMap, Trace
from reports.results.records import BlockRecord, PhaseTiming
from targets.platforms import total_of
from targets.power_plans import plan_power
from targets.tegrastats import parse_line, total_power_mw
from workloads.spec.layers import LAYERS
from workloads.spec.messages import Case


def log_of(*rows: tuple[float, str, str]) -> bytes:
    """Return the log as the board writes it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows((f"{t_s:.6f}", name, raw) for t_s, name, raw in rows)
    return HEADER + out.getvalue().encode()


def tegrastats_map(platform: str, said: str, **more: Any) -> RailMap:
    probe = {
        "programs": {"tegrastats": "/usr/bin/tegrastats"},
        "outputs": {"tegrastats": said},
        **more,
    }
    return rail_map_of(plan_power(platform, probe))


def parsed(trace: bytes) -> Trace:
    rows = [line.split(",") for line in trace.decode().splitlines()[1:]]
    return {
        name: (
            np.array([float(t_s) for t_s, other, _ in rows if other == name]),
            np.array([float(raw) for _, other, raw in rows if other == name]),
        )
        for name in {name for _, name, _ in rows}
    }


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ("jetson-nano", "tegrastats-nano-l4t32x-root.log"),
        ("jetson-tx2", "tegrastats-tx2-l4t32x-nonroot.log"),
        ("jetson-xavier-nx", "tegrastats-xavier-nx-l4t35-nonroot.log"),
        ("jetson-agx-orin", "tegrastats-agx-orin64-l4t36-root.log"),
    ],
)
def test_a_recorded_log_gives_the_total_of_every_line(platform: str, name: str) -> None:
    recorded = [line.decode("utf-8", "replace") for line in lines(name)]
    rail_map = tegrastats_map(platform, "\n".join(recorded[:3]) + "\n")
    log = log_of(*((number / 10, "tegrastats", line) for number, line in enumerate(recorded)))
    made = make_trace(log, rail_map)
    expected = [
        total_power_mw(sample, platform)[0]
        for line in recorded
        if (sample := parse_line(line + "\n")) and total_of(platform, sample.rails_mw)
    ]
    drawn = total_power(parsed(made.trace), rail_map)
    assert drawn is not None
    found_mw = np.round(drawn[1] * 1000)
    assert len(found_mw) >= len(recorded) - 2
    assert list(found_mw) == [mw for mw in expected if mw is not None]
    assert made.raw == log


def test_the_lines_of_the_pmic_become_volts_and_amperes() -> None:
    reply = text("vcgencmd-pi5-pmic-read-adc-idle.txt")
    probe = {
        "programs": {"vcgencmd": "/usr/bin/vcgencmd"},
        "outputs": {"vcgencmd pmic_read_adc": reply},
    }
    rail_map = rail_map_of(plan_power("raspberry-pi-5", probe))
    rows = [(t_s, "vcgencmd", line) for t_s in (1.0, 1.2, 1.4) for line in reply.splitlines()]
    made = make_trace(log_of(*rows), rail_map)
    drawn = total_power(parsed(made.trace), rail_map)
    assert drawn is not None
    assert drawn[1] == pytest.approx([1.9] * 3, abs=0.01)  # INDEX.md: idle, 1.90 W
    assert made.notes == ()


def test_a_program_may_print_watts_in_any_number_format_and_nothing_else() -> None:
    rail_map = rail_map_of(plan_power("linux-arm", {}, "command", "meter"))
    said = ["4.25", " 5 W", "6.0w", "7e0", "-0.5", "nan", "power: 3", "", "1,5", "12.5 W 3"]
    made = make_trace(
        log_of(*((float(number), "command", raw) for number, raw in enumerate(said))), rail_map
    )
    times, watts = parsed(made.trace)["c0"]
    assert list(watts) == [4.25, 5.0, 6.0, 7.0, -0.5]
    assert list(times) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert made.notes == ("power, command: lines that are not readings, such as 'nan' (4 times)",)


def test_numbers_of_files_pass_and_there_is_no_second_log() -> None:
    probe = {"files": manifest("sysfs-ina3221x-nano-iio-COMPOSED.tsv")}
    rail_map = rail_map_of(plan_power("jetson-nano", probe))
    made = make_trace(log_of((1.0, "c0", "2793"), (1.1, "c0", "2800")), rail_map)
    assert made.trace == HEADER + b"1.000000,c0,2793\n1.100000,c0,2800\n"
    assert made.raw is None


def test_what_went_wrong_on_the_board_is_told_once_with_its_count() -> None:
    rail_map = rail_map_of(plan_power("linux-arm", {}, "command", "meter"))
    rows = [(float(second), "c0", "!EACCES") for second in range(500)]
    made = make_trace(log_of(*rows, (1.0, "command", "!meter ended by itself")), rail_map)
    assert made.trace == HEADER
    assert made.notes == (
        "power, c0: EACCES (500 times)",
        "power, command: meter ended by itself",
    )


@pytest.mark.parametrize(
    "damage",
    [
        b"1.5,command,7",  # cut
        b'1.5,command,"7\n',  # a quotation that was never closed
        b"x,command,7\n",
        b"nan,command,7\n",
        b"1.5,command\n",
        b"1.5,command,7,8\n",
        b"\xff\xfe,\x00,\x00\n",
        b"1.5,nobody,7\n",
        b'1.5,command,"' + b"9" * 200000 + b'"\n',
    ],
)
def test_a_damaged_row_is_left_out_and_the_next_one_counts(damage: bytes) -> None:
    rail_map = rail_map_of(plan_power("linux-arm", {}, "command", "meter"))
    log = log_of((1.0, "command", "3")) + damage
    if damage.endswith(b"\n"):
        log += b"2.000000,command,4\n"
    watts = parsed(make_trace(log, rail_map).trace)["c0"][1]
    assert list(watts) == ([3.0, 4.0] if damage.endswith(b"\n") else [3.0])


def test_the_job_gets_each_sensor_with_its_own_channels() -> None:
    card = {"index": 0, "name": "card", "energy": 5}
    probe = {"files": manifest("rapl-amd-zen.tsv"), "nvml": {"cards": [card]}}
    rail_map = rail_map_of(plan_power("linux-x86", probe))
    files, nvml = job_power(rail_map)["sensors"]
    assert (files["kind"], nvml["kind"]) == ("files", "nvml")
    assert [channel["path"] for channel in nvml["channels"]] == ["nvml:0:energy"]
    assert all(channel["path"].startswith("/sys/") for channel in files["channels"])
    assert not converts_in_an_instant(rail_map)


def test_without_a_sensor_or_with_a_file_only_the_board_samples_nothing() -> None:
    assert job_power(None) == {}
    assert job_power(rail_map_of(plan_power("jetson-tk1", {}))) == {}
    assert job_power(rail_map_of(plan_power("jetson-tk1", {}, "csv", "meter.csv"))) == {}


def test_busy_windows_are_those_of_the_timed_phases() -> None:
    case = Case(LAYERS["quick-128ch-28x28"], "exact", None, "torch", "cpu", "float32", 1)
    timings: tuple[dict[str, PhaseTiming], ...] = (
        {"step": PhaseTiming(window_s=(5.0, 6.0)), "forward": PhaseTiming(window_s=(1.0, 2.0))},
        {},
        {"step": PhaseTiming(window_s=None)},
    )
    blocks = [
        BlockRecord(order=order, round=0, kind="timing", case=case, status="ok", timing=timing)
        for order, timing in enumerate(timings)
    ]
    assert busy_windows(blocks) == ((1.0, 2.0), (5.0, 6.0))
