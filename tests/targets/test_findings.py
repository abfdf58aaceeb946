from __future__ import annotations

from typing import Any

import pytest
from telemetry_data import manifest

from targets.findings import Finding, findings
from targets.platforms import power_plan


def healthy(**changes: Any) -> dict[str, Any]:
    probe: dict[str, Any] = {
        "python": "3.10.12",
        "executable": "/usr/bin/python3",
        "torch": {"version": "2.4.0", "threads": 6, "cuda": {"device": "Orin"}},
        "torch_error": None,
        "cpu": {"logical": 6, "governor": "performance"},
        "memory": {"available_bytes": 6 * 2**30, "swap_total_bytes": 0},
        "files": manifest("sysfs-ina3221-orin-nano-idle.tsv"),
        "programs": {"cc": "/usr/bin/cc", "nvpmodel": None},
        "clock": {"monotonic_s": 1.0, "wall_s": 1000.0},
        "state": {"load_1m": 0.2, "throttle": {}},
    }
    return probe | changes


def found(probe: dict[str, Any], platform_id: str = "jetson-orin-nano") -> tuple[Finding, ...]:
    return findings(platform_id, probe, power_plan(platform_id, probe))


def test_a_healthy_board_has_no_findings() -> None:
    assert found(healthy()) == ()


@pytest.mark.parametrize(
    ("changes", "severity", "what", "remedy"),
    [
        ({"python": "3.5.2"}, "error", "Python 3.5.2 is too old", "python:"),
        (
            {"torch": None, "torch_error": "ImportError: libcudnn.so.8"},
            "error",
            "torch cannot be imported",
            "/usr/bin/python3 -m pip install torch",
        ),
        ({"torch": {"version": "1.9", "cuda": {"device": "x"}}}, "error", "torch 1.9", "--upgrade"),
        (
            {"torch": {"version": "2.14.0+cpu", "cuda": None}},
            "warning",
            "torch 2.14.0+cpu sees no CUDA",
            "NVIDIA's wheel",
        ),
        (
            {"cpu": {"logical": 6, "governor": "schedutil"}},
            "warning",
            "governor is schedutil",
            "sudo jetson_clocks",
        ),
        (
            {"memory": {"available_bytes": 300 * 2**20}},
            "warning",
            "only 300 MiB",
            "multi-user.target",
        ),
        ({"memory": {"available_bytes": 100 * 2**20}}, "error", "only 100 MiB", "multi-user"),
        ({"memory": {"swap_total_bytes": 2**30}}, "note", "swap is on", "swapoff"),
        ({"state": {"load_1m": 3.0}}, "warning", "busy: load 3.00 on 6 cores", "top"),
        ({"state": {"throttle": {"cpu0.core_throttle_count": 4}}}, "note", "is 4", "cooling"),
        (
            {"torch": {"version": "1.10.2", "cuda": None, "mkldnn": False}},
            "note",
            "torch 1.10.2 has no oneDNN",
            "newer torch",
        ),
        ({"workdir": {"path": "/w", "noexec": True}}, "note", "/w is mounted noexec", "workdir:"),
        (
            {"torch": None, "torch_error": "static TLS", "torch_remedy": "LD_PRELOAD: libgomp"},
            "error",
            "torch cannot be imported",
            "LD_PRELOAD: libgomp",
        ),
        ({"programs": {"cc": None}}, "note", "no C compiler", "build-essential"),
        ({"programs": {"cc": "x", "nvpmodel": "y"}}, "note", "power mode", "nvpmodel -q"),
    ],
)
def test_a_fault_is_told_with_its_remedy(
    changes: dict[str, Any], severity: str, what: str, remedy: str
) -> None:
    matching = [finding for finding in found(healthy(**changes)) if what in finding.what]
    assert len(matching) == 1
    assert matching[0].severity == severity
    assert remedy in matching[0].remedy
    assert matching[0].why


def test_a_clock_that_is_off_is_told_and_a_small_difference_is_not() -> None:
    (finding,) = findings("jetson-orin-nano", healthy(), None, clock_off_s=-600.0)
    assert finding.what == "the machine's clock is -600 s off"
    assert "set-ntp" in finding.remedy
    assert findings("jetson-orin-nano", healthy(), None, clock_off_s=4.0) == ()


def test_unreadable_power_names_the_command_as_root() -> None:
    files = {
        path: "!EACCES" if path.endswith("_input") else content
        for path, content in manifest("sysfs-ina3221x-nano-iio-COMPOSED.tsv").items()
    }
    first = next(
        finding
        for finding in found(healthy(files=files), "jetson-nano")
        if finding.what == "energy cannot be measured"
    )
    assert first.severity == "warning"
    assert first.why == "POM_5V_IN cannot be read (EACCES)"
    assert first.remedy.startswith("sudo chmod a+r /sys/bus/i2c/drivers/ina3221x/")


def test_a_machine_without_a_sensor_is_told_so() -> None:
    told = found(healthy(files={}), "raspberry-pi-3")
    assert [finding.why for finding in told] == ["no power sensor: a Raspberry Pi 3 has none"]


def test_marks_of_throttling_and_heat_are_told() -> None:
    files = manifest("sysfs-ina3221-orin-nano-throttle.tsv")
    files["/sys/class/hwmon/hwmon1/curr1_crit_alarm"] = "1"
    files["/sys/class/thermal/thermal_zone8/temp"] = "91500"
    told = {finding.what: finding.severity for finding in found(healthy(files=files))}
    assert told == {
        "tj-thermal is at 91.5 °C before anything has run": "warning",
        "hwmon1/curr1_crit_alarm is 1": "warning",
        "oc1_event_cnt is 1": "note",
        "oc3_event_cnt is 2": "note",
    }


def test_a_hat_with_the_default_shunt_is_doubted() -> None:
    folder = "/sys/class/hwmon/hwmon2/"
    files = {
        folder + "name": "ina219",
        folder + "power1_input": "1000000",
        folder + "shunt_resistor": "10000",
    }
    (finding,) = found(healthy(files=files), "raspberry-pi-4")
    assert "ina219" in finding.what
    assert folder + "shunt_resistor" in finding.remedy


def test_the_load_and_zram_of_the_files_are_read() -> None:
    files = manifest("sysfs-ina3221-orin-nano-idle.tsv")
    files["/proc/loadavg"] = "4.50 2.00 1.00 3/400 1234"
    files["/proc/swaps"] = "Filename Type Size\n/dev/zram0 partition 1000000 0 5"
    whats = [finding.what for finding in found(healthy(files=files))]
    assert whats == [
        "the machine is busy: load 4.50 on 6 cores",
        "memory is compressed (zram)",
    ]


def test_the_worst_comes_first() -> None:
    probe = healthy(python="3.4.0", programs={"cc": None}, cpu={"governor": "powersave"})
    assert [finding.severity for finding in found(probe)] == ["error", "warning", "note"]


@pytest.mark.parametrize("value", [None, "text", 7, [], {}, True])
def test_a_probe_of_the_wrong_kind_raises_nothing(value: Any) -> None:
    for key in healthy():
        if key != "files":
            findings("jetson-nano", healthy(**{key: value}), None)
    findings("linux-x86", {"files": value}, None)
