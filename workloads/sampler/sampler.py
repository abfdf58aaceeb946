"""The power sampler: a process of its own that reads the job's sensors and interprets nothing.

It writes rows ``t_s,sensor,raw`` as CSV: ``sensor`` is a channel's id where the reading is one
number, and the sensor's own id where it is a line of text, which is quoted if it has commas.
"""

import contextlib
import csv
import os
import signal
import sys
import threading
import time
from typing import Any, Dict, TextIO

from workloads.machine.processors import processors
from workloads.runner.jobs import ends_cut
from workloads.sampler.sensors import KINDS

HEADER = "t_s,sensor,raw\n"
FLUSH_S = 2.0
LOOK_S = 0.5
END_S = 3.0


class Log:
    """The file of readings: all sensors' threads write to it, flushed every few seconds."""

    def __init__(self, out: TextIO) -> None:
        """Write to an open file."""
        self._out = out
        self._rows = csv.writer(out, lineterminator="\n")
        self._lock = threading.Lock()
        self._flushed = time.monotonic()

    def write(self, t_s: float, sensor: str, raw: str) -> None:
        """Add one reading."""
        text = raw.replace("\n", " ").replace("\r", " ").replace("\0", " ")
        with self._lock:
            self._rows.writerow(("%.6f" % t_s, sensor, text))
            if t_s - self._flushed >= FLUSH_S:
                self._out.flush()
                self._flushed = t_s


def run_sampler(
    power: Dict[str, Any], sysroot: str, path: str, stretch: float = 1.0, threads: int = 0
) -> None:
    """Append readings of the job's sensors to a file until SIGTERM comes or the runner is gone.

    Args:
        power: the job's power, ``{"sensors": [...]}``.
        sysroot: the root of the sensor files' paths.
        path: the file.
        stretch: a factor on the sensors' intervals.
        threads: how many processors the blocks take.
    """
    _keep_apart(threads)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, stack: stop.set())
    parent = os.getppid()
    specs = []
    for spec in power["sensors"]:
        specs.append(dict(spec, interval_s=float(spec["interval_s"]) * stretch))
    with open(path, "a", encoding="utf-8", errors="replace", newline="") as out:
        _begin(out)
        log = Log(out)
        sensors = [make_sensor(spec, sysroot) for spec in specs]
        workers = [
            threading.Thread(target=_guarded, args=(sensor, spec, log, stop), daemon=True)
            for sensor, spec in zip(sensors, specs)
        ]
        for worker in workers:
            worker.start()
        while not stop.wait(LOOK_S):
            if os.getppid() != parent:
                stop.set()
        for sensor in sensors:
            sensor.close()
        deadline = time.monotonic() + END_S
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
    sys.exit(0)


def _keep_apart(threads: int) -> None:
    """Use only processors that the blocks do not, if the machine has any.

    On a shared one the sampler would be woken when the block pauses, and so always read at the same
    phase of the work. Where blocks take all, a higher priority helps, which only root may have.
    """
    others = set(os.sched_getaffinity(0)) - set(processors()[:threads])
    with contextlib.suppress(OSError):
        if others:
            os.sched_setaffinity(0, others)
        else:
            os.nice(-10)


def _guarded(sensor: Any, spec: Dict[str, Any], log: Log, stop: threading.Event) -> None:
    """Run one sensor; an error that ends it becomes its last reading, and the others go on."""
    try:
        sensor.run(log.write, stop)
    except Exception as error:
        reading = "!%s: %s" % (type(error).__name__, error)
        log.write(time.monotonic(), str(spec["id"]), reading)


def _begin(out: TextIO) -> None:
    """Write the header into a new file; in an old one, end a line that a power loss has cut."""
    if out.tell() == 0:
        out.write(HEADER)
        return
    if ends_cut(out.name):
        out.write("\n")


def make_sensor(spec: Dict[str, Any], sysroot: str) -> Any:
    """Return the sensor of one entry of the job; third-party packages are imported only here.

    Raises:
        KeyError: the kind is unknown.
    """
    kind = spec["kind"]
    if kind in KINDS:
        return KINDS[kind](spec, sysroot)
    from workloads.sampler import packages

    return packages.KINDS[kind](spec, sysroot)
