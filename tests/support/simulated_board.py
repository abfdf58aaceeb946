"""A board whose power is known: its own /sys, moved by a process of its own along a power curve.

    board = SimulatedBoard(tmp_path / "nano", NANO, ((make_curve("square", rng), 0.013),))
    with board.alive():
        ...  # an inventory entry with sysroot: board.sysroot, behind a tests/support/sshd.py
    board.true_j(begin, end)  # what a window of the board's monotonic clock took

The power follows time alone: a sum of curves, each repeated with a period of its own on the
monotonic clock of this machine. So the true energy of every window is an integral in closed form,
whatever the runner was doing.
Sensor files are written in place, with the habits of the real sensor: rounded, a mean over the
time since the last value (``iio``), an instant (``hwmon``), or a counter that wraps (``rapl``).
A program called tegrastats below the sysroot prints the same.

A machine that is shared may stop the process of a board for a while, which no sensor's files do:
``stood_still(begin, end)`` tells of such a window.

Between ``throttle()`` and ``cool()`` the board's over-current events count on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from power_curves import Curve

IIO = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
HWMON = "/sys/class/hwmon/hwmon3"
EVENTS = f"{HWMON}/oc1_event_cnt"
RAPL = "/sys/class/powercap/intel-rapl:0"
Waves = tuple[tuple[Curve, float], ...]  # with their periods in seconds
LATE_S = 0.15  # after which a value that was due counts as a board that stood still
DIGITS = 12  # a file is written in place, so that it is always whole

# One step of the printed power, in milliwatts, as on the real board.
NANO_STEP_MW = 38.0
SHUNT_STEP_MA, BUS_MV = 8.0, 5000

TEGRASTATS = """#!{python}
import sys, time
interval_s = float(sys.argv[sys.argv.index("--interval") + 1]) / 1000
while True:
    time.sleep(interval_s + 0.008)
    with open({source!r}) as file:
        power = int(file.read())
    print("RAM 936/3964MB (lfb 366x4MB) CPU [10%%@102,3%%@102,off,off] EMC_FREQ 0%% GR3D_FREQ 0%% "
          "PLL@24C CPU@27.5C PMIC@50C POM_5V_IN %d/%d POM_5V_GPU 0/0 POM_5V_CPU 119/119"
          % (power, power), flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A family of boards: its sensor, how often that has a new value, and what else is there."""

    sensor: str  # iio, hwmon or rapl
    update_s: float
    files: Mapping[str, str]
    tegrastats_only: bool = False


def _jetson(model: str, compatible: str, release: str) -> dict[str, str]:
    return {
        "/proc/device-tree/model": model,
        "/proc/device-tree/compatible": compatible,
        "/etc/nv_tegra_release": f"# {release}, GCID: 1, BOARD: t, EABI: aarch64",
    }


_NANO = _jetson("NVIDIA Jetson Nano", "nvidia,p3450-0000", "R32 (release), REVISION: 7.4")
_ORIN = _jetson("NVIDIA Orin Nano", "nvidia,p3767-0003", "R36 (release), REVISION: 4.3")
NANO = Kind(
    sensor="iio",
    update_s=0.43,
    files={**_NANO, f"{IIO}/name": "ina3221x", f"{IIO}/rail_name_0": "POM_5V_IN"},
)
NANO_TEGRASTATS = Kind(sensor="iio", update_s=0.43, files=_NANO, tegrastats_only=True)
ORIN_NANO = Kind(
    sensor="hwmon",
    update_s=0.005,
    files={
        **_ORIN,
        f"{HWMON}/name": "ina3221",
        f"{HWMON}/in1_label": "VDD_IN",
        f"{HWMON}/shunt1_resistor": "5000",
    },
)
X86 = Kind(
    sensor="rapl",
    update_s=0.005,
    files={f"{RAPL}/name": "package-0", f"{RAPL}/max_energy_range_uj": "100000000"},
)
WRAP_UJ = 100_000_000  # X86 wraps every few windows


@dataclass
class SimulatedBoard:
    """One board; ``sysroot`` is for the inventory."""

    folder: Path
    kind: Kind
    waves: Waves

    def __post_init__(self) -> None:
        """Lay the files out."""
        for name, content in self.kind.files.items():
            self._path(name).write_text(content + "\n")
        if self.kind.sensor == "iio":
            self._add_tegrastats()
        self._path(EVENTS).write_text(f"{7:0{DIGITS}}\n")

    @property
    def sysroot(self) -> Path:
        return self.folder / "sysroot"

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Have the sensor move until the end of the block."""
        state = self.folder / "curve.json"
        state.write_text(
            json.dumps(
                {
                    "sensor": self.kind.sensor,
                    "update_s": self.kind.update_s,
                    "throttling": str(self._throttling),
                    "stops": str(self._stops),
                    "events": str(self._path(EVENTS)),
                    "paths": [str(path) for path in self.sensor_paths()],
                    "waves": [
                        [curve.bounds.tolist(), curve.first_w.tolist(), curve.last_w.tolist(), s]
                        for curve, s in self.waves
                    ],
                }
            )
        )
        process = subprocess.Popen([sys.executable, __file__, str(state)])
        try:
            deadline = time.monotonic() + 20
            while not all(path.exists() for path in self.sensor_paths()):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            process.wait()

    def throttle(self) -> None:
        """Have the board throttle from now on."""
        self._throttling.touch()

    def cool(self) -> None:
        """Have it throttle no more."""
        self._throttling.unlink(missing_ok=True)

    @property
    def _throttling(self) -> Path:
        return self.folder / "throttling"

    @property
    def _stops(self) -> Path:
        return self.folder / "stops"

    def stood_still(self, begin_s: float, end_s: float) -> bool:
        """Tell whether the board's own process was stopped within the window."""
        stops = self._stops.read_text().splitlines() if self._stops.exists() else []
        spans = (map(float, line.split()) for line in stops)
        return any(begin < end_s and end > begin_s for begin, end in spans)

    def true_j(self, begin_s: float, end_s: float) -> float:
        """Return the exact energy between two instants of the monotonic clock."""
        return joules(self.waves, end_s) - joules(self.waves, begin_s)

    def sensor_paths(self) -> tuple[Path, ...]:
        """Return the files that move."""
        if self.kind.tegrastats_only:
            return (self.folder / "hidden",)
        names = {
            "iio": (f"{IIO}/in_power0_input",),
            "hwmon": (f"{HWMON}/in1_input", f"{HWMON}/curr1_input"),
            "rapl": (f"{RAPL}/energy_uj",),
        }
        return tuple(self._path(name) for name in names[self.kind.sensor])

    def _add_tegrastats(self) -> None:
        program = self._path("/usr/bin/tegrastats")
        source = str(self.sensor_paths()[0])
        program.write_text(TEGRASTATS.format(python=sys.executable, source=source))
        program.chmod(0o755)

    def _path(self, name: str) -> Path:
        path = self.sysroot / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def joules(waves: Waves, t_s: float) -> float:
    """Return the energy from the clock's zero until ``t_s``."""
    total_j = 0.0
    for curve, period_s in waves:
        cycles, phase = divmod(t_s / period_s, 1.0)
        total_j += period_s * (cycles * curve.mean_w + float(curve.work(np.array([phase]))[0]))
    return total_j


def watts(waves: Waves, t_s: float) -> float:
    """Return the power at an instant."""
    return sum(float(curve.power_w(np.array([t_s / s % 1.0]))[0]) for curve, s in waves)


def main(state: str) -> None:
    """Move the sensor files along the curves until killed."""
    plan = json.loads(Path(state).read_text())
    waves = tuple(
        (Curve(bounds=np.array(bounds), first_w=np.array(first), last_w=np.array(last)), period_s)
        for bounds, first, last, period_s in plan["waves"]
    )
    files = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644) for path in plan["paths"]]
    update_s = plan["update_s"]
    before_s = due_s = time.monotonic()
    parent = os.getppid()
    throttling, events, count = Path(plan["throttling"]), os.open(plan["events"], os.O_RDWR), 7
    while os.getppid() == parent:
        due_s += update_s
        time.sleep(max(0.0, due_s - time.monotonic()))
        late_s = time.monotonic() - due_s
        if late_s > LATE_S:
            with open(plan["stops"], "a") as stops:
                stops.write(f"{due_s} {due_s + late_s}\n")
        if late_s > update_s / 2:
            due_s += late_s  # what was missed is not made up for
        if throttling.exists():
            count += 1
            os.pwrite(events, b"%0*d\n" % (DIGITS, count), 0)
        now_s = time.monotonic()
        if plan["sensor"] == "rapl":
            numbers = [joules(waves, now_s) * 1e6 % WRAP_UJ]
        elif plan["sensor"] == "iio":
            work_j = joules(waves, now_s) - joules(waves, before_s)
            mean_mw = 1e3 * work_j / (now_s - before_s)
            numbers = [round(mean_mw / NANO_STEP_MW) * NANO_STEP_MW]
        else:
            power_w = watts(waves, now_s)
            amperes = round(1e6 * power_w / BUS_MV / SHUNT_STEP_MA) * SHUNT_STEP_MA
            numbers = [BUS_MV, amperes]
        for file, number in zip(files, numbers, strict=True):
            os.pwrite(file, b"%0*d\n" % (DIGITS, number), 0)
        before_s = now_s


if __name__ == "__main__":
    main(sys.argv[1])
