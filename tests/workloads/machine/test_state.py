"""The machine's state, read from folders that look like boards."""

from __future__ import annotations

import os
from pathlib import Path

import fake_sysroot
import pytest
import telemetry_data

from workloads.machine import state

ZONE = "/sys/class/thermal/thermal_zone"
CPU = "/sys/devices/system/cpu/cpu"


def test_temperatures_are_celsius_by_the_zones_type(tmp_path: Path) -> None:
    files = {
        ZONE + "0/type": "CPU-therm",
        ZONE + "0/temp": "41500",
        ZONE + "1/type": "PMIC-Die",
        ZONE + "1/temp": "-256000",
        ZONE + "2/temp": "30000",
        ZONE + "3/type": "broken",
        ZONE + "3/temp": "N/A",
    }
    root = fake_sysroot.build(tmp_path, files)
    assert state.temperatures_c(root) == {
        "CPU-therm": 41.5,
        "PMIC-Die": None,
        "thermal_zone2": 30.0,
        "broken": None,
    }


def test_zones_of_one_type_do_not_hide_each_other(tmp_path: Path) -> None:
    files = {ZONE + f"{i}/type": "acpitz" for i in (0, 1)}
    files |= {ZONE + "0/temp": "20000", ZONE + "1/temp": "90000"}
    root = fake_sysroot.build(tmp_path, files)
    assert state.temperatures_c(root) == {"acpitz": 20.0, "acpitz-thermal_zone1": 90.0}


def test_a_gated_zone_that_answers_eagain_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fake_sysroot.build(tmp_path, {ZONE + "0/type": "gpu", ZONE + "0/temp": "1"})
    real = os.read

    def read(fd: int, size: int) -> bytes:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("temp"):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(fd, size)

    monkeypatch.setattr("os.read", read)
    assert state.temperatures_c(root) == {"gpu": None}


def test_clocks_are_in_the_order_of_the_processors_numbers(tmp_path: Path) -> None:
    files = {f"{CPU}{i}/cpufreq/scaling_cur_freq": str(1000 * (100 + i)) for i in range(12)}
    files[CPU + "3/cpufreq/scaling_cur_freq"] = "<unsupported>"
    root = fake_sysroot.build(tmp_path, files)
    clocks = state.cpu_mhz(root)
    assert clocks == [100.0, 101.0, 102.0, None, *(float(100 + i) for i in range(4, 12))]


def test_throttle_evidence_of_boards_is_collected(tmp_path: Path) -> None:
    files = {
        CPU + "0/thermal_throttle/core_throttle_count": "3",
        CPU + "0/thermal_throttle/package_throttle_count": "4",
        "/sys/class/hwmon/hwmon2/oc1_event_cnt": "7",
        "/sys/class/thermal/cooling_device0/type": "cpu-throttle-alert",
        "/sys/class/thermal/cooling_device0/cur_state": "1",
        "/sys/class/thermal/cooling_device1/type": "pwm-fan",
        "/sys/class/thermal/cooling_device1/cur_state": "9",
    }
    root = fake_sysroot.build(tmp_path, files)
    assert state.throttle_counters(root) == {
        "cpu0.core_throttle_count": 3.0,
        "cpu0.package_throttle_count": 4.0,
        "oc1_event_cnt": 7.0,
        "cpu-throttle-alert": 1.0,
    }


def test_the_recorded_orin_shows_its_state(tmp_path: Path) -> None:
    manifest = telemetry_data.manifest("sysfs-ina3221-orin-nano-throttle.tsv")
    root = fake_sysroot.build(tmp_path, manifest)
    counted = {
        name.rpartition("/")[2]
        for name, content in manifest.items()
        if name.endswith("_event_cnt") and not content.startswith("!")
    }
    assert set(state.throttle_counters(root)) >= counted


def test_a_root_with_signs_of_a_pattern_in_its_name_is_taken_literally(tmp_path: Path) -> None:
    root = tmp_path / "board[1]*"
    fake_sysroot.build(root, {ZONE + "0/type": "cpu", ZONE + "0/temp": "1000"})
    assert state.temperatures_c(str(root)) == {"cpu": 1.0}


def test_a_machine_that_offers_nothing_gives_nothing_and_never_zero(tmp_path: Path) -> None:
    found = state.machine_state(str(tmp_path))
    assert found["temperatures_c"] == {}
    assert found["cpu_mhz"] == []
    assert found["governor"] is None
    assert found["throttle"] == {}
    assert found["t_s"] > 0


def test_this_machine_can_be_read() -> None:
    found = state.machine_state("/")
    assert found["mem_available_bytes"] > 2**20
    assert found["load_1m"] >= 0


def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert state.read_text(str(tmp_path / "pipe")) in ("", None)
    assert state.read_number(str(tmp_path / "pipe")) is None
