from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from gfbench_cli import Cli

from harness.power import simulated_meter
from targets.inventory import load_inventory, local_target

STAT = "cpu  100 20 30 900 50 5 7 0 0 0\ncpu0 1 2 3\n"


def test_busy_time_is_all_but_idle_and_waiting() -> None:
    assert simulated_meter.busy_s(STAT, 100) == pytest.approx(1.62)


def test_power_is_that_of_the_busy_cores() -> None:
    assert simulated_meter.watts(0.0, 2.0) == simulated_meter.IDLE_W
    two_cores = simulated_meter.IDLE_W + 2 * simulated_meter.CORE_W
    assert simulated_meter.watts(4.0, 2.0) == pytest.approx(two_cores)


def test_a_machine_at_rest_takes_the_power_of_rest(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(STAT)
    assert list(islice(simulated_meter.readings(stat), 3)) == [simulated_meter.IDLE_W] * 3


def test_the_program_prints_watts_until_its_reader_is_gone() -> None:
    program = [sys.executable, simulated_meter.__file__]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as meter:
        assert meter.stdout is not None
        assert meter.stderr is not None
        lines = [meter.stdout.readline() for _ in range(3)]
        meter.stdout.close()
        assert meter.stderr.read() == b""
        assert meter.wait(10) == 0
    assert all(float(line) >= simulated_meter.IDLE_W for line in lines)


def test_the_simulated_inventory_gives_this_machine_the_meter(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    assert cli("init", "--simulated", "-o", "sim.yaml").stdout == "sim.yaml\n"
    target = local_target(load_inventory(tmp_path / "sim.yaml"))
    assert target.power.kind == "command"
    assert target.power.argument is not None
    assert "simulated_meter.py" in target.power.argument
    assert "gfbench run -i sim.yaml" in (tmp_path / "sim.yaml").read_text()
    assert cli("init", "--simulated", "-o", "sim.yaml").returncode == 2
