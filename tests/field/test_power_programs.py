"""A program of the board that fails is not absent: its words are told, with what mends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_sysroot
import pytest
from field_data import said
from local_runs import measured

from harness.board import doctor
from harness.board.probed import read_probe
from targets.findings import findings, unseen_throttling
from targets.inventory import Power, Target
from targets.power_plans import plan_power
from targets.sensors.jetson_state import power_mode
from workloads.probe import outputs

GROUP = 'sudo usermod -aG video "$USER"'
VCHI = said("P2", "said.txt").strip()
VCIO = said("P4", "said.txt").strip()


def board_with(folder: Path, name: str, words: str, status: int) -> dict[str, Any]:
    """Return what the probe of a board says whose program prints these words and ends."""
    program = folder / name
    quoted = words.replace("'", "'\\''")
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{quoted}'\nexit {status}\n")
    program.chmod(0o755)
    paths: dict[str, str | None] = {name: str(program)}
    return {"programs": paths, "outputs": outputs(paths), "files": {}}


@pytest.mark.parametrize(("words", "status"), [(VCHI, 255), (VCHI, 0), (VCIO, 255), (VCIO, 0)])
def test_p2_p4_what_vcgencmd_complains_of_is_quoted_with_the_group_that_it_takes(
    tmp_path: Path, words: str, status: int
) -> None:
    probe = board_with(tmp_path, "vcgencmd", words, status)
    plan = plan_power("raspberry-pi-5", probe)
    assert (plan.total, plan.rails) == ((), ())
    (power,) = plan.missing
    assert words.splitlines()[0] in power.reason
    assert power.remedy.startswith(GROUP)
    told = {one.what: one for one in findings("raspberry-pi-5", probe, plan)}
    unknown = told["whether the board throttles is unknown"]
    assert unknown.severity == "warning"
    assert words.splitlines()[0] in unknown.why
    assert unknown.remedy.startswith(GROUP)
    energy = told["energy cannot be measured"]
    assert energy.why == power.reason


def test_p2_doctor_shows_the_words_and_a_run_notes_that_throttling_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = board_with(tmp_path, "vcgencmd", VCHI, 255)
    probe |= {"compatible": ["raspberrypi,5-model-b"], "torch": {"version": "2.1"}}
    monkeypatch.setattr("harness.board.doctor.probed", lambda target, *_: read_probe(target, probe))
    shown = "\n".join(doctor.examine(Target(name="pi5"), None).lines())
    assert shown.count(VCHI) == 2
    assert shown.count(GROUP) == 2
    finding = unseen_throttling("raspberry-pi-5", probe)
    assert finding is not None
    assert finding.sentence.startswith("whether the board throttles is unknown: `vcgencmd get_")
    assert VCHI in finding.sentence
    assert GROUP in finding.sentence


def test_p2_a_run_on_such_a_board_says_so_in_its_result(tmp_path: Path) -> None:
    programs = tmp_path / "sysroot/usr/bin"
    programs.mkdir(parents=True)
    board_with(programs, "vcgencmd", VCHI, 255)
    model = {"/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0"}
    sysroot = fake_sysroot.build(tmp_path / "sysroot", model)
    target = measured(tmp_path, Power(), sysroot=sysroot)
    assert target.platform == "raspberry-pi-5"
    (unknown,) = [note for note in target.session.notes if "throttles is unknown" in note]
    assert VCHI in unknown
    assert GROUP in unknown
    assert target.power is not None
    assert VCHI in target.power.missing[0]
    assert GROUP in target.power.missing[0]


def test_p2_a_pi_that_tells_its_flags_has_no_such_finding(tmp_path: Path) -> None:
    probe = board_with(tmp_path, "vcgencmd", "throttled=0x0", 0)
    assert unseen_throttling("raspberry-pi-5", probe) is None
    without = {"programs": {"vcgencmd": None}, "outputs": {}}
    assert unseen_throttling("jetson-nano", without) is None, "a Jetson tells it in other ways"
    absent = unseen_throttling("raspberry-pi-4", without)
    assert absent is not None
    assert "vcgencmd is not installed" in absent.why


def test_p2_a_pi_5_without_vcgencmd_is_told_to_install_it() -> None:
    plan = plan_power("raspberry-pi-5", {"programs": {"vcgencmd": None}, "outputs": {}})
    (power,) = plan.missing
    assert power.reason.endswith("vcgencmd is not installed")
    assert power.remedy.startswith("sudo apt install raspi-utils")


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("tegrastats: cannot open /dev/nvhost-ctrl: Permission denied", GROUP),
        ("tegrastats: unknown board", "Run `tegrastats` on the board"),
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_p4_a_tegrastats_that_ends_with_an_error_is_quoted(
    tmp_path: Path, words: str, remedy: str, status: int
) -> None:
    probe = board_with(tmp_path, "tegrastats", words, status)
    plan = plan_power("jetson-nano", probe)
    assert plan.total == ()
    (power,) = plan.missing
    assert words in power.reason
    assert remedy in power.remedy


def test_p4_closed_rails_keep_their_remedy_beside_the_words_of_tegrastats(tmp_path: Path) -> None:
    probe = board_with(tmp_path, "tegrastats", "Segmentation fault", 139)
    probe["files"] = {"/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "!EACCES"}
    (power,) = plan_power("jetson-nano", probe).missing
    assert "may not read" in power.reason
    assert "Segmentation fault" in power.reason
    assert power.remedy.startswith("sudo chmod a+r")


def test_p4_a_tegrastats_that_shows_no_rails_has_not_failed(tmp_path: Path) -> None:
    line = "RAM 1588/3963MB (lfb 170x4MB) CPU [19%@1479] EMC_FREQ 2%@1600 PLL@37C"
    probe = board_with(tmp_path, "tegrastats", line, 0)
    (power,) = plan_power("jetson-nano", probe).missing
    assert "gave no answer" not in power.reason


@pytest.mark.parametrize("status", [0, 1])
def test_p4_an_nvpmodel_that_fails_leaves_the_mode_unknown(tmp_path: Path, status: int) -> None:
    words = "NVPM ERROR: Error opening /etc/nvpmodel.conf: Permission denied"
    probe = board_with(tmp_path, "nvpmodel", words, status)
    told = findings("jetson-nano", probe, None)
    (mode,) = [one for one in told if "power mode" in one.what]
    assert mode.what == "the power mode is unknown"
    assert words in mode.why
    assert GROUP in mode.remedy


@pytest.mark.parametrize(
    ("name", "mode"), [("a.txt", ("MAXN", 0)), ("b.txt", None), ("c.txt", ("MODE_15W_DESKTOP", 7))]
)
def test_j1_warnings_and_errors_of_nvpmodel_are_no_mode(
    tmp_path: Path, name: str, mode: tuple[str, int] | None
) -> None:
    reply = said("J1", name)
    read = power_mode(reply)
    assert (read and (read.name, read.id)) == mode
    probe = board_with(tmp_path, "nvpmodel", reply.strip(), 0)
    (finding,) = [one for one in findings("jetson-nano", probe, None) if "power mode" in one.what]
    if mode is None:
        assert finding.what == "the power mode is unknown"
        assert "power mode is not set!" in finding.why
    else:
        assert finding.what == f"the power mode {mode[0]} limits clocks and cores"
