"""The sensors that print, that are run again and again, and that packages read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from interpreters import old_python, optional_python
from telemetry_data import FOLDER

from workloads.machine import programs
from workloads.sampler import packages
from workloads.sampler.sampler import make_sensor
from workloads.sampler.sensors import KINDS

Row = tuple[float, str, str]
ROOT = Path(__file__).parents[3]
NANO_LOG = FOLDER / "tegrastats-nano-l4t32x-root.log"


def program(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


def spec(kind: str, *argv: str, interval_s: float = 0.02, **channels: str) -> dict[str, Any]:
    listed = [{"id": id, "path": path, "unit": "mW"} for id, path in channels.items()]
    return {
        "id": kind,
        "kind": kind,
        "argv": list(argv),
        "interval_s": interval_s,
        "channels": listed,
    }


@contextmanager
def running(sensor: Any) -> Iterator[list[Row]]:
    """Run a sensor in a thread; its rows appear in the list."""
    rows: list[Row] = []
    stop = threading.Event()
    thread = threading.Thread(
        target=sensor.run, args=(lambda t_s, name, raw: rows.append((t_s, name, raw)), stop)
    )
    thread.start()
    try:
        yield rows
    finally:
        stop.set()
        sensor.close()
        thread.join(10)
        assert not thread.is_alive()


def wait_for(happened: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)


def test_the_lines_of_a_recorded_tegrastats_arrive_whole_and_are_stamped_on_arrival(
    tmp_path: Path,
) -> None:
    text = (
        "import sys, time\n"
        f"for line in open({str(NANO_LOG)!r}).read().splitlines()[:8]:\n"
        "    half = len(line) // 2\n"
        "    sys.stdout.write(line[:half]); sys.stdout.flush(); time.sleep(0.01)\n"
        "    sys.stdout.write(line[half:] + '\\n'); sys.stdout.flush(); time.sleep(0.03)\n"
        "sys.stdout.write('RAM 9'); sys.stdout.flush(); time.sleep(60)\n"
    )
    sensor = make_sensor(spec("lines", program(tmp_path, "tegrastats", text)), "/")
    begin = time.monotonic()
    with running(sensor) as rows:
        wait_for(lambda: len(rows) == 8)
        time.sleep(0.1)
    assert [raw for _, _, raw in rows] == NANO_LOG.read_text().splitlines()[:8]
    times = [t_s for t_s, _, _ in rows]
    assert times == sorted(times)
    assert times[-1] - times[0] >= 7 * 0.035
    assert begin < times[0] < time.monotonic()


def test_a_program_is_ended_by_its_own_pid_with_what_it_has_started(tmp_path: Path) -> None:
    text = (
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        "print(os.getpid(), child.pid, flush=True)\n"
        "time.sleep(300)\n"
    )
    sensor = make_sensor(spec("lines", program(tmp_path, "meter", text)), "/")
    with running(sensor) as rows:
        wait_for(lambda: bool(rows))
    for pid in rows[0][2].split():
        wait_for(lambda pid=pid: _is_gone(int(pid)))  # type: ignore[misc]


def test_a_program_that_ends_or_cannot_run_says_so(tmp_path: Path) -> None:
    ending = make_sensor(spec("lines", program(tmp_path, "meter", "raise SystemExit(3)")), "/")
    with running(ending) as rows:
        wait_for(lambda: bool(rows))
    assert rows[0][2].endswith("ended by itself with status 3")
    with running(make_sensor(spec("lines", str(tmp_path / "absent")), "/")) as rows:
        wait_for(lambda: bool(rows))
    assert rows[0][1:] == ("lines", f"!{tmp_path / 'absent'}: No such file or directory")


def test_a_program_is_run_for_every_reading_and_all_its_lines_have_one_time(
    tmp_path: Path,
) -> None:
    reply = FOLDER / "vcgencmd-pi5-pmic-read-adc-idle.txt"
    text = f"print(open({str(reply)!r}).read(), end='')\n"
    sensor = make_sensor(
        spec("repeated", program(tmp_path, "vcgencmd", text), "pmic_read_adc"), "/"
    )
    with running(sensor) as rows:
        wait_for(lambda: len(rows) >= 3 * 26)
    lines = reply.read_text().splitlines()
    assert [raw for _, _, raw in rows[:26]] == lines
    assert len({t_s for t_s, _, _ in rows[:26]}) == 1
    assert len({t_s for t_s, _, _ in rows[: 3 * 26]}) == 3


def test_a_failing_program_is_a_reading_that_says_why(tmp_path: Path) -> None:
    path = program(tmp_path, "vcgencmd", "import sys; print('VCHI failed'); sys.exit(255)")
    with running(make_sensor(spec("repeated", path), "/")) as rows:
        wait_for(lambda: bool(rows))
    assert rows[0][2] == f"!{path} ended with 255: VCHI failed"


def test_a_program_that_hangs_is_given_up_and_one_that_floods_is_cut(tmp_path: Path) -> None:
    hanging = program(tmp_path, "hanging", "import time; time.sleep(60)")
    begin = time.monotonic()
    assert programs.output([hanging], 0.3) == f"!{hanging} did not end within 0.3 s"
    assert time.monotonic() - begin < 5
    flooding = program(tmp_path, "flooding", "while True: print('x' * 1000, flush=True)")
    assert len(programs.output([flooding], 5.0, lines=10**9)) <= programs.LIMIT_BYTES + 4096


def test_some_lines_of_a_program_that_never_ends_are_enough(tmp_path: Path) -> None:
    text = "import time\nwhile True:\n    print('line', flush=True)\n    time.sleep(0.01)\n"
    path = program(tmp_path, "tegrastats", text)
    begin = time.monotonic()
    assert programs.output([path], 20.0, lines=3).splitlines()[:3] == ["line"] * 3
    assert time.monotonic() - begin < 10


def test_a_program_below_the_sysroot_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "usr/bin"
    folder.mkdir(parents=True)
    own = program(folder, "sh", "")
    assert programs.find("sh", str(tmp_path)) == own
    assert programs.find("sh", "/") not in (None, own)
    assert programs.find("no-such-program-here") is None


FAKE_JTOP = """
import time
class JtopException(Exception):
    pass
class jtop:
    def __init__(self, interval):
        self.interval, self.count = interval, 0
    def __enter__(self):
        return self
    def __exit__(self, *arguments):
        pass
    def ok(self):
        time.sleep(0.01)
        self.count += 1
        return True
    @property
    def power(self):
        rail = {"volt": 4984, "curr": 1000, "power": 4978 + self.count, "avg": 1, "online": True}
        return {"rail": {"VDD_IN": rail}, "tot": {"power": 1}}
"""
FAKE_PYRAPL = """
class Sensor:
    def __init__(self):
        self.count = 0
    def energy(self):
        self.count += 1
        return [1000.0 * self.count, -1, 7.0, 8.0]
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return what puts a stand-in of a package where it will be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str, text: str) -> None:
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(text)

    return put


def test_jtops_rails_are_read_as_its_service_sends_them(
    package: Callable[[str, str], None],
) -> None:
    package("jtop", FAKE_JTOP)
    found = packages.facts("jtop")
    assert found == {"rails": {"VDD_IN": 4979}, "interval_s": 0.5}
    sensor = make_sensor(spec("jtop", c0="jtop:VDD_IN", c1="jtop:GONE"), "/")
    with running(sensor) as rows:
        wait_for(lambda: len(rows) >= 6)
    assert [row[1:] for row in rows[:4]] == [
        ("c0", "4979"),
        ("c1", "!absent"),
        ("c0", "4980"),
        ("c1", "!absent"),
    ]


def test_pyrapls_counters_are_read_by_kind_and_socket(package: Callable[[str, str], None]) -> None:
    package("pyRAPL", FAKE_PYRAPL)
    found = packages.facts("pyrapl")
    assert found == {"counters": {"pkg:0": 1000.0, "pkg:1": 7.0, "dram:1": 8.0}}
    sensor = make_sensor(spec("pyrapl", c0="pyrapl:pkg:0", c1="pyrapl:dram:1"), "/")
    with running(sensor) as rows:
        wait_for(lambda: len(rows) >= 4)
    assert [row[1:] for row in rows[:4]] == [
        ("c0", "1000"),
        ("c1", "8"),
        ("c0", "2000"),
        ("c1", "8"),
    ]


@pytest.mark.parametrize(
    ("kind", "error", "what", "remedy"),
    [
        ("jtop", "The jtop.service is not active. Please run:", "not running", "systemctl"),
        ("jtop", "I can't access jtop.service.\nPlease logout", "may not talk", "usermod -aG jtop"),
        (
            *("jtop", "Mismatch version jtop service: [4.2.0] and client: [7.2.2]."),
            *("differ in version", "jtop --version"),
        ),
        ("jtop", "Lost connection with jtop server", "does not work", "systemctl status"),
    ],
)
def test_what_jtop_says_is_explained(kind: str, error: str, what: str, remedy: str) -> None:
    said = packages.explain(kind, RuntimeError(error))
    assert what in said[0]
    assert remedy in said[1]


def test_counters_that_root_alone_may_read_are_explained() -> None:
    said = packages.explain("pyrapl", PermissionError(13, "Permission denied", "energy_uj"))
    assert "root only" in said[0]
    assert "chmod a+r" in said[1]


@pytest.mark.parametrize("kind", ["jtop", "pyrapl", "pynvml"])
def test_a_package_that_is_absent_is_explained_and_the_sampler_goes_on(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("jtop", "pyRAPL", "pynvml"):
        monkeypatch.setitem(sys.modules, name, None)
    found = packages.facts(kind)
    assert "is not installed" in found["error"]
    assert found["remedy"]
    with running(make_sensor(spec(kind, c0=f"{kind}:x:y"), "/")) as rows:
        wait_for(lambda: bool(rows))
    assert rows[0][1] == kind
    assert rows[0][2].startswith("!")


@pytest.mark.timeout(600)
def test_the_real_packages_say_what_this_machine_lacks() -> None:
    code = "import json; from workloads.sampler.packages import facts\n" + (
        "print(json.dumps([facts('jtop'), facts('pyrapl'), facts('pynvml')]))"
    )
    done = subprocess.run(
        [str(optional_python()), "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    jtop, pyrapl, pynvml = json.loads(done.stdout.splitlines()[-1])
    if not Path("/run/jtop.sock").exists():
        assert "service is not running" in jtop["error"]
    if not Path("/sys/class/powercap/intel-rapl:0").exists():
        assert "no RAPL counters (MSR)" in pyrapl["error"]
    if not Path("/dev/nvidiactl").exists():
        assert "nvidia-ml-py" in pynvml["error"]


def test_the_sensors_work_on_python_3_6(tmp_path: Path) -> None:
    python = old_python()
    meter = program(tmp_path, "meter", "print('1.5', flush=True)\nimport time; time.sleep(60)")
    (tmp_path / "f").write_text("7")
    sensors = [
        {**spec("files", c0="/f"), "interval_s": 0.01},
        spec("lines", meter),
        spec("repeated", "echo", "2.5"),
        spec("nvml", c9="nvml:0:energy"),
        spec("jtop", c8="jtop:VDD_IN"),
    ]
    code = (
        "import json, sys; from workloads.sampler.sampler import run_sampler\n"
        "run_sampler({'sensors': json.loads(sys.argv[1])}, sys.argv[2], sys.argv[3])"
    )
    trace = tmp_path / "power.csv"
    process = subprocess.Popen(
        [str(python), "-c", code, json.dumps(sensors), str(tmp_path), str(trace)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    time.sleep(1.5)
    process.terminate()
    assert process.wait(20) == 0
    rows = [line.split(",", 2) for line in trace.read_text().splitlines()[1:]]
    found = {row[1]: row[2] for row in rows}
    assert (found["c0"], found["lines"], found["repeated"]) == ("7", "1.5", "2.5")
    assert found["jtop"].strip('"').startswith("!jetson-stats is not installed")
    assert set(KINDS) | set(packages.KINDS) >= {"nvml", "jtop", "pyrapl", "pynvml"}


def _is_gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
