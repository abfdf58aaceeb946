"""Monitors, counters and rails as people's boards show them: never a wrong figure in silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from field_data import folder_of, said, sysroot

from harness.board.probed import read_probe
from harness.commands.list import sensor_rows
from harness.power.log import HEADER, make_trace, rail_map_of
from reports.energy.energy import Energy, measure_energy
from reports.results.power import Trace
from targets.findings import findings
from targets.inventory import Power, Target
from targets.platforms import detect
from targets.power_plans import plan_power
from targets.sensors.rails import PowerPlan, files_of, power_now_w
from targets.sensors.throttle import throttle_evidence
from targets.tegrastats import parse_line, total_power_mw

ROOT = Path(__file__).resolve().parents[2]
H2_DEVICES = {
    "/sys/class/hwmon/hwmon2/device": "1-0040",
    "/sys/class/hwmon/hwmon3/device": "1-0045",
}
WINDOW_S = (100.0, 112.0)


def watts_of(plan: PowerPlan, files: Mapping[str, str]) -> dict[str, float | None]:
    """Return what each rail showed at the probe."""
    return {rail.name: power_now_w(plan, rail, files) for rail in plan.rails}


def energy_of(plan: PowerPlan, readings: Mapping[str, Sequence[float]]) -> Energy:
    """Return the energy of a window in which each channel reads these numbers again and again."""
    times_s = np.arange(99.0, 113.0, 0.05)
    trace: Trace = {
        name: (times_s, np.resize(np.array(values), times_s.size))
        for name, values in readings.items()
    }
    return measure_energy(trace, rail_map_of(plan), WINDOW_S)


def on_monitor(plan: PowerPlan, millivolts: float, milliamperes: Sequence[float]) -> Energy:
    """Return the energy of a plan's one volt-ampere rail."""
    volts, amperes = (channel.id for channel in plan.channels)
    return energy_of(plan, {volts: [millivolts], amperes: milliamperes})


def test_h1_a_battery_that_charges_is_no_consumption_of_the_board() -> None:
    files = sysroot("H1")
    plan = plan_power("raspberry-pi-4", {"files": files})
    assert watts_of(plan, files) == {"ina219": pytest.approx(-0.6336)}
    told = findings("raspberry-pi-4", {"files": files}, plan)
    (finding,) = [one for one in told if "shows no consumption" in one.what]
    assert finding.what == "ina219 shows no consumption: -0.634 W"
    assert "power: {rail: NAME}" in finding.remedy
    charging = on_monitor(plan, 4224, [-150])
    assert (charging.status, charging.per_iteration_j) == ("invalid", None)
    assert "ina219 shows no consumption: -0.634 W" in str(charging.reason)
    assert "battery" in str(charging.remedy)
    at_rest = on_monitor(plan, 4140, [0])
    assert (at_rest.status, at_rest.gross_j) == ("invalid", None)
    assert "no consumption" in str(at_rest.reason)


def test_h1_readings_on_battery_are_usable_and_a_change_of_supply_in_a_window_is_not() -> None:
    plan = plan_power("raspberry-pi-4", {"files": sysroot("H1")})
    on_battery = on_monitor(plan, 4100, [1000, 1005])
    assert on_battery.status == "ok"
    assert on_battery.mean_power_w is not None
    assert on_battery.mean_power_w.value == pytest.approx(4.1 * 1.0025, rel=0.01)
    mixed = on_monitor(plan, 4100, [870] * 9 + [-150])
    assert mixed.status == "invalid"
    assert "shows no consumption in 24 of 240 readings, down to -0.615 W" in str(mixed.reason)


def test_h1_a_meter_below_zero_gives_no_energy_either() -> None:
    plan = plan_power("linux-arm", {}, "command", "meter")
    rows = "".join(f"{99 + count * 0.05:.2f},command,-0.63\n" for count in range(280))
    rail_map = rail_map_of(plan)
    made = make_trace(HEADER + rows.encode(), rail_map)
    values = [float(row.rpartition(",")[2]) for row in made.trace.decode().splitlines()[1:]]
    energy = energy_of(plan, {"c0": values})
    assert energy.status == "invalid"
    assert "command shows no consumption: -0.63 W" in str(energy.reason)


def test_h2_two_monitors_in_series_are_never_added_and_their_names_tell_them_apart() -> None:
    files = sysroot("H2") | H2_DEVICES
    probe = {"files": files}
    plan = plan_power("raspberry-pi-4", probe)
    assert plan.total == ()
    assert watts_of(plan, files) == {
        "ina219@0x40": pytest.approx(5.853, abs=0.001),
        "ina219@0x45": pytest.approx(-8.220, abs=0.001),
    }
    (power,) = [item for item in plan.missing if item.what == "power"]
    assert "ina219@0x40, ina219@0x45" in power.reason
    assert "power: {rail: NAME}" in power.remedy
    without = plan_power("raspberry-pi-4", {"files": sysroot("H2")})
    assert [rail.name for rail in without.rails] == ["ina219 (hwmon2)", "ina219 (hwmon3)"]


def test_h2_the_inventory_names_the_monitor_at_the_supply(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sysroot("H2") | H2_DEVICES
    probe = {"files": files}
    plan = plan_power("raspberry-pi-4", probe, "rail", "ina219@0x40")
    assert (plan.total, plan.scope, plan.missing) == (("ina219@0x40",), "chosen rail", ())
    assert plan.source == "hwmon-ina219"
    energy = energy_of(plan, {"c0": [4956], "c1": [1181, 1190], "c2": [4164], "c3": [-1974]})
    assert energy.status == "ok"
    assert energy.mean_power_w is not None
    assert energy.mean_power_w.value == pytest.approx(4.956 * 1.1855, rel=0.01)
    target = Target(name="pi", power=Power(kind="rail", argument="ina219@0x40"))
    document = {"compatible": ["raspberrypi,4-model-b"], "torch": {"version": "2.1"}, **probe}
    monkeypatch.setattr(
        "harness.commands.list.probed", lambda target, *_: read_probe(target, document)
    )
    rows = sensor_rows([target], None)
    assert [(row["rail"], row["in total"], row["now"]) for row in rows] == [
        ("ina219@0x40", "yes", "5.853 W"),
        ("ina219@0x45", "no", "-8.220 W"),
    ]


@pytest.mark.parametrize(
    ("content", "reason", "remedy"),
    [
        ("1181", "no rail is called ina219@0x41: this machine shows ina219@0x40", "list sensors"),
        ("!EACCES", "ina219@0x40 cannot be read (EACCES)", "sudo chmod a+r"),
    ],
)
def test_h2_a_rail_that_is_not_there_or_closed_is_missing_power(
    content: str, reason: str, remedy: str
) -> None:
    files = sysroot("H2") | H2_DEVICES | {"/sys/class/hwmon/hwmon2/curr1_input": content}
    wanted = "ina219@0x40" if content.startswith("!") else "ina219@0x41"
    plan = plan_power("raspberry-pi-4", {"files": files}, "rail", wanted)
    assert plan.total == ()
    (power,) = [item for item in plan.missing if item.what == "power"]
    assert reason in power.reason
    assert remedy in power.remedy


@pytest.mark.parametrize("case", ["H3", "H3b"])
def test_h3_the_monitor_that_the_hwmon_device_labels_vin_is_the_boards_input(case: str) -> None:
    files = sysroot(case)
    plan = plan_power("jetson-agx-thor", {"files": files})
    assert (plan.total, plan.scope) == (("VIN",), "board input")
    assert watts_of(plan, files) == {
        "VDD_GPU": pytest.approx(7.7056),
        "VDD_CPU_SOC_MSS": pytest.approx(11.5584),
        "VIN_SYS_5V0": pytest.approx(8.85312),
        "VIN": pytest.approx(23.4),
    }


def test_h3_a_drives_monitor_never_becomes_the_boards_input() -> None:
    files = sysroot("H3") | {"/sys/class/hwmon/hwmon6/label": "NVME"}
    plan = plan_power("jetson-agx-thor", {"files": files})
    assert plan.scope == "module sum"
    assert "NVME" not in plan.total
    unlabelled = sysroot("H3")
    del unlabelled["/sys/class/hwmon/hwmon6/label"]
    for name, content in {"name": "ina238", "in1_input": "12000", "curr1_input": "300"}.items():
        unlabelled[f"/sys/class/hwmon/hwmon7/{name}"] = content
    plan = plan_power("jetson-agx-thor", {"files": unlabelled})
    assert plan.scope == "module sum", "which of the two unlabelled ones is VIN nobody knows"
    labelled = sysroot("H3") | {
        path: content for path, content in unlabelled.items() if "hwmon7" in path
    }
    plan = plan_power("jetson-agx-thor", {"files": labelled})
    assert (plan.total, plan.scope) == (("VIN",), "board input")
    assert "ina238" in [rail.name for rail in plan.rails]


def test_h4_two_unlabelled_monitors_each_read_right_and_are_no_total() -> None:
    files = sysroot("H4") | {
        "/sys/class/hwmon/hwmon30/device": "57-0040",
        "/sys/class/hwmon/hwmon31/device": "58-0041",
    }
    plan = plan_power("linux-arm", {"files": files})
    assert plan.total == ()
    assert watts_of(plan, files) == {
        "ina238@0x40": pytest.approx(19.596, abs=0.001),
        "ina238@0x41": pytest.approx(19.596, abs=0.001),
    }
    one_address = files | {"/sys/class/hwmon/hwmon31/device": "58-0040"}
    names = [rail.name for rail in plan_power("linux-arm", {"files": one_address}).rails]
    assert names == ["ina238@0x40 (57-0040)", "ina238@0x40 (58-0040)"]


def test_h5_volts_alone_are_no_power_and_unknown_throttling_is_said() -> None:
    files = sysroot("H5")
    probe = {"files": files, "programs": {"vcgencmd": None}, "outputs": {}}
    plan = plan_power("raspberry-pi-4", probe)
    assert (plan.total, plan.rails) == ((), ())
    assert throttle_evidence(files) == {"hwmon1/in0_lcrit_alarm": 1}
    told = {one.what: one for one in findings("raspberry-pi-4", probe, plan)}
    assert told["hwmon1/in0_lcrit_alarm is 1"].severity == "warning"
    unknown = told["whether the board throttles is unknown"]
    assert "vcgencmd is not installed" in unknown.why
    assert "raspi-utils" in unknown.remedy


def test_n1_a_jetson_whose_nvml_supports_nothing_is_read_by_its_rails(tmp_path: Path) -> None:
    library = tmp_path / "libnvidia-ml.so.1"
    source = folder_of("N1") / "nv.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "FAKE_NVML": "1"}
    program = "import json; from workloads.machine import nvml; print(json.dumps(nvml.facts()))"
    shown = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    nvml = json.loads(shown.stdout)
    assert [card["name"] for card in nvml["cards"]] == ["Orin (nvgpu)"]
    assert "not supported" in nvml["cards"][0]["power"]
    rails = {"/sys/class/hwmon/hwmon1/name": "ina3221", **_channel("VDD_IN", "5000", "900")}
    cuda = {"torch": {"version": "2.4", "cuda": {"device": "Orin"}}, "nvml": nvml}
    plan = plan_power("jetson-orin-nano", {"files": rails, **cuda})
    assert (plan.total, plan.source, plan.missing) == (("VDD_IN",), "hwmon-ina3221", ())
    named = {"package": dict(nvml, kind="pynvml"), **cuda}
    for platform_id in ("jetson-orin-nano", "linux-x86"):
        alone = plan_power(platform_id, named, "pynvml")
        assert (alone.total, alone.rails, alone.channels) == ((), (), ())
        assert "no NVIDIA card here reports its energy or power" in alone.missing[0].reason


def _channel(label: str, millivolts: str, milliamperes: str) -> dict[str, str]:
    folder = "/sys/class/hwmon/hwmon1/"
    names = {"in1_label": label, "in1_input": millivolts, "curr1_input": milliamperes}
    return {folder + name: content for name, content in names.items()}


def test_p1_a_rail_without_current_counts_as_nothing_and_volts_alone_are_left_out() -> None:
    reply = said("P1", "pmic_read_adc.txt")
    probe = {
        "programs": {"vcgencmd": "/usr/bin/vcgencmd"},
        "outputs": {"vcgencmd pmic_read_adc": reply},
    }
    plan = plan_power("raspberry-pi-5", probe)
    assert len(plan.total) == 12
    assert not {"EXT5V", "BATT"} & {rail.name for rail in plan.rails}
    rows = "".join(f"1.0,vcgencmd,{line}\n" for line in reply.splitlines())
    made = make_trace(HEADER + rows.encode(), rail_map_of(plan))
    value_of = {row.split(",")[1]: float(row.split(",")[2]) for row in _rows(made.trace)}
    watts = {
        rail.name: value_of[rail.channels[0]] * value_of[rail.channels[1]] for rail in plan.rails
    }
    assert watts["3V3_DAC"] == 0.0
    assert watts["VDD_CORE"] == pytest.approx(1.370706, abs=1e-6)
    assert sum(watts.values()) == pytest.approx(3.507050, abs=1e-6)


def _rows(trace: bytes) -> list[str]:
    return trace.decode().splitlines()[1:]


def test_r1_dies_that_mirror_one_counter_count_once() -> None:
    plan = plan_power("linux-x86", {"files": sysroot("R1")})
    assert plan.total == ("package-0-die-0",)
    assert [(item.what, "mirrored die" in item.reason) for item in plan.missing] == [
        ("package-0-die-1", True)
    ]
    own = sysroot("R1") | {"/sys/class/powercap/intel-rapl:1/energy_uj": "7000000000"}
    plan = plan_power("linux-x86", {"files": own})
    assert plan.total == ("package-0-die-0", "package-0-die-1")


def test_r3_memory_that_cannot_be_read_is_told_and_not_in_the_total() -> None:
    plan = plan_power("linux-x86", {"files": sysroot("R3")})
    assert plan.total == ("package-0",)
    assert "dram" not in plan.rule
    (dram,) = plan.missing
    assert dram.what == "dram"
    assert "sudo chmod a+r" in dram.remedy
    opened = sysroot("R3") | {"/sys/class/powercap/intel-rapl:0:0/energy_uj": "5000000"}
    assert plan_power("linux-x86", {"files": opened}).total == ("package-0", "dram")


def test_r4_a_counter_that_falls_without_a_known_range_takes_its_window_alone() -> None:
    plan = plan_power("linux-x86", {"files": sysroot("R4")})
    assert plan.total == ("package-0",)
    assert plan.rails[0].wrap_j is None
    times_s = np.arange(99.0, 140.0, 0.05)
    counter_uj = 3.0e9 + (times_s - 99.0) * 20e6
    counter_uj[times_s >= 106.0] -= 3.0e9
    trace: Trace = {"c0": (times_s, counter_uj)}
    fallen = measure_energy(trace, rail_map_of(plan), WINDOW_S)
    assert (fallen.status, fallen.gross_j) == ("invalid", None)
    assert "was reset inside the window" in str(fallen.reason)
    later = measure_energy(trace, rail_map_of(plan), (120.0, 132.0))
    assert later.status == "ok"
    assert later.mean_power_w is not None
    assert later.mean_power_w.value == pytest.approx(20.0, rel=0.01)


def test_r5_powercap_without_zones_is_no_sensor_and_says_so() -> None:
    files = sysroot("R5")
    plan = plan_power("linux-x86", {"files": files})
    assert (plan.total, plan.rails) == ((), ())
    assert plan.missing[0].reason.startswith("no power sensor: no RAPL counters")
    told = findings("linux-x86", {"files": files}, plan)
    assert "energy cannot be measured" in [one.what for one in told]


def test_tg1_a_rail_below_zero_keeps_its_sign_and_the_line_its_total() -> None:
    lines = said("TG1", "tegrastats.log").splitlines()
    sample = parse_line(lines[0])
    assert sample is not None
    assert sample.ram_mb == (26063, 125772)
    assert sample.rails_mw == {
        "VDD_GPU": (-392, -392),
        "VDD_CPU_SOC_MSS": (3924, 3835),
        "VIN_SYS_5V0": (5064, 5055),
        "VIN": (15004, 15096),
    }
    assert total_power_mw(sample, "jetson-agx-thor")[::2] == (15004, "board input")
    module = parse_line(lines[1])
    assert module is not None
    assert total_power_mw(module, "jetson-agx-thor")[::2] == (8596, "module sum")
    plan = _tegrastats_plan("jetson-agx-thor", lines[1])
    rng = np.random.default_rng(1)
    means_mw = {"c0": -392, "c1": 3924, "c2": 5064}
    readings = {name: list(rng.normal(mean, 60, 280)) for name, mean in means_mw.items()}
    energy = energy_of(plan, readings)
    assert energy.status == "ok", "one rail below zero is an offset, not a sum below zero"
    assert energy.mean_power_w is not None
    assert energy.mean_power_w.value == pytest.approx(8.596, rel=0.01)


def test_tg3_a_nano_without_gpu_load_has_its_rails_and_no_load() -> None:
    line = said("TG3", "tegrastats.log")
    sample = parse_line(line)
    assert sample is not None
    assert (sample.ram_mb, sample.swap_mb, sample.iram_kb) == ((1588, 3963), (0, 4096, 0), (0, 252))
    assert [core and core.load_percent for core in sample.cpus] == [19, 23, 20, 19]
    assert {core and core.clock_mhz for core in sample.cpus} == {1479}
    assert sample.emc is not None
    assert (sample.emc.load_percent, sample.emc.clocks_mhz) == (2, (1600,))
    assert sample.gr3d is None
    assert total_power_mw(sample, "jetson-nano")[0] == 2765
    plan = _tegrastats_plan("jetson-nano", line)
    assert plan.total == ("POM_5V_IN",)
    assert [rail.name for rail in plan.rails] == ["POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"]


def _tegrastats_plan(platform_id: str, line: str) -> PowerPlan:
    probe = {
        "programs": {"tegrastats": "/usr/bin/tegrastats"},
        "outputs": {"tegrastats": line.rstrip("\n") + "\n"},
    }
    return plan_power(platform_id, probe)


@pytest.mark.parametrize("case", ["H1", "H2", "H3", "H3b", "H4", "H5", "R1", "R3", "R4", "R5"])
def test_every_machine_of_a_case_is_planned_as_its_own_platform(case: str) -> None:
    files = sysroot(case)
    model = files.get("/proc/device-tree/model", "")
    compatible = [files.get("/proc/device-tree/compatible", "")]
    machine = "x86_64" if case.startswith("R") else "aarch64"
    probe = {"files": files, "model": model, "compatible": compatible, "machine": machine}
    plan = plan_power(detect(probe), probe)
    assert files_of(probe) == files
    assert plan.total or plan.missing[0].what == "power"
