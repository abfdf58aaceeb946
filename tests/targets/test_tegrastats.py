from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import well_formed
from telemetry_data import FOLDER, lines

from targets.tegrastats import Core, Load, Sample, parse_line, total_power_mw

ORIN_SUM = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")

# file -> platform, samples in it, and of its first sample: total in mW, scope, rails of the rule
TOTALS: dict[str, tuple[str, int, int | None, str]] = {
    "nano-l4t32x-root": ("jetson-nano", 60, 920, "module input"),
    "nano-l4t32-root-lfb2mb": ("jetson-nano", 1, 1750, "module input"),
    "nano-l4t32x-nonroot-nopower": ("jetson-nano", 1, None, "module input"),
    "tx2-l4t28-root-mts": ("jetson-tx2", 2, 3177, "module input"),
    "tx2-l4t32-root-mts": ("jetson-tx2", 1, 5297, "module input"),
    "tx2-l4t32x-nonroot": ("jetson-tx2", 59, 1840, "module input"),
    "tx2-nx-l4t32-root": ("jetson-tx2", 1, 2930, "module input"),
    "tx2-nx-l4t32.6-nonroot-nopower": ("jetson-tx2", 6, None, "module input"),
    "xavier-nx-l4t32.4-nonroot": ("jetson-xavier-nx", 2, 5608, "module input"),
    "xavier-nx-l4t32-root": ("jetson-xavier-nx", 1, 6140, "module input"),
    "xavier-nx-l4t35-root-gpcfreq": ("jetson-xavier-nx", 1, 2763, "module input"),
    "xavier-nx-l4t35-nonroot": ("jetson-xavier-nx", 103, 5542, "module input"),
    "agx-xavier32-l4t32-nonroot": ("jetson-agx-xavier", 1, 3229, "module sum"),
    "agx-xavier32-l4t32-root": ("jetson-agx-xavier", 1, 3346, "module sum"),
    "orin-nx16-l4t35-root": ("jetson-orin-nx", 1, 5299, "module input"),
    "orin-nano-l4t35-gr3d2": ("jetson-orin-nano", 1, 4915, "module input"),
    "orin-nano-l4t36-root-and-nonroot": ("jetson-orin-nano", 2, 12479, "module input"),
    "orin-nano-super-l4t36.4.3-root": ("jetson-orin-nano", 2, 5251, "module input"),
    "orin-nano-super-l4t39.2.1-root-triple": ("jetson-orin-nano", 4, 3582, "module input"),
    "agx-orin32-l4t34-gr3d2-indented": ("jetson-agx-orin", 2, 9428, "module sum"),
    "agx-orin64-l4t35-dla": ("jetson-agx-orin", 1, 22430, "module sum"),
    "agx-orin64-l4t35-gpu-off": ("jetson-agx-orin", 1, 6755, "module sum"),
    "agx-orin64-l4t36-root": ("jetson-agx-orin", 15, 6912, "module sum"),
    "agx-orin64-l4t36-tboard-vddq": ("jetson-agx-orin", 150, 7737, "module sum"),
    "agx-orin64-l4t36.4.4-nvenc": ("jetson-agx-orin", 3, 8726, "module sum"),
    "thor-l4t38.4-vin": ("jetson-agx-thor", 1, 19780, "board input"),
    "thor-l4t38-notimestamp": ("jetson-agx-thor", 1, 18209, "module sum"),
}


def samples(name: str) -> list[Sample]:
    parsed = (parse_line(line) for line in lines(f"tegrastats-{name}.log"))
    return [sample for sample in parsed if sample is not None]


def first(name: str) -> Sample:
    return samples(name)[0]


def sample_of(line: str | bytes) -> Sample:
    sample = parse_line(line)
    assert sample is not None
    return sample


def test_every_recorded_log_has_its_expected_total_here() -> None:
    recorded = {path.name[len("tegrastats-") : -len(".log")] for path in FOLDER.glob("*.log")}
    assert recorded == set(TOTALS)
    assert len(recorded) == 27


@pytest.mark.parametrize("name", TOTALS)
def test_a_recorded_log_gives_its_samples_and_its_total(name: str) -> None:
    platform, count, total_mw, scope = TOTALS[name]
    found = samples(name)
    assert len(found) == count
    assert total_power_mw(found[0], platform)[0] == total_mw
    assert total_power_mw(found[0], platform)[2] == scope
    for sample in found:
        assert sample.ram_mb is not None
        assert sample.cpus
        assert sample.temperatures_c
        assert (sample.rails_mw == {}) == (total_mw is None), "missing power is missing, never 0"
        assert "NC" not in sample.rails_mw


@pytest.mark.parametrize("name", TOTALS)
def test_text_bytes_and_line_endings_make_no_difference(name: str) -> None:
    for line in lines(f"tegrastats-{name}.log"):
        text = line.decode("ascii")
        sample = parse_line(line)
        assert parse_line(text) == sample
        assert parse_line(text + "\n") == sample
        assert parse_line(line + b"\r\n") == sample
        assert parse_line(b"  " + line) == sample


@pytest.mark.parametrize(
    "name",
    [
        "nano-l4t32x-root",
        "tx2-l4t32x-nonroot",
        "xavier-nx-l4t35-nonroot",
        "orin-nano-super-l4t39.2.1-root-triple",
        "agx-orin64-l4t36-root",
        "agx-orin64-l4t36-tboard-vddq",
        "agx-orin64-l4t36.4.4-nvenc",
    ],
)
def test_the_second_number_is_the_mean_since_the_program_started(name: str) -> None:
    sums: dict[str, int] = {}
    found = samples(name)
    for count, sample in enumerate(found, start=1):
        for rail, numbers in sample.rails_mw.items():
            sums[rail] = sums.get(rail, 0) + numbers[0]
            assert abs(numbers[1] - sums[rail] / count) <= 1


def test_a_nano_of_l4t_32_as_root() -> None:
    sample = samples("nano-l4t32x-root")[2]
    assert sample == Sample(
        ram_mb=(1095, 3964),
        lfb=(336, 4096),
        swap_mb=(0, 4096, 0),
        iram_kb=(0, 252),
        cpus=(Core(72, 1479), Core(12, 1479), Core(8, 1479), Core(26, 1479)),
        emc=Load(1, (1600,)),
        gr3d=Load(42, (76,)),
        temperatures_c={
            "PLL": 25.0,
            "CPU": 28.5,
            "PMIC": 50.0,
            "GPU": 25.0,
            "AO": 30.0,
            "thermal": 28.0,
        },
        rails_mw={
            "POM_5V_IN": (2793, 1750),
            "POM_5V_GPU": (76, 25),
            "POM_5V_CPU": (1222, 604),
        },
        engines={"APE": Load(None, (25,))},
    )
    assert total_power_mw(sample, "jetson-nano")[0] == 2793, "GPU and CPU are inside POM_5V_IN"


def test_a_nano_without_rights_has_no_power_no_clocks_and_two_cores_off() -> None:
    sample = first("nano-l4t32x-nonroot-nopower")
    assert sample.rails_mw == {}
    assert sample.cpus == (Core(28, 921), Core(19, 921), None, None)
    assert sample.emc == Load(0, ())
    assert sample.gr3d == Load(0, ())
    assert sample.swap_mb == (440, 1978, 9)
    power_mw, rule, _ = total_power_mw(sample, "jetson-nano")
    assert power_mw is None
    assert "POM_5V_IN" in rule


def test_free_blocks_come_in_all_units() -> None:
    assert first("nano-l4t32-root-lfb2mb").lfb == (2, 2048)
    assert first("tx2-l4t28-root-mts").lfb == (1, 1024)
    assert first("orin-nano-l4t35-gr3d2").lfb == (7, 1024)
    assert {sample.lfb[1] for sample in samples("xavier-nx-l4t35-nonroot") if sample.lfb} >= {128}
    assert sample_of("RAM 1/2MB (lfb 3x512kB)").lfb == (3, 512)


def test_prompts_and_dates_are_no_samples() -> None:
    assert parse_line(lines("tegrastats-tx2-l4t28-root-mts.log")[0]) is None
    assert parse_line(lines("tegrastats-tx2-l4t32x-nonroot.log")[0]) is None
    indented = lines("tegrastats-agx-orin32-l4t34-gr3d2-indented.log")
    assert [parse_line(line) is None for line in indented] == [True, False, False, True]


@pytest.mark.parametrize(
    "line",
    [
        "",
        " \n",
        "\x00\x00",
        b"\xff\xfe\x80",
        "nvidia@nano:~$ sudo tegrastats --interval 500",
        "Tue Jan 26 18:22:31 UTC 2021\n",
        "04-24-2026 23:38:04",
        "ERROR: exits as an instance (pid = 123) exists",
        "CPU",
        "RAM",
        "RAM 936/39",
        "[[[[((((",
        "GR3D_FREQ",
    ],
)
def test_what_is_no_sample_is_none(line: str | bytes) -> None:
    assert parse_line(line) is None


def test_a_tx2_of_l4t_28_has_the_old_names_and_no_swap() -> None:
    sample = first("tx2-l4t28-root-mts")
    assert sample.swap_mb is None
    assert sample.cpus[3] == Core(0, 959)
    assert sample.rails_mw == {
        "VDD_IN": (3177, 3177),
        "VDD_CPU": (536, 536),
        "VDD_GPU": (383, 383),
        "VDD_SOC": (536, 536),
        "VDD_WIFI": (0, 0),
        "VDD_DDR": (575, 575),
    }
    assert sample.engines["MTS fg"] == Load(0)
    assert first("tx2-l4t32-root-mts").swap_mb == (1626, 12122, 181)
    assert first("tx2-l4t32-root-mts").engines["MTS bg"] == Load(1)
    assert first("xavier-nx-l4t32-root").engines["MTS bg"] == Load(9)
    assert "VDD_4V0_WIFI" not in first("tx2-nx-l4t32-root").rails_mw
    assert first("tx2-nx-l4t32.6-nonroot-nopower").cpus[1:3] == (None, None)


def test_rails_temperatures_and_cores_of_agx_xavier_are_told_apart_by_form() -> None:
    sample = first("agx-xavier32-l4t32-nonroot")
    assert sample.rails_mw == {
        "GPU": (0, 16),
        "CPU": (310, 432),
        "SOC": (931, 953),
        "CV": (0, 0),
        "VDDRQ": (466, 488),
        "SYS5V": (1522, 1559),
    }
    assert (sample.temperatures_c["GPU"], sample.temperatures_c["CPU"]) == (42.0, 42.0)
    assert [core is None for core in sample.cpus] == [False] * 4 + [True] * 4
    assert sample.engines == {}


def test_the_form_of_l4t_39_has_a_maximum_with_each_value() -> None:
    sample = samples("orin-nano-super-l4t39.2.1-root-triple")[1]
    assert sample.timestamp == datetime(2026, 9, 19, 13, 33, 3)
    assert sample.rails_mw["VDD_IN"] == (3462, 3522, 3582)
    assert sample.temperatures_c["cpu"] == 45.375
    assert sample.swap_mb is None
    assert sample.engines["NVDEC0"] is None
    assert total_power_mw(sample, "jetson-orin-nano")[0] == 3462


def test_sensors_that_are_off_are_none_and_unconnected_rails_are_dropped() -> None:
    sample = first("agx-orin64-l4t35-gpu-off")
    assert [name for name, value in sample.temperatures_c.items() if value is None] == [
        "CV0",
        "CV1",
        "GPU",
        "CV2",
    ]
    assert sample.gr3d == Load(0, (0, 0))
    assert set(sample.rails_mw) == {*ORIN_SUM, "VDDQ_VDD2_1V8AO"}
    indented = first("agx-orin32-l4t34-gr3d2-indented")
    assert indented.timestamp == datetime(2023, 10, 16, 10, 59, 22)
    assert indented.engines["GR3D2_FREQ"] == Load(0, (114,))
    assert indented.engines["NVJPG1"] == Load(None, (729,))
    assert set(indented.rails_mw) == {*ORIN_SUM, "VDDQ_VDD2_1V8AO"}


def test_engines_come_in_all_forms() -> None:
    sample = first("agx-orin64-l4t36.4.4-nvenc")
    assert sample.engines["NVENC"] == Load(79, (166,))
    assert sample.engines["VIC"] == Load(36, (115,))
    assert sample.engines["NVDEC"] is None
    assert "gpu" not in sample.temperatures_c
    assert first("agx-orin64-l4t35-dla").engines["NVDLA0_FREQ"] == Load(None, (1600,))
    assert first("agx-orin64-l4t36-root").gr3d == Load(39, (305, 0))
    assert first("xavier-nx-l4t35-root-gpcfreq").gr3d == Load(0, (114,))
    thor = first("thor-l4t38.4-vin")
    assert thor.gr3d == Load(None, (314, 314, 314))
    assert thor.engines["NVENC0_FREQ"] == Load(None, (314,))
    assert thor.engines["PVA0_FREQ"] is None
    assert thor.rails_mw["VIN"] == (19780, 19780)
    assert first("thor-l4t38-notimestamp").timestamp is None
    assert first("orin-nx16-l4t35-root").timestamp is None


def test_a_user_without_rights_on_orin_nano_has_power_but_no_memory_clock() -> None:
    root, user = samples("orin-nano-l4t36-root-and-nonroot")
    assert root.emc == Load(43, (2133,))
    assert user.emc is None
    assert user.gr3d == Load(0, ())
    assert user.rails_mw["VDD_IN"] == (4824, 4824)


def test_lines_out_of_order_in_time_are_each_read_as_they_are() -> None:
    late, early = samples("orin-nano-super-l4t36.4.3-root")
    assert late.timestamp == datetime(2026, 10, 8, 4, 38, 21)
    assert early.timestamp == datetime(2026, 10, 8, 4, 35, 2)
    assert late.rails_mw["VDD_IN"] == (5251, 8535)


def test_the_old_form_with_one_clock_for_all_cores_is_read() -> None:
    line = (
        "RAM 1024/1892MB (lfb 32x4MB) cpu [0%,off,off,off]@-1 EMC 3%@924 AVP 0%@80 VDE 240 "
        "GR3D 0%@252 EDP limit 0\n"
    )
    sample = sample_of(line)
    assert sample.cpus == (Core(0, None), None, None, None)
    assert sample.emc == Load(3, (924,))
    assert sample.gr3d == Load(0, (252,))
    assert sample.engines == {"AVP": Load(0, (80,)), "VDE": Load(None, (240,))}
    documented = sample_of("RAM 1/2MB CPU [10%,20%]@1200 \n")
    assert documented.cpus == (Core(10, 1200), Core(20, 1200))
    assert total_power_mw(sample, "jetson-tk1") == (
        None,
        "jetson-tk1 has no power sensor that tegrastats reads",
        None,
    )


def test_tokens_may_stand_in_any_order_with_foreign_words_between() -> None:
    line = (
        "[2018-08-23 16:30:36] : VDD_IN 100mW/90mW CPU@30C weird=1 GR3D_FREQ 5%@[300] "
        "CPU[ 1%@100 , off ] VDD_SOC 50mW/40mW RAM 1/2MB ( lfb 1x4MB ) FOO 12 @ x\n"
    )
    sample = sample_of(line)
    assert sample.timestamp is None
    assert sample.rails_mw == {"VDD_IN": (100, 90), "VDD_SOC": (50, 40)}
    assert sample.cpus == (Core(1, 100), None)
    assert sample.gr3d == Load(5, (300,))
    assert sample.ram_mb == (1, 2)
    assert sample.lfb == (1, 4096)
    assert sample.engines == {}


def fields(sample: Sample) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name in ("timestamp", "ram_mb", "lfb", "swap_mb", "iram_kb", "cpus", "emc", "gr3d"):
        value = getattr(sample, name)
        if value not in (None, ()):
            flat[name] = value
    for name in ("temperatures_c", "rails_mw", "engines"):
        flat |= {f"{name} {key}": value for key, value in getattr(sample, name).items()}
    return flat


@pytest.mark.parametrize("name", TOTALS)
def test_a_line_cut_anywhere_gives_nothing_that_the_whole_line_does_not(name: str) -> None:
    for line in [line for line in lines(f"tegrastats-{name}.log") if parse_line(line)][:2]:
        whole = fields(sample_of(line))
        for end in range(len(line)):
            cut = parse_line(line[:end])
            wrong = {
                key: value
                for key, value in (fields(cut) if cut else {}).items()
                if whole.get(key, "absent") != value
            }
            assert wrong == {}, line[:end]


def test_numbers_too_long_for_a_sensor_are_ignored() -> None:
    huge = "9" * 5000
    assert parse_line(f"RAM {huge}/{huge}MB VDD_IN {huge}mW/1mW CPU@{huge}C") is None
    sample = sample_of(f"RAM 1/2MB CPU [{huge}%@1] GR3D_FREQ 1%@[{huge}]\n")
    assert sample.cpus == ()


def corpus() -> list[bytes]:
    return [line for name in TOTALS for line in lines(f"tegrastats-{name}.log")[:12]]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300))
def test_arbitrary_text_and_bytes_raise_nothing(line: bytes | str) -> None:
    assert well_formed(parse_line(line))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(corpus()), st.sampled_from(corpus()), st.data())
def test_spliced_recorded_lines_raise_nothing(one: bytes, two: bytes, data: st.DataObject) -> None:
    head = data.draw(st.integers(0, len(one)))
    tail = data.draw(st.integers(0, len(two)))
    middle = data.draw(st.binary(max_size=20))
    sample = parse_line(one[:head] + middle + two[tail:])
    assert well_formed(sample)
    if sample is not None:
        for platform in ("jetson-nano", "jetson-agx-orin", "jetson-agx-thor"):
            power_mw, rule, _ = total_power_mw(sample, platform)
            assert rule
            assert power_mw is None or sample.rails_mw
