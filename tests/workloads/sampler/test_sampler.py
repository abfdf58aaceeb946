"""The power sampler: raw readings at random intervals."""

from __future__ import annotations

import io
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_clock import FakeClock

from workloads.sampler import sampler as sampling
from workloads.sampler.sampler import HEADER, Log
from workloads.sampler.sensors import Channel, Reader, poll, read_each

INTERVAL_S = 0.1


class FakeReader:
    """Takes a while to read and counts how often it was asked."""

    def __init__(self, clock: FakeClock, *, takes_s: float = 0.002, id: str = "c0") -> None:
        self.id = id
        self.clock = clock
        self.takes_s = takes_s
        self.count = 0

    def read(self) -> str:
        self.count += 1
        self.clock.now_s += self.takes_s
        return str(self.count)


class Until:
    """The event that ends sampling, on a fake clock."""

    def __init__(self, clock: FakeClock, end_s: float) -> None:
        self.clock = clock
        self.end_s = end_s

    def is_set(self) -> bool:
        return self.clock.now_s >= self.end_s

    def wait(self, timeout_s: float) -> bool:
        self.clock.sleep(timeout_s)
        return self.is_set()


def sampled(
    clock: FakeClock, readers: list[FakeReader], *, until_s: float, seed: int = 1
) -> list[tuple[float, str, str]]:
    rows: list[tuple[float, str, str]] = []

    def write(t_s: float, sensor: str, raw: str) -> None:
        rows.append((round(t_s, 6), sensor, raw))

    poll(
        lambda: read_each(readers, write, clock),  # type: ignore[arg-type]
        INTERVAL_S,
        Until(clock, clock.now_s + until_s),  # type: ignore[arg-type]
        clock=clock,
        uniform=random.Random(seed).uniform,
    )
    return rows


def test_intervals_are_random_within_half_of_the_nominal_one() -> None:
    clock = FakeClock()
    rows = sampled(clock, [FakeReader(clock)], until_s=200.0)
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(rows)]
    assert min(gaps) >= 0.05 - 1e-6
    assert max(gaps) <= 0.15 + 1e-6
    assert min(gaps) < 0.055 < 0.145 < max(gaps)


def test_the_schedule_does_not_drift_by_the_time_that_reading_takes() -> None:
    clock = FakeClock()
    rows = sampled(clock, [FakeReader(clock, takes_s=0.03)], until_s=1000.0)
    assert len(rows) == pytest.approx(1000.0 / INTERVAL_S, rel=0.02)


def test_a_reading_that_takes_too_long_is_not_made_up_for_in_a_burst() -> None:
    clock = FakeClock()
    slow = FakeReader(clock, takes_s=1.0)
    rows = sampled(clock, [slow], until_s=50.0)
    assert len(rows) == 50
    assert all(slept_s >= 0 for slept_s in clock.slept_s)


def test_the_time_of_a_reading_is_its_midpoint() -> None:
    clock = FakeClock(start_s=10.0)
    readers = [FakeReader(clock, takes_s=0.004), FakeReader(clock, takes_s=0.008, id="c1")]
    rows = sampled(clock, readers, until_s=0.01)
    assert rows[:2] == [(10.002, "c0", "1"), (10.008, "c1", "1")]


def test_the_text_is_kept_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "in1_input").write_text("4976\n")
    assert Reader(Channel("c0", "/in1_input"), str(tmp_path)).read() == "4976"


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b"1,5\n", '"1,5"'),
        (b"1\n2\r\n", "1 2"),
        (b"\xff\n", "\ufffd"),
        (b"", ""),
        (b'a "b"', '"a ""b"""'),
        (b"1\0", "1 "),
    ],
)
def test_a_strange_reading_cannot_break_the_table(tmp_path: Path, content: bytes, row: str) -> None:
    (tmp_path / "f").write_bytes(content)
    out = io.StringIO()
    Log(out).write(1.0, "c0", Reader(Channel("c0", "/f"), str(tmp_path)).read())
    assert out.getvalue() == f"1.000000,c0,{row}\n"


def test_an_error_is_kept_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret").write_text("1")
    assert Reader(Channel("c0", "/gone"), str(tmp_path)).read() == "!ENOENT"
    assert Reader(Channel("c0", "/folder"), str(tmp_path)).read() == "!EISDIR"

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.open", refuse)
    assert Reader(Channel("c0", "/secret"), str(tmp_path)).read() == "!EACCES"


def test_in_the_real_sys_the_descriptor_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = tmp_path / "energy_uj"
    sensor.write_text("1")
    opened: list[str] = []
    real: Callable[..., int] = os.open

    def counting(path: str, flags: int) -> int:
        opened.append(path)
        return real(path, flags)

    monkeypatch.setattr("os.open", counting)
    reader = Reader(Channel("c0", str(sensor)), "/")
    assert reader.read() == "1"
    sensor.write_text("22")  # the same file with another content, as sysfs answers
    assert reader.read() == "22"
    assert opened == [str(sensor)]


def test_below_another_root_a_replaced_file_is_seen(tmp_path: Path) -> None:
    sensor = tmp_path / "power1_input"
    sensor.write_text("1")
    reader = Reader(Channel("c0", "/power1_input"), str(tmp_path))
    assert reader.read() == "1"
    (tmp_path / "new").write_text("2")
    os.replace(tmp_path / "new", sensor)
    assert reader.read() == "2"
    sensor.unlink()
    assert reader.read() == "!ENOENT"
    sensor.write_text("3")
    assert reader.read() == "3"


def test_no_descriptor_leaks_below_another_root(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("1")
    reader = Reader(Channel("c0", "/f"), str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        reader.read()
    assert len(os.listdir("/proc/self/fd")) == before


SAMPLER = """
import sys
from workloads.sampler.sampler import run_sampler
channels = [{"id": "c0", "path": "/f"}]
power = {"sensors": [{"id": "files", "kind": "files", "interval_s": 0.01, "channels": channels}]}
run_sampler(power, sys.argv[1], sys.argv[2])
"""


def run_for_a_while(sysroot: Path, trace: Path) -> int:
    """Run a sampler process until it has written a reading more; returns its exit status."""
    size = trace.stat().st_size if trace.exists() else 0
    process = subprocess.Popen([sys.executable, "-c", SAMPLER, str(sysroot), str(trace)])
    time.sleep(0.4)
    process.send_signal(signal.SIGTERM)
    status = process.wait(10)
    assert trace.stat().st_size > size
    return status


def test_the_process_ends_on_request_and_goes_on_with_the_same_table(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("5")
    trace = tmp_path / "power.csv"
    assert run_for_a_while(tmp_path, trace) == 0
    with trace.open("a") as file:
        file.write("123.4")  # a power cut
    assert run_for_a_while(tmp_path, trace) == 0
    lines = trace.read_text().splitlines(keepends=True)
    assert lines[0] == HEADER
    assert lines.count(HEADER) == 1
    whole = [line for line in lines[1:] if line != "123.4\n"]
    assert len(whole) == len(lines) - 2
    assert all(line.endswith(",c0,5\n") for line in whole)
    times = [float(line.partition(",")[0]) for line in whole]
    assert times == sorted(times)


def test_the_process_ends_with_the_runner_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("5")
    trace = tmp_path / "power.csv"
    parent = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', *sys.argv[1:]])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(1.0)\n"
    )
    argv = [sys.executable, "-c", parent, SAMPLER, str(tmp_path), str(trace)]
    child = int(subprocess.run(argv, stdout=subprocess.PIPE, timeout=30).stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.02)
    size = trace.stat().st_size
    time.sleep(0.1)
    assert trace.stat().st_size == size > len(HEADER)
    assert sampling.FLUSH_S <= 5  # what a crash of the sampler itself may cost
