"""What is sampled on a machine, from recorded output and files: the best source, and why not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest
from telemetry_data import lines, manifest, text

from targets.findings import findings
from targets.platforms import PLATFORMS
from targets.power_plans import plan_power
from targets.sensors.rails import PowerPlan

TEGRASTATS = "/usr/bin/tegrastats"
CARD = {"index": 0, "name": "NVIDIA RTX A2000", "uuid": "GPU-1"}
NOT_SUPPORTED = "!NVML: nvmlDeviceGetTotalEnergyConsumption: not supported by this card"


def probe(files: str | None = None, log: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a probe with a recorded manifest and the first lines of a recorded log."""
    found: dict[str, Any] = {"files": manifest(files) if files else {}, **more}
    if log:
        said = b"\n".join(lines(log)[:3]).decode("utf-8", "replace")
        found["programs"] = {"tegrastats": TEGRASTATS}
        found["outputs"] = {"tegrastats": said + "\n"}
    return found


def denied(files: Mapping[str, str], mark: str) -> dict[str, str]:
    """Return the files as a user sees them who may not read those with the mark."""
    return {path: "!EACCES" if mark in path else content for path, content in files.items()}


def rails_of(plan: PowerPlan) -> dict[str, tuple[str, float | None]]:
    return {rail.name: (rail.conversion, rail.update_interval_s) for rail in plan.rails}


def test_sensor_files_come_before_tegrastats() -> None:
    plan = plan_power(
        "jetson-nano",
        probe("sysfs-ina3221x-nano-iio-COMPOSED.tsv", "tegrastats-nano-l4t32x-root.log"),
    )
    assert plan.source == "iio-ina3221x"
    assert [sensor.kind for sensor in plan.sensors] == ["files"]


@pytest.mark.parametrize(
    ("platform", "log", "l4t", "total", "scope", "habit"),
    [
        (
            *("jetson-nano", "tegrastats-nano-l4t32x-root.log", "32.7.4"),
            *(("POM_5V_IN",), "module input", ("average", 0.43)),
        ),
        (
            *("jetson-orin-nano", "tegrastats-orin-nano-l4t36-root-and-nonroot.log", "36.4.3"),
            *(("VDD_IN",), "module input", ("instant", None)),
        ),
        (
            *("jetson-agx-orin", "tegrastats-agx-orin64-l4t36-root.log", None),
            *(("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), "module sum", ("instant", None)),
        ),
        (
            *("jetson-agx-thor", "tegrastats-thor-l4t38.4-vin.log", "38.4.0"),
            *(("VIN",), "board input", ("instant", None)),
        ),
    ],
)
def test_tegrastats_is_taken_where_no_file_gives_the_total(
    platform: str,
    log: str,
    l4t: str | None,
    total: tuple[str, ...],
    scope: str,
    habit: tuple[str, float | None],
) -> None:
    plan = plan_power(platform, probe(None, log, l4t=l4t))
    assert (plan.source, plan.total, plan.scope) == ("tegrastats", total, scope)
    assert set(rails_of(plan).values()) == {habit}
    (sensor,) = plan.sensors
    assert sensor.kind == "lines"
    assert sensor.argv == (TEGRASTATS, "--interval", "100")
    assert sensor.channels == tuple(channel.id for channel in plan.channels)
    assert {channel.unit for channel in plan.channels} == {"mW"}
    assert not plan.missing


def test_tegrastats_without_power_is_no_source() -> None:
    plan = plan_power("jetson-nano", probe(None, "tegrastats-nano-l4t32x-nonroot-nopower.log"))
    assert plan.total == ()
    assert plan.missing[0].what == "power"


def test_where_power_is_closed_to_the_user_the_doctor_names_the_command() -> None:
    files = manifest("sysfs-ina3221x-nano-iio-COMPOSED.tsv")
    log = "tegrastats-nano-l4t32x-nonroot-nopower.log"
    for closed in ("in_power", "iio:device0"):  # the readings, or all that the driver shows
        seen = {**probe(None, log), "files": denied(files, closed)}
        plan = plan_power("jetson-nano", seen)
        assert plan.total == ()
        found = next(
            one
            for one in findings("jetson-nano", seen, plan)
            if one.what == "energy cannot be measured"
        )
        assert found.remedy == PLATFORMS["jetson-nano"].grant
        assert "chmod a+r" in found.remedy


def test_a_counter_that_only_root_may_read_comes_with_the_command() -> None:
    files = denied(manifest("rapl-amd-zen.tsv"), "energy_uj")
    plan = plan_power("linux-x86", {"files": files})
    assert plan.total == ()
    assert "chmod a+r" in plan.missing[0].remedy


def test_a_pi_5_is_read_by_its_pmic_and_the_rule_owns_up_to_being_an_estimate() -> None:
    reply = text("vcgencmd-pi5-pmic-read-adc-idle.txt")
    seen = probe(
        programs={"vcgencmd": "/usr/bin/vcgencmd"}, outputs={"vcgencmd pmic_read_adc": reply}
    )
    plan = plan_power("raspberry-pi-5", seen)
    assert (plan.source, plan.scope) == ("vcgencmd-pmic", "pmic sum")
    assert len(plan.total) == 12
    assert "not the board's input" in plan.rule
    assert "estimate" in plan.rule
    assert plan.sensors[0].argv == ("/usr/bin/vcgencmd", "pmic_read_adc")
    assert [channel.unit for channel in plan.channels] == ["V", "A"] * 12


def test_a_pi_5_whose_pmic_does_not_answer_says_so() -> None:
    seen = probe(
        programs={"vcgencmd": "/usr/bin/vcgencmd"},
        outputs={"vcgencmd pmic_read_adc": "!vcgencmd ended with 255: VCHI initialization failed"},
    )
    assert plan_power("raspberry-pi-5", seen).missing[0].what == "power"


@pytest.mark.parametrize(
    ("platform", "seen", "rail", "source"),
    [
        ("linux-x86", probe("rapl-amd-zen.tsv"), "core", "powercap"),
        (
            "linux-x86",
            probe("rapl-amd-zen.tsv", nvml={"cards": [{**CARD, "energy": 5000}]}),
            "NVIDIA RTX A2000",
            "nvml",
        ),
        (
            "jetson-orin-nano",
            probe(None, "tegrastats-orin-nano-l4t36-root-and-nonroot.log"),
            "VDD_SOC",
            "tegrastats",
        ),
    ],
)
def test_the_inventory_may_name_any_rail_that_the_machine_shows(
    platform: str, seen: dict[str, Any], rail: str, source: str
) -> None:
    assert rail in [found.name for found in plan_power(platform, seen).rails]
    plan = plan_power(platform, seen, "rail", rail)
    assert (plan.total, plan.scope, plan.source) == ((rail,), "chosen rail", source)
    assert rail in plan.rule
    assert not [item for item in plan.missing if item.what == "power"]
    assert not plan.secondary


def test_a_card_that_torch_does_not_use_stands_beside_the_processor_and_is_not_added() -> None:
    seen = probe("rapl-amd-zen.tsv", nvml={"cards": [{**CARD, "energy": 5, "power": 9}]})
    plan = plan_power("linux-x86", seen)
    assert (plan.source, plan.scope, plan.total) == ("powercap", "package", ("package-0",))
    (second,) = plan.secondary
    assert (second.scope, second.total) == ("card", ("NVIDIA RTX A2000",))
    assert [sensor.kind for sensor in plan.sensors] == ["files", "nvml"]
    ids = [channel.id for channel in plan.channels]
    assert len(set(ids)) == len(ids)


def test_the_card_that_torch_computes_on_is_primary() -> None:
    other = {**CARD, "index": 0, "name": "NVIDIA T400", "energy": 5}
    own = {**CARD, "index": 1, "energy": 5}
    seen = probe(
        "rapl-amd-zen.tsv",
        nvml={"cards": [other, own]},
        torch={"cuda": {"device": "NVIDIA RTX A2000"}},
    )
    plan = plan_power("linux-x86", seen)
    assert (plan.source, plan.scope, plan.total) == ("nvml", "card", ("NVIDIA RTX A2000",))
    assert plan.secondary[0].scope == "package"


def test_a_card_alone_is_better_than_nothing() -> None:
    plan = plan_power("linux-x86", probe(nvml={"cards": [{**CARD, "power": 9000}]}))
    assert (plan.scope, plan.total) == ("card", ("NVIDIA RTX A2000",))
    assert not [item for item in plan.missing if item.what == "power"]


@pytest.mark.parametrize(
    ("told", "path", "kind", "conversion"),
    [
        ({"energy": 7, "power_instant": 8, "power": 9}, "nvml:0:energy", "energy", "instant"),
        (
            {"energy": NOT_SUPPORTED, "power_instant": 8, "power": 9},
            *("nvml:0:power_instant", "power", "instant"),
        ),
        (
            {"energy": NOT_SUPPORTED, "power_instant": NOT_SUPPORTED, "power": 9},
            *("nvml:0:power", "power", "average"),
        ),
    ],
)
def test_a_counter_comes_before_the_instant_power_and_that_before_the_average(
    told: Mapping[str, Any], path: str, kind: str, conversion: str
) -> None:
    plan = plan_power("linux-x86", probe(nvml={"cards": [{**CARD, **told}]}))
    assert plan.channels[0].path == path
    assert (plan.rails[0].kind, plan.rails[0].conversion) == (kind, conversion)


@pytest.mark.parametrize(
    "nvml",
    [
        None,
        {"error": "NVML: nvmlInit_v2: the driver is not loaded"},
        {"cards": [{**CARD, "energy": NOT_SUPPORTED, "power": NOT_SUPPORTED}]},
        {"cards": "many"},
        {"cards": [None, {"index": "x", "energy": 1}]},
    ],
)
def test_a_driver_that_tells_nothing_changes_nothing(nvml: Any) -> None:
    seen = probe("rapl-amd-zen.tsv")
    assert plan_power("linux-x86", {**seen, "nvml": nvml}) == plan_power("linux-x86", seen)


def test_jtop_takes_the_totals_of_our_own_table() -> None:
    rails = {"VDD_IN": 4978, "VDD_CPU_GPU_CV": 500, "VDD_SOC": 1400}
    package = {"kind": "jtop", "rails": rails, "interval_s": 0.5}
    plan = plan_power("jetson-orin-nano", probe(package=package), "jtop")
    assert (plan.source, plan.total) == ("jtop", ("VDD_IN",))
    assert plan.sensors[0].kind == "jtop"
    assert plan.interval_s == 0.5


def test_pyrapl_counts_packages_and_memory_with_the_kernels_own_wraps() -> None:
    package = {"kind": "pyrapl", "counters": {"pkg:0": 1.0}}
    plan = plan_power("linux-x86", probe("rapl-amd-zen.tsv", package=package), "pyrapl")
    assert (plan.source, plan.scope, plan.total) == ("pyrapl", "package", ("pkg:0",))
    assert plan.rails[0].wrap_j == pytest.approx(65532.6, abs=0.1)


@pytest.mark.parametrize("power", ["jtop", "pyrapl", "pynvml"])
def test_a_package_that_does_not_work_is_missing_power_with_its_own_remedy(power: str) -> None:
    package = {"kind": power, "error": "The service is down.", "remedy": "Start it."}
    plan = plan_power("linux-x86", probe(package=package), power)
    assert plan.total == ()
    assert plan.channels == ()
    assert (plan.missing[0].reason, plan.missing[0].remedy) == ("The service is down.", "Start it.")


def test_nvidia_ml_py_reads_the_same_card_by_another_way() -> None:
    package = {"kind": "pynvml", "cards": [{**CARD, "energy": 5}]}
    plan = plan_power("linux-x86", probe(package=package), "pynvml")
    assert (plan.source, plan.scope) == ("nvidia-ml-py", "card")
    assert [sensor.kind for sensor in plan.sensors] == ["pynvml"]


def test_a_program_and_a_file_are_named_in_the_rule() -> None:
    by_program = plan_power("jetson-tk1", probe(), "command", "meter --watts")
    assert by_program.sensors[0].argv == ("sh", "-c", "meter --watts")
    assert "meter --watts" in by_program.rule
    by_file = plan_power("jetson-tk1", probe(), "csv", "meter.csv")
    assert by_file.sensors[0].kind == "csv"
    assert by_file.channels[0].path == "meter.csv"
    assert by_file.rails[0].tolerance is None


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
@pytest.mark.parametrize("power", ["auto", "jtop", "pyrapl", "pynvml", "command", "csv"])
def test_a_probe_that_tells_nothing_gives_a_plan_that_can_be_written(
    platform: str, power: str
) -> None:
    for seen in ({}, {"outputs": 7, "programs": [], "nvml": [], "package": "x", "torch": 1}):
        plan = plan_power(platform, seen, power, "argument")
        json.dumps(asdict(plan), allow_nan=False)
        assert plan.total or plan.missing
