from __future__ import annotations

import pytest
from telemetry_data import manifest, text

from targets.sensors.hwmon import ina_rails
from targets.sensors.jetson_state import PowerMode, power_mode
from targets.sensors.rails import SensedRail
from targets.sensors.rapl import energy_j, rapl_rails, zones
from targets.sensors.throttle import throttle_evidence
from targets.sensors.vcgencmd import (
    Throttled,
    get_throttled,
    pmic_read_adc,
)

HWMON = "/sys/class/hwmon/hwmon1/"
IIO = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/"
POWERCAP = "/sys/class/powercap/"


def power_mw(rails: tuple[SensedRail, ...]) -> dict[str, int | None]:
    return {
        rail.name: None if rail.power_w is None else round(rail.power_w * 1000) for rail in rails
    }


def ina3221(**content: str) -> dict[str, str]:
    return {HWMON + "name": "ina3221", **{HWMON + name: text for name, text in content.items()}}


def test_agx_orin_has_four_rails_and_neither_sums_nor_unconnected_channels() -> None:
    rails = ina_rails(manifest("sysfs-ina3221-agx-orin-hwmon.tsv"))
    assert power_mw(rails) == {
        "VDD_GPU_SOC": 3362,
        "VDD_CPU_CV": 480,
        "VIN_SYS_5V0": 4869,
        "VDDQ_VDD2_1V8AO": 397,
    }
    paths = [reading.path.rpartition("/")[2] for rail in rails for reading in rail.readings]
    assert set(paths) == {
        f"{kind}{channel}_input" for kind in ("in", "curr") for channel in (1, 2, 3)
    }


def test_one_unreadable_channel_does_not_lose_the_rest() -> None:
    rails = ina_rails(manifest("sysfs-ina3221-agx-orin-unreadable-channel.tsv"))
    assert power_mw(rails) == {
        "VDD_GPU_SOC": 2631,
        "VDD_CPU_CV": 376,
        "VIN_SYS_5V0": None,
        "VDD_5V": 4113,
    }
    assert [rail.sensor for rail in rails] == ["hwmon-ina3221"] * 3 + ["hwmon-ina226"]
    broken = rails[2].fault
    assert broken is not None
    assert broken.fault == "/sys/class/hwmon/hwmon1/in3_input is not readable (ENODATA)"


def test_orin_nano_and_thor_give_the_published_powers() -> None:
    assert power_mw(ina_rails(manifest("sysfs-ina3221-orin-nano-idle.tsv"))) == {
        "VDD_IN": 4785,
        "VDD_CPU_GPU_CV": 597,
        "VDD_SOC": 1513,
    }
    assert power_mw(ina_rails(manifest("sysfs-ina3221-orin-nano-throttle.tsv"))) == {"VDD_IN": 9250}
    assert power_mw(ina_rails(manifest("sysfs-ina3221-thor-r38.4.tsv"))) == {
        "VDD_GPU": 7706,
        "VDD_CPU_SOC_MSS": 11558,
        "VIN_SYS_5V0": 8853,
    }


def test_the_trigger_files_of_the_nano_are_not_read() -> None:
    rails = ina_rails(manifest("sysfs-ina3221x-nano-iio-COMPOSED.tsv"))
    assert power_mw(rails) == {"POM_5V_IN": 2793, "POM_5V_GPU": 76, "POM_5V_CPU": 1222}
    assert all(rail.conversion == "average" for rail in rails)
    assert {rail.update_interval_s for rail in rails} == {0.43}


def test_of_all_files_of_the_old_driver_only_the_power_readings_are_used() -> None:
    names = [
        name
        for name in text("sysfs-ina3221x-iio-file-names.txt").splitlines()
        if not name.startswith("#")
    ]
    files = {IIO + name: "1000" for name in names}
    rails = ina_rails(files | {IIO + f"rail_name_{n}": f"RAIL{n}" for n in (0, 1, 2)})
    assert [reading.path for rail in rails for reading in rail.readings] == [
        IIO + f"in_power{n}_input" for n in (0, 1, 2)
    ]
    assert power_mw(rails) == {"RAIL0": 1000, "RAIL1": 1000, "RAIL2": 1000}


def test_a_tx2_that_shows_voltages_alone_has_rails_but_no_power() -> None:
    rails = ina_rails(manifest("sysfs-ina3221x-tx2-iio-voltages.tsv"))
    assert [rail.name for rail in rails] == [
        *("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI"),
        *("VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR"),
        *("VDD_MUX", "VDD_5V0_IO_SYS", "VDD_3V3_SYS"),
        *("VDD_3V3_IO_SLP", "VDD_1V8_IO", "VDD_3V3_SYS_M2"),
    ]
    assert set(power_mw(rails).values()) == {None}


def test_without_a_power_file_the_old_driver_gives_volts_and_amperes() -> None:
    files = {
        IIO + "rail_name_0": "VDD_IN",
        IIO + "in_voltage0_input": "19000",
        IIO + "in_current0_input": "200",
    }
    (rail,) = ina_rails(files)
    assert rail.kind == "volt_amp"
    assert rail.power_w == pytest.approx(3.8)


def test_a_monitor_seen_by_two_paths_counts_once() -> None:
    files = manifest("sysfs-ina3221x-nano-iio-COMPOSED.tsv")
    linked = {IIO + path.rpartition("/")[2]: content for path, content in files.items()}
    assert len(ina_rails(files | linked)) == 3
    orin = manifest("sysfs-ina3221-orin-nano-idle.tsv")
    device = "/sys/devices/platform/c240000.i2c/i2c-1/1-0040/hwmon/hwmon1/"
    linked = {device + path.rpartition("/")[2]: content for path, content in orin.items()}
    assert len(ina_rails(orin | linked)) == 3


def test_the_step_of_the_current_follows_the_shunt() -> None:
    readings = {"in1_input": "5000", "curr1_input": "800"}
    (told,) = ina_rails(ina3221(**readings, shunt1_resistor="5000"))
    assert told.resolution == pytest.approx((0.008, 0.008))
    (board,) = ina_rails(ina3221(**readings), shunt_ohm=0.001)
    assert board.resolution == pytest.approx((0.008, 0.04))
    (unknown,) = ina_rails(ina3221(**readings))
    assert unknown.resolution == pytest.approx((0.008, 0.02))


@pytest.mark.parametrize(
    ("interval_ms", "conversion"), [("7", "instant"), ("430", "average"), ("!EACCES", "instant")]
)
def test_a_slow_monitor_covers_the_time_between_two_readings(
    interval_ms: str, conversion: str
) -> None:
    readings = {"in1_input": "5000", "curr1_input": "800"}
    (rail,) = ina_rails(ina3221(**readings, update_interval=interval_ms))
    assert rail.conversion == conversion


def test_a_channel_that_is_switched_off_or_not_connected_is_no_rail() -> None:
    files = ina3221(
        in1_label="NC", in1_input="0", curr1_input="0",
        in2_enable="0", in2_input="!ENODATA", curr2_input="!ENODATA",
        in3_input="5000", curr3_input="-20",
        in4_input="480", curr4_input="360",
    )  # fmt: skip
    (rail,) = ina_rails(files)
    assert rail.name == "ina3221 channel 3"
    assert rail.power_w == pytest.approx(-0.1)


@pytest.mark.parametrize("content", ["", "garbage", "!EIO", "1e400", "nan", "0x10", "5000\n5000"])
def test_a_reading_that_is_no_number_is_missing_and_never_zero(content: str) -> None:
    (rail,) = ina_rails(ina3221(in1_input="5000", curr1_input=content))
    assert rail.power_w is None
    assert rail.fault is not None


def test_single_monitors_give_their_own_power_or_volts_times_amperes() -> None:
    files = {HWMON + "name": "ina238", HWMON + "power1_input": "19780000"}
    assert power_mw(ina_rails(files)) == {"ina238": 19780}
    files = {HWMON + "name": "ina219", HWMON + "in1_input": "5000", HWMON + "curr1_input": "400"}
    assert power_mw(ina_rails(files)) == {"ina219": 2000}


def test_rails_of_one_name_are_told_apart_by_their_monitor() -> None:
    files = {f"/sys/class/hwmon/hwmon{n}/name": "ina226" for n in (1, 2)}
    files |= {f"/sys/class/hwmon/hwmon{n}/power1_input": "1000" for n in (1, 2)}
    assert [rail.name for rail in ina_rails(files)] == ["ina226 (hwmon1)", "ina226 (hwmon2)"]
    one = ina3221(
        **{f"in{n}_label": "VDD" for n in (1, 2)}, **{f"in{n}_input": "5000" for n in (1, 2)}
    )
    assert len({rail.name for rail in ina_rails(one)}) == 2


def test_amd_counts_its_package_and_knows_where_it_wraps() -> None:
    rails, total, missing = rapl_rails(manifest("rapl-amd-zen.tsv"))
    assert [rail.name for rail in rails] == ["package-0", "core"]
    assert total == ("package-0",)
    assert missing == ()
    assert rails[0].readings[0].value == pytest.approx(64930.873566)
    assert rails[0].wrap_j == pytest.approx(65532.610987)
    assert rails[0].power_w is None


def test_a_second_zone_with_the_same_energy_is_a_mirror() -> None:
    rails, total, missing = rapl_rails(manifest("rapl-intel-desktop-two-zones.tsv"))
    assert [zone.name for zone in zones(manifest("rapl-intel-desktop-two-zones.tsv"))] == [
        "package-0",
        "core",
        "package-10",
    ]
    assert total == ("package-0",)
    assert [rail.name for rail in rails] == ["package-0", "package-0/core"]
    assert [entry.what for entry in missing] == ["package-10"]
    assert rails[0].readings[0].value == pytest.approx(240422.366267)


def test_psys_is_a_rail_but_never_added_to_the_package() -> None:
    rails, total, _ = rapl_rails(manifest("rapl-intel-laptop-psys.tsv"))
    assert [rail.name for rail in rails] == ["package-0", "core", "uncore", "psys"]
    assert total == ("package-0",)
    assert all(rail.fault for rail in rails), "powercap-info prints no energy"


def test_memory_is_found_by_name_and_makes_no_total_without_a_package() -> None:
    rails, total, _ = rapl_rails(manifest("rapl-haswell-4770s-dram.tsv"))
    assert [rail.name for rail in rails] == ["dram"]
    assert rails[0].readings[0].value == pytest.approx(2469.474853)
    assert total == ()


def test_zones_without_a_name_or_energy_are_no_reading() -> None:
    rails, total, _ = rapl_rails(manifest("rapl-surface-i5-1035g4.tsv"))
    assert [rail.name for rail in rails] == ["package-0"]
    assert rails[0].fault is not None
    assert total == ("package-0",)


def zone(folder: str, name: str, energy_uj: str, wrap_uj: str = "262143328850") -> dict[str, str]:
    base = f"{POWERCAP}{folder}/"
    return {
        base + "name": name,
        base + "energy_uj": energy_uj,
        base + "max_energy_range_uj": wrap_uj,
    }


def test_the_package_through_mmio_is_counted_only_where_there_is_no_other() -> None:
    mmio = zone("intel-rapl-mmio:0", "package-0", "5000000")
    _, total, _ = rapl_rails(zone("intel-rapl:0", "package-0", "9000000") | mmio)
    assert total == ("package-0",)
    rails, total, _ = rapl_rails(mmio)
    assert total == ("package-0",)
    assert rails[0].readings[0].path == POWERCAP + "intel-rapl-mmio:0/energy_uj"


def test_nested_links_of_a_zone_count_once() -> None:
    files = zone("intel-rapl:0", "package-0", "9000000")
    files |= zone("intel-rapl:0:0", "dram", "1000000")
    files |= zone("intel-rapl:0/intel-rapl:0:0", "dram", "1000000")
    assert rapl_rails(files)[1] == ("package-0", "dram")


def test_mirrored_dies_count_once_and_different_packages_each() -> None:
    dies = zone("intel-rapl:0", "package-0-die-0", "68000000000")
    dies |= zone("intel-rapl:1", "package-0-die-1", "68000050000")
    _, total, missing = rapl_rails(dies)
    assert total == ("package-0-die-0",)
    assert "package-0-die-0" in missing[0].reason
    sockets = zone("intel-rapl:0", "package-0", "68000000000")
    sockets |= zone("intel-rapl:0:0", "dram", "5000000000")
    sockets |= zone("intel-rapl:1", "package-1", "51000000000")
    sockets |= zone("intel-rapl:1:0", "dram", "4000000000")
    assert rapl_rails(sockets)[1] == (
        "package-0",
        "package-0/dram",
        "package-1",
        "package-1/dram",
    )


@pytest.mark.parametrize(
    ("readings_j", "wrap_j", "energy"),
    [
        ([10.0, 12.5, 13.0], 100.0, 3.0),
        ([98.0, 99.0, 1.5], 100.0, 3.5),
        ([90.0, 30.0, 70.0, 20.0], 100.0, 130.0),
        ([7.0, 7.0], 100.0, 0.0),
        ([10.0, 5.0], None, None),  # fell, and the range is not known
        ([60.0, 5.0, 50.0], 100.0, 90.0),
        ([30.0, 5.0], 100.0, None),  # would be three quarters of the range: a reset
        ([10.0], 100.0, None),
        ([], 100.0, None),
    ],
)
def test_a_counter_that_wraps_is_followed_and_one_that_resets_is_not_trusted(
    readings_j: list[float], wrap_j: float | None, energy: float | None
) -> None:
    assert energy_j(readings_j, wrap_j) == (None if energy is None else pytest.approx(energy))


def test_the_pmic_of_the_pi_5_is_paired_by_name() -> None:
    pmic = pmic_read_adc(text("vcgencmd-pi5-pmic-read-adc-idle.txt"))
    assert len(pmic.rails_w) == 12
    assert pmic.rails_w["VDD_CORE"] == pytest.approx(0.9465799 * 0.7209762)
    assert pmic.rails_w["0V8_AON"] == pytest.approx(0.00494505 * 0.7994132)
    assert pmic.rails_w["DDR_VDDQ"] == 0.0
    assert pmic.volts["EXT5V"] == 5.11478
    assert "EXT5V" not in pmic.rails_w
    assert "BATT" not in pmic.rails_w
    assert pmic.total_w == pytest.approx(1.9005, abs=5e-5)


def test_a_pmic_channel_without_its_partner_takes_the_total_but_not_the_rest() -> None:
    reply = text("vcgencmd-pi5-pmic-read-adc-idle.txt").splitlines()
    pmic = pmic_read_adc("\n".join(line for line in reply if "HDMI_A" not in line))
    assert pmic.rails_w["HDMI"] is None
    assert pmic.rails_w["VDD_CORE"] is not None
    assert pmic.total_w is None
    assert pmic_read_adc('error=1 error_msg="Command not registered"').total_w is None


def test_replies_of_vcgencmd_are_read() -> None:
    replies = [line.split("\t") for line in text("vcgencmd-misc.txt").splitlines()[1:]]
    assert get_throttled(replies[0][1]) == Throttled(now=(), since_boot=())
    assert get_throttled(replies[1][1]) == Throttled(
        now=(), since_boot=("under-voltage", "throttled")
    )
    assert pmic_read_adc(replies[4][1]).volts == {"EXT5V": 5.11746}
    assert get_throttled("throttled=0x5") == Throttled(
        now=("under-voltage", "throttled"), since_boot=()
    )


@pytest.mark.parametrize("reply", ["", "VCHI initialization failed", "throttled=", "temp=x'C"])
def test_a_reply_that_is_none_is_none(reply: str) -> None:
    assert get_throttled(reply) is None


def test_the_state_of_an_orin_nano_is_read() -> None:
    state = text("state-orin-nano-super-r39.2.1.txt")
    assert power_mode(state) == PowerMode(name="25W", id=1)


def test_errors_mixed_into_the_power_mode_do_not_hide_it() -> None:
    state = text("state-nano-nvpmodel-nonroot.txt")
    assert power_mode(state) == PowerMode(name="5W", id=1)
    assert power_mode("NVPM ERROR: no such device") is None


def test_throttle_counters_are_found_and_gated_zones_stop_nothing() -> None:
    assert throttle_evidence(manifest("sysfs-ina3221-orin-nano-throttle.tsv")) == {
        "hwmon1/curr1_crit_alarm": 0,
        "oc1_event_cnt": 1,
        "oc2_event_cnt": 0,
        "oc3_event_cnt": 2,
    }
    assert throttle_evidence(manifest("sysfs-ina3221-thor-r38.4.tsv")) == {
        "cpu-throttle-alert": 0,
        "gpu-throttle-alert": 0,
        "soc012-throttle-alert": 0,
        "soc345-throttle-alert": 0,
    }
    cpu = "/sys/devices/system/cpu/cpu3/thermal_throttle/"
    assert throttle_evidence({cpu + "core_throttle_count": "7", cpu + "x": "1"}) == {
        "cpu3/core_throttle_count": 7
    }
