from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

import pytest
from telemetry_data import FOLDER, manifest, text

from targets.platforms import PLATFORMS, detect, power_plan, total_of
from targets.platforms.base import Board
from targets.sensors.rails import PowerPlan

SCOPES = {"board input", "module input", "module sum", "package", "card", "pmic sum"}
PLAN_KEYS = {
    *("source", "scope", "rule", "total", "rails", "channels", "interval_s", "missing"),
    *("sensors", "secondary"),
}
RAIL_KEYS = {
    *("name", "kind", "channels", "conversion", "update_interval_s"),
    *("resolution", "tolerance", "wrap_j"),
}

ORIN = "sysfs-ina3221-agx-orin-hwmon.tsv"
ORIN_RAILS = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
THOR_RAILS = ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")

# manifest -> platform, total, scope, source, words of the reason where there is no total
PLANS: dict[str, tuple[str, tuple[str, ...], str | None, str | None, str]] = {
    ORIN: ("jetson-agx-orin", ORIN_RAILS, "module sum", "hwmon-ina3221", ""),
    "sysfs-ina3221-agx-orin-unreadable-channel.tsv": (
        *("jetson-agx-orin", (), None, "hwmon-ina3221+hwmon-ina226"),
        "VIN_SYS_5V0 cannot be read (ENODATA)",
    ),
    "sysfs-ina3221-orin-nano-idle.tsv": (
        *("jetson-orin-nano", ("VDD_IN",), "module input", "hwmon-ina3221", ""),
    ),
    "sysfs-ina3221-orin-nano-throttle.tsv": (
        *("jetson-orin-nano", ("VDD_IN",), "module input", "hwmon-ina3221", ""),
    ),
    "sysfs-ina3221-thor-r38.4.tsv": (
        *("jetson-agx-thor", THOR_RAILS, "module sum", "hwmon-ina3221", ""),
    ),
    "sysfs-ina3221x-nano-iio-COMPOSED.tsv": (
        *("jetson-nano", ("POM_5V_IN",), "module input", "iio-ina3221x", ""),
    ),
    "sysfs-ina3221x-tx2-iio-voltages.tsv": (
        *("jetson-tx2", (), None, None, "VDD_IN cannot be read"),
    ),
    "rapl-amd-zen.tsv": ("linux-x86", ("package-0",), "package", "powercap", ""),
    "rapl-intel-desktop-two-zones.tsv": (
        *("linux-x86", ("package-0",), "package", "powercap", ""),
    ),
    "rapl-intel-laptop-psys.tsv": ("linux-x86", (), None, None, "package-0 cannot be read"),
    "rapl-haswell-4770s-dram.tsv": ("linux-x86", (), None, "powercap", "no rule says"),
    "rapl-surface-i5-1035g4.tsv": ("linux-x86", (), None, None, "package-0 cannot be read"),
}


def plan_of(name: str) -> PowerPlan:
    return power_plan(PLANS[name][0], {"files": manifest(name)})


def total_mw(name: str) -> int:
    """Work the total out from the plan and the manifest alone, as the energy code does."""
    plan, files = plan_of(name), manifest(name)
    channels = {channel.id: channel for channel in plan.channels}
    scale = {"mV": 1e-3, "mA": 1e-3, "mW": 1e-3, "uW": 1e-6}
    power_w = 0.0
    for rail in plan.rails:
        if rail.name in plan.total:
            product = 1.0
            for channel in (channels[name] for name in rail.channels):
                product *= float(files[channel.path]) * scale[channel.unit]
            power_w += product
    return round(power_w * 1000)


def test_every_recorded_manifest_has_its_expected_plan_here() -> None:
    assert {path.name for path in FOLDER.glob("*.tsv")} == set(PLANS)


@pytest.mark.parametrize("name", PLANS)
def test_a_recorded_manifest_gives_its_plan_or_the_reason(name: str) -> None:
    _, total, scope, source, reason = PLANS[name]
    plan = plan_of(name)
    assert (plan.total, plan.scope, plan.source) == (total, scope, source)
    power = [missing for missing in plan.missing if missing.what == "power"]
    assert bool(power) == bool(reason)
    if reason:
        assert reason in power[0].reason
        assert power[0].remedy


def test_the_totals_are_those_of_the_recordings() -> None:
    assert total_mw(ORIN) == 8711
    assert total_mw("sysfs-ina3221-orin-nano-idle.tsv") == 4785
    assert total_mw("sysfs-ina3221-orin-nano-throttle.tsv") == 9250
    assert total_mw("sysfs-ina3221-thor-r38.4.tsv") == 28117
    assert total_mw("sysfs-ina3221x-nano-iio-COMPOSED.tsv") == 2793


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_exactly_the_power_json_of_the_contract(name: str) -> None:
    plan = plan_of(name)
    written: dict[str, Any] = json.loads(json.dumps(asdict(plan), allow_nan=False))
    assert set(written) == PLAN_KEYS
    ids = [channel["id"] for channel in written["channels"]]
    assert len(set(ids)) == len(ids)
    assert all(set(channel) == {"id", "path", "unit"} for channel in written["channels"])
    assert all(set(missing) == {"what", "reason", "remedy"} for missing in written["missing"])
    names = [rail["name"] for rail in written["rails"]]
    assert len(set(names)) == len(names)
    assert set(written["total"]) <= set(names)
    for rail in written["rails"]:
        assert set(rail) == RAIL_KEYS
        assert set(rail["channels"]) <= set(ids)
        assert len(rail["resolution"]) == len(rail["channels"])
        assert all(step > 0 for step in rail["resolution"])
    assert [used for rail in written["rails"] for used in rail["channels"]] == ids


def test_thor_prefers_the_input_of_the_carrier_and_falls_back_when_it_fails() -> None:
    files = manifest("sysfs-ina3221-thor-r38.4.tsv")
    files["/sys/class/hwmon/hwmon6/name"] = "ina238"
    files["/sys/class/hwmon/hwmon6/power1_input"] = "31000000"
    plan = power_plan("jetson-agx-thor", {"files": files})
    assert (plan.total, plan.scope, plan.source) == (("VIN",), "board input", "hwmon-ina238")
    files["/sys/class/hwmon/hwmon6/power1_input"] = "!EACCES"
    plan = power_plan("jetson-agx-thor", {"files": files})
    assert (plan.total, plan.scope) == (THOR_RAILS, "module sum")
    assert [missing.what for missing in plan.missing] == ["VIN"]


def test_files_for_root_only_name_the_command_that_opens_them() -> None:
    files = {
        path: "!EACCES" if path.endswith("_input") else content
        for path, content in manifest("sysfs-ina3221x-nano-iio-COMPOSED.tsv").items()
    }
    plan = power_plan("jetson-nano", {"files": files})
    assert plan.total == ()
    assert plan.channels == ()
    assert plan.missing[0].reason == "POM_5V_IN cannot be read (EACCES)"
    assert plan.missing[0].remedy == (
        "sudo chmod a+r /sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_*_input"
    )
    zones = {
        path: "!EACCES" if path.endswith("energy_uj") else content
        for path, content in manifest("rapl-amd-zen.tsv").items()
    }
    plan = power_plan("linux-x86", {"files": zones})
    assert plan.missing[0].remedy.startswith("sudo chmod a+r /sys/class/powercap/intel-rapl*/")


def test_memory_that_does_not_answer_is_left_out_of_the_total_and_told() -> None:
    files = manifest("rapl-amd-zen.tsv")
    files["/sys/class/powercap/intel-rapl:0:1/name"] = "dram"
    files["/sys/class/powercap/intel-rapl:0:1/energy_uj"] = "!ENODATA"
    plan = power_plan("linux-x86", {"files": files})
    assert plan.total == ("package-0",)
    assert [missing.what for missing in plan.missing] == ["dram"]


@pytest.mark.parametrize("platform_id", PLATFORMS)
def test_a_machine_without_sensor_files_says_so(platform_id: str) -> None:
    for files in (None, {}, {"/proc/loadavg": "0.1 0.1 0.1 1/2 3"}, "?", {"/a/name": 7, 1: "x"}):
        plan = power_plan(platform_id, {"files": files})
        assert (plan.source, plan.scope, plan.total, plan.rails) == (None, None, (), ())
        assert len(plan.missing) == 1
        assert plan.missing[0].reason.startswith("no power sensor")
        assert plan.missing[0].remedy


@pytest.mark.parametrize("platform_id", ["raspberry-pi-4", "linux-arm"])
def test_a_hat_with_one_monitor_is_the_input_of_a_board_without_sensors(platform_id: str) -> None:
    files = {"/sys/class/hwmon/hwmon2/name": "ina219"}
    files["/sys/class/hwmon/hwmon2/power1_input"] = "3500000"
    plan = power_plan(platform_id, {"files": files})
    assert (plan.total, plan.scope, plan.source) == (("ina219",), "board input", "hwmon-ina219")
    assert "only INA monitor" in plan.rule
    files |= {path.replace("hwmon2", "hwmon3"): content for path, content in files.items()}
    assert power_plan(platform_id, {"files": files}).total == ()


def test_every_platform_is_whole_and_a_rail_is_never_counted_with_what_it_feeds() -> None:
    inputs = {"VDD_IN", "POM_5V_IN", "VIN"}
    for platform_id, platform in PLATFORMS.items():
        assert platform.id == platform_id
        assert platform.evidence
        assert platform.no_sensor
        for total in platform.totals:
            assert total.scope in SCOPES
            assert total.rule
            assert len(total.rails) == 1 or not inputs & set(total.rails)


def test_an_unknown_platform_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="jetson-nano"):
        power_plan("jetson", {})
    with pytest.raises(ValueError, match="unknown platform"):
        total_of("", ())


@pytest.mark.parametrize(
    ("model", "compatible", "machine", "expected"),
    [
        ("NVIDIA Jetson Nano Developer Kit", ["nvidia,p3450-0000"], "aarch64", "jetson-nano"),
        (None, ["nvidia,p3449-0000-b00+p3448-0002-b00"], "aarch64", "jetson-nano"),
        ("NVIDIA Jetson TX1 Developer Kit", ["nvidia,tegra210"], "aarch64", "jetson-tx1"),
        (None, ["nvidia,p2371-2180", "nvidia,tegra210"], "aarch64", "jetson-tx1"),
        ("quill", ["nvidia,quill", "nvidia,tegra186"], "aarch64", "jetson-tx2"),
        (None, ["nvidia,p3509-0000+p3636-0001", "nvidia,tegra186"], "aarch64", "jetson-tx2"),
        (None, ["nvidia,p3509-0000+p3668-0001", "nvidia,tegra194"], "aarch64", "jetson-xavier-nx"),
        ("NVIDIA Jetson Xavier NX Developer Kit", [], "aarch64", "jetson-xavier-nx"),
        ("Jetson-AGX", ["nvidia,jetson-xavier", "nvidia,tegra194"], "aarch64", "jetson-agx-xavier"),
        (None, ["nvidia,p2972-0000", "nvidia,tegra194"], "aarch64", "jetson-agx-xavier"),
        (
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
            ["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"],
            "aarch64",
            "jetson-orin-nano",
        ),
        (None, ["nvidia,p3768-0000+p3767-0000", "nvidia,tegra234"], "aarch64", "jetson-orin-nx"),
        ("NVIDIA Jetson Orin NX Developer Kit", [], "aarch64", "jetson-orin-nx"),
        ("Jetson AGX Orin", ["nvidia,p3737-0000+p3701-0000"], "aarch64", "jetson-agx-orin"),
        ("NVIDIA Jetson AGX Thor Developer Kit", ["nvidia,tegra264"], "aarch64", "jetson-agx-thor"),
        (None, ["nvidia,jetson-tk1", "nvidia,tegra124"], "armv7l", "jetson-tk1"),
        ("Raspberry Pi 5 Model B Rev 1.0", ["raspberrypi,5-model-b"], "aarch64", "raspberry-pi-5"),
        (None, ["raspberrypi,500", "brcm,bcm2712"], "aarch64", "raspberry-pi-5"),
        ("Raspberry Pi 4 Model B Rev 1.4", ["brcm,bcm2711"], "armv7l", "raspberry-pi-4"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", [], "aarch64", "raspberry-pi-3"),
        ("Dell Inc. XPS 13", None, "x86_64", "linux-x86"),
        (None, None, "i686", "linux-x86"),
        ("Radxa ROCK 5B", ["radxa,rock-5b", "rockchip,rk3588"], "aarch64", "linux-arm"),
        # A simulated board: a Jetson's device tree below a sysroot on an x86 machine.
        ("NVIDIA Jetson Nano Developer Kit", [], "x86_64", "jetson-nano"),
    ],
)
def test_a_machine_is_recognised(
    model: str | None, compatible: list[str] | None, machine: str, expected: str
) -> None:
    assert detect({"model": model, "compatible": compatible, "machine": machine}) == expected


def test_a_probe_that_tells_nothing_is_still_some_machine() -> None:
    assert detect({}) == "linux-arm"


@pytest.mark.parametrize(
    ("name", "platform_id", "shunt_ohm"),
    [
        ("sensors-orin-nano-l4t35.txt", "jetson-orin-nano", 0.005),
        ("sensors-orin-nx-aaeon-l4t36.txt", "jetson-orin-nx", 0.005),
        ("sensors-agx-orin-devkit-l4t35.txt", "jetson-agx-orin", 0.002),
    ],
)
def test_the_shunts_of_the_table_are_those_of_the_recorded_boards(
    name: str, platform_id: str, shunt_ohm: float
) -> None:
    # `sensors` prints in4..in6, shunt voltages in microvolt, as if they were millivolt.
    shown = re.findall(r"^(in[456]|curr[123]): +([0-9.]+) (m?)[VA]", text(name), re.MULTILINE)
    values = [(key, float(value) / (1000 if milli else 1)) for key, value, milli in shown]
    drops_v = [value / 1000 for key, value in values if key.startswith("in") and value]
    currents_a = [value for key, value in values if key.startswith("curr") and value]
    assert len(drops_v) == len(currents_a) >= 3
    for drop_v, current_a in zip(drops_v, currents_a, strict=True):
        assert drop_v / current_a == pytest.approx(shunt_ohm, rel=0.005)
    board = PLATFORMS[platform_id]
    assert isinstance(board, Board)
    assert board.shunt_ohm == shunt_ohm
