"""Power in a result folder: real runs on this machine with a program's or a meter's watts."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from local_runs import measured

from harness.power.files import PowerFiles
from harness.power.meter import Meter
from reports.metrics.of_run import compare
from reports.page.render import render
from reports.results.journal import read_journal
from reports.results.read import JOURNAL, load_run, read_trace
from reports.results.records import TargetRun
from targets.inventory import Inventory, Power, Target

METER = (
    "import time\nwatts = 0\n"
    "while True:\n    watts += 1\n    print('%d.5 W' % watts, flush=True)\n    time.sleep(0.02)\n"
)


def test_a_program_that_prints_watts_is_a_power_sensor(tmp_path: Path) -> None:
    (tmp_path / "meter.py").write_text(METER)
    command = f"{sys.executable} {tmp_path / 'meter.py'}"
    target = measured(tmp_path, Power(kind="command", argument=command))
    trace = read_trace(target)
    assert trace is not None
    times, watts = trace["c0"]
    assert (watts[1:] > watts[:-1]).all()
    timed = next(block for block in target.blocks if block.kind == "timing")
    begin, end = timed.window_s or (0.0, 0.0)
    assert ((times >= begin) & (times <= end)).sum() >= 10
    assert target.power is not None
    assert (target.power.source, target.power.scope) == ("command", "board input")
    log = gzip.decompress((target.folder / "power-raw.csv.gz").read_bytes())
    assert b".5 W" in log
    seen = subprocess.run(["pgrep", "-f", str(tmp_path / "meter.py")], capture_output=True)
    assert seen.stdout == b"", "the program outlived the run"


def test_a_program_that_does_not_run_is_told_in_the_notes(tmp_path: Path) -> None:
    target = measured(tmp_path, Power(kind="command", argument="no-such-meter-here"))
    assert any("ended by itself with status 127" in note for note in target.session.notes)
    rows = [row for row in compare(_run_of(target)) if row.metric == "energy_j"]
    assert rows
    assert all(row.value is None and row.reason for row in rows)


def test_a_meters_file_is_read_after_the_run_from_beside_the_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is of another day: it is refused, and the run is good without it."""
    rows = "\n".join(f"{second},{5 + second % 7}" for second in range(600))
    (tmp_path / "meter.csv").write_text("time,watts\n" + rows)
    target = measured(tmp_path, Power(kind="csv", argument="meter.csv"))
    assert any(note.startswith("power: the meter's power") for note in target.session.notes)
    assert read_trace(target) is None

    def true_meter(path: Path) -> Meter:
        import numpy as np

        assert path == tmp_path / "meter.csv"
        windows = [phase.window_s for block in target.blocks for phase in block.timing.values()]
        times = np.arange(time.monotonic() - 400, time.monotonic(), 0.01)
        busy = np.zeros(times.size, dtype=bool)
        for window in windows:
            assert window is not None
            busy |= (times >= window[0]) & (times <= window[1])
        return Meter(times_s=times + 1000.0, watts=np.where(busy, 9.0, 3.0))

    monkeypatch.setattr("harness.power.meter.read_meter", true_meter)
    files = PowerFiles(
        Target(name="local", power=Power(kind="csv", argument="meter.csv")),
        Inventory(path=tmp_path / "inventory.yaml", targets={}, groups={}),
        target.folder,
    )
    (note,) = files.keep_meter(read_journal(target.folder / JOURNAL).blocks)
    offset_s = re.search(r"clock is \+([0-9.]+) s off", note)
    assert offset_s is not None
    assert float(offset_s[1]) == pytest.approx(1000.0, abs=0.05)  # the meter ticks at 0.01 s
    again = load_run(_run_of(target).path).targets[0]
    trace = read_trace(again)
    assert trace is not None
    assert set(trace["c0"][1]) == {3.0, 9.0}


def test_why_there_is_no_power_is_in_the_result_and_on_the_page(tmp_path: Path) -> None:
    target = measured(tmp_path, Power(kind="jtop"))
    assert target.power is not None
    assert target.power.total == ()
    assert "jetson-stats is not installed" in target.power.missing[0]
    assert "jetson-stats is not installed" in render([_run_of(target)])


def test_power_that_is_switched_off_leaves_no_rail_map(tmp_path: Path) -> None:
    target = measured(tmp_path, Power(kind="off"))
    assert target.power is None
    assert "power is switched off in the inventory" in target.session.notes


def _run_of(target: TargetRun) -> Any:
    return load_run(target.folder.parent.parent)
