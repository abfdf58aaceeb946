"""What the probe finds out, on this machine and on folders that look like boards."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import fake_sysroot
import pytest
import telemetry_data
import torch

from workloads import probe as probes
from workloads.machine import processors as own
from workloads.machine.processors import processors
from workloads.probe import probe, sensor_files
from workloads.spec.messages import dump

NANO = {
    "/proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
    "/proc/device-tree/compatible": "nvidia,p3450-0000\0nvidia,jetson-nano\0nvidia,tegra210\0",
    "/etc/nv_tegra_release": "# R32 (release), REVISION: 7.4, GCID: 33514132, BOARD: t210ref",
}


def test_a_nano_is_known_by_its_device_tree_and_its_release(tmp_path: Path) -> None:
    found = probe(fake_sysroot.build(tmp_path, NANO))
    assert found["model"] == "NVIDIA Jetson Nano Developer Kit"
    assert found["compatible"] == ["nvidia,p3450-0000", "nvidia,jetson-nano", "nvidia,tegra210"]
    assert found["l4t"] == "32.7.4"
    assert found["sysroot"] == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "l4t"),
    [
        ("# R32 (release), REVISION: 7.4, GCID: 33514132, BOARD: t210ref", "32.7.4"),
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "36.4.3"),
        ("# R28 (release), REVISION: 2.1, GCID: 11272647, BOARD: t186ref", "28.2.1"),
        ("# R36 (release), REVISION:", None),
        ("REVISION: 4.3", None),
        ("nonsense", None),
        ("", None),
        ("!EACCES", None),
        (None, None),
    ],
)
def test_releases_of_l4t(text: str | None, l4t: str | None) -> None:
    assert probes._l4t(text) == l4t


@pytest.mark.parametrize(
    "name",
    [
        "sysfs-ina3221-agx-orin-hwmon.tsv",
        "sysfs-ina3221-orin-nano-idle.tsv",
        "sysfs-ina3221-thor-r38.4.tsv",
        "sysfs-ina3221x-nano-iio-COMPOSED.tsv",
        "rapl-haswell-4770s-dram.tsv",
    ],
)
def test_a_recorded_boards_sensors_are_all_found(tmp_path: Path, name: str) -> None:
    recorded = telemetry_data.manifest(name)
    readable = {path: text for path, text in recorded.items() if not text.startswith("!")}
    found = sensor_files(fake_sysroot.build(tmp_path, readable))
    ends = ("_input", "_label", "energy_uj", "shunt_resistor")
    inputs = {
        re.sub(r"^/sys/devices/.*/hwmon/", "/sys/class/hwmon/", path): text.rstrip("\n")
        for path, text in readable.items()
        if path.endswith(ends) or "rail_name" in path
    }
    assert inputs
    assert {path: found.get(path) for path in inputs} == inputs


def test_an_unreadable_file_is_listed_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = "/sys/class/powercap/intel-rapl:0/energy_uj"
    root = fake_sysroot.build(tmp_path, {counter: "1"})
    real = os.open

    def refuse(path: str, flags: int) -> int:
        if path.endswith("energy_uj"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr("os.open", refuse)
    assert sensor_files(root) == {counter: "!EACCES"}


def test_a_gated_zone_is_listed_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = "/sys/class/thermal/thermal_zone1/"
    root = fake_sysroot.build(tmp_path, {zone + "type": "gpu-thermal", zone + "temp": "1"})
    real = os.read

    def read(fd: int, size: int) -> bytes:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("temp"):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(fd, size)

    monkeypatch.setattr("os.read", read)
    assert sensor_files(root) == {zone + "type": "gpu-thermal", zone + "temp": "!EAGAIN"}


def test_what_a_board_offers_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hwmon = "/sys/class/hwmon/hwmon0/"
    files = {f"{hwmon}in{i}_input": "9" * 10_000 for i in range(30)}
    root = fake_sysroot.build(tmp_path, files)
    monkeypatch.setattr(probes, "MAX_FILES", 20)
    found = sensor_files(root)
    assert len(found) == 20
    assert {len(text) for text in found.values()} == {probes.MAX_FILE_BYTES}


def test_this_machines_facts_are_strict_json() -> None:
    found = json.loads(dump(probe()))
    assert found["torch"]["version"] == str(torch.__version__)
    assert found["torch_error"] is None
    assert found["cpu"]["logical"] >= found["cpu"]["physical"] >= 1
    assert found["threads"] == len(processors())
    assert found["memory"]["total_bytes"] >= found["memory"]["available_bytes"] > 0
    assert found["boot_id"]
    assert found["clock"]["monotonic_s"] > 0
    assert set(found["programs"]) == set(probes.PROGRAMS)


def test_one_processor_of_each_core_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(siblings))
    monkeypatch.setattr(
        own, "read_text", lambda path: siblings[int(path.split("/cpu/cpu")[1].split("/")[0])]
    )
    assert processors() == [0, 1]


def test_without_torch_the_probe_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = probe()
    assert found["torch"] is None
    assert "torch" in found["torch_error"]


def test_a_torch_that_the_loader_refuses_is_told_with_what_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusing:
        def find_spec(self, name: str, *rest: object) -> None:
            if name == "torch":
                raise ImportError("/lib/libgomp.so.1: cannot allocate memory in static TLS block")

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    found = probe()
    assert found["torch"] is None
    assert found["torch_ended"] is False
    assert "static TLS" in found["torch_error"]
    assert "`env: {LD_PRELOAD: /lib/libgomp.so.1}`" in found["torch_remedy"]


def test_an_import_that_hangs_is_given_up_and_the_setting_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probes, "_torch", lambda: time.sleep(600))
    found = probe(kernels=("native",), deadlines=probes.Deadlines(import_s=0.2))
    assert found["torch"] is None
    assert found["torch_ended"] is True
    assert found["torch_error"] == "importing torch has not ended within 0.2 s"
    assert "`import_s`" in found["torch_remedy"]
    assert found["kernels"] == {}
    assert found["cpu"]["logical"] >= 1  # the rest is there


def test_a_kernel_that_hangs_is_given_up_and_the_setting_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hang_on_native(name: str, device: torch.device) -> None:
        if name == "native":
            time.sleep(600)

    monkeypatch.setattr("workloads.kernels.availability", hang_on_native)
    deadlines = probes.Deadlines(compile_s=0.5)
    found = probe(kernels=("torch", "native", "cuda"), deadlines=deadlines)
    late = "compiling and trying kernel native has not ended within 0.5 s; `compile_s` in the "
    assert found["torch"]["version"] == str(torch.__version__)
    assert found["kernels"]["torch"] == {"cpu": None, "cuda": None}
    for name in ("native", "cuda"):
        assert found["kernels"][name]["cpu"].startswith(late)


def test_a_kernel_that_ends_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(name: str, device: torch.device) -> None:
        faulthandler.disable()  # pytest's
        os.kill(os.getpid(), signal.SIGILL)

    monkeypatch.setattr("workloads.kernels.availability", die)
    reasons = probe(kernels=("native",))["kernels"]["native"]
    assert reasons["cpu"].startswith("trying kernel native ended Python with signal 4, illegal")
    assert "OPENBLAS_CORETYPE" in reasons["cpu"]


def test_a_hwmon_device_tells_its_own_label_and_the_address_behind_its_link(tmp_path: Path) -> None:
    device = tmp_path / "sys/devices/platform/soc/fe804000.i2c/i2c-1/1-0040"
    hwmon = tmp_path / "sys/class/hwmon/hwmon2"
    for folder in (device, hwmon):
        folder.mkdir(parents=True)
    (hwmon / "name").write_text("ina219\n")
    (hwmon / "label").write_text("VIN\n")
    (hwmon / "device").symlink_to(device)
    found = sensor_files(str(tmp_path))
    assert found == {
        "/sys/class/hwmon/hwmon2/name": "ina219",
        "/sys/class/hwmon/hwmon2/label": "VIN",
        "/sys/class/hwmon/hwmon2/device": "1-0040",
    }
