"""The power sampler: a process of its own that reads sensor files at random intervals.

It records raw readings and interprets nothing. Intervals are uniform between half and one and a
half of the nominal one: a fixed rate would alias with the training step. Times are midpoints of
the reading, on the board's monotonic clock.
"""

import errno
import os
import random
import signal
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, TextIO

from workloads.jobs import ends_cut

HEADER = "t_s,sensor,raw\n"
FLUSH_S = 2.0
MAX_READING_BYTES = 256


class Channel(NamedTuple):
    """One file to read, and the id under which its readings are kept."""

    id: str
    path: str


class Reader:
    """Reads one sensor file again and again, cheaply.

    In the real /sys the descriptor is kept open; below another root the file may be replaced, so
    it is opened each time.
    """

    def __init__(self, channel: Channel, sysroot: str) -> None:
        """Remember the file; nothing is opened yet."""
        self.id = channel.id
        self._keep = sysroot in ("", "/")
        self._path = sysroot.rstrip("/") + channel.path
        self._fd: Optional[int] = None

    def read(self) -> str:
        """Return the file's text as it is, or ``!`` and the error's name."""
        try:
            fd = self._fd if self._fd is not None else os.open(self._path, os.O_RDONLY)
            self._fd = fd if self._keep else None
            try:
                raw = os.pread(fd, MAX_READING_BYTES, 0)
            finally:
                if not self._keep:
                    os.close(fd)
        except OSError as error:
            return "!" + errno.errorcode.get(error.errno or 0, "EIO")
        return raw.decode("ascii", "replace").strip().replace(",", ";").replace("\n", " ")


def sample(
    readers: List[Reader],
    out: TextIO,
    interval_s: float,
    go_on: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    uniform: Callable[[float, float], float] = random.uniform,
) -> None:
    """Read all channels at random intervals of mean ``interval_s`` while ``go_on()``."""
    flushed = due = clock()
    while go_on():
        for reader in readers:
            before = clock()
            raw = reader.read()
            out.write("%.6f,%s,%s\n" % (0.5 * (before + clock()), reader.id, raw))
        now = clock()
        if now - flushed >= FLUSH_S:
            out.flush()
            flushed = now
        due = max(due + uniform(0.5 * interval_s, 1.5 * interval_s), now)
        sleep(due - now)
    out.flush()


def run_sampler(power: Dict[str, Any], sysroot: str, path: str) -> None:
    """Sample the job's channels into ``path`` until told to stop or the runner is gone."""
    stopping: List[int] = []
    signal.signal(signal.SIGTERM, lambda number, stack: stopping.append(number))
    parent = os.getppid()
    channels = [Channel(channel["id"], channel["path"]) for channel in power["channels"]]
    readers = [Reader(channel, sysroot) for channel in channels]
    cut = ends_cut(path)
    with open(path, "a") as out:
        if out.tell() == 0:
            out.write(HEADER)
        elif cut:
            out.write("\n")
        sample(
            readers,
            out,
            float(power["interval_s"]),
            lambda: not stopping and os.getppid() == parent,
        )
    sys.exit(0)
