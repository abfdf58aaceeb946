"""What the sampler can read: sensor files, programs that print, programs run repeatedly, and NVML.

A sensor writes raw readings with the time they were read, on the board's monotonic clock, and
interprets nothing. A failure is a reading that begins with ``!``, so that the controller can say
why power was not measured. Each sensor runs in a thread of its own.
"""

import errno
import os
import random
import select
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from workloads.machine import nvml, programs
from workloads.spec.shell import unseen

MAX_READING_BYTES = 256
MAX_LINE_BYTES = 8192
REPEAT_TIMEOUT_S = 5.0
POLL_S = 0.25
CLOCK = time.monotonic

Write = Callable[[float, str, str], None]  # t_s, channel or sensor, raw text


class Channel(NamedTuple):
    """One quantity to read, and the id under which its readings are kept."""

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
            if self._fd is None:
                self._fd = os.open(self._path, os.O_RDONLY)
            try:
                raw = os.pread(self._fd, MAX_READING_BYTES, 0)
            finally:
                if not self._keep:
                    os.close(self._fd)
                    self._fd = None
        except OSError as error:
            return "!" + errno.errorcode.get(error.errno or 0, "EIO")
        return raw.decode("utf-8", "replace").strip()


def read_each(readers: List[Reader], write: Write, clock: Callable[[], float] = CLOCK) -> None:
    """Read every file once, each with the middle of the time that its reading took."""
    for reader in readers:
        before = clock()
        raw = reader.read()
        write(0.5 * (before + clock()), reader.id, raw)


class Files:
    """Sensor files, read one after the other at random intervals."""

    def __init__(self, spec: Dict[str, Any], sysroot: str) -> None:
        """Prepare the files of the job's sensor; nothing is opened yet."""
        self._interval_s = float(spec["interval_s"])
        self._readers = [Reader(channel, sysroot) for channel in channels_of(spec)]

    def run(self, write: Write, stop: threading.Event) -> None:
        """Read until told to stop."""
        poll(lambda: read_each(self._readers, write), self._interval_s, stop)

    def close(self) -> None:
        """Do nothing: the descriptors end with the process."""


class Lines:
    """A program that prints continuously, such as tegrastats: every line is stamped on arrival."""

    def __init__(self, spec: Dict[str, Any], sysroot: str) -> None:
        """Remember how it is started."""
        self._id = str(spec["id"])
        self._argv = [str(word) for word in spec["argv"]]
        self._child: Optional[Any] = None
        self._rest = b""  # of a line that has not arrived whole

    def run(self, write: Write, stop: threading.Event) -> None:
        """Start the program and write its lines until told to stop or it ends."""
        argv = self._argv
        variables: Dict[str, str] = {}
        if len(argv) == 3 and argv[:2] == ["sh", "-c"]:
            argv, variables = unseen(argv[2])
        try:
            self._child = programs.start(argv, variables=variables)
        except OSError as error:
            write(CLOCK(), self._id, "!%s: %s" % (self._argv[0], error.strerror or error))
            return
        assert self._child.stdout is not None
        with self._child.stdout as pipe:
            while not stop.is_set():
                if not select.select([pipe], [], [], POLL_S)[0]:
                    continue
                if not self._copy(pipe.fileno(), write):
                    break
        self.close()
        if not stop.is_set():
            reading = "!%s ended by itself with status %s" % (self._argv[0], self._child.returncode)
            write(CLOCK(), self._id, reading)

    def close(self) -> None:
        """End the program, by its own pid."""
        if self._child is not None:
            programs.end(self._child)

    def _copy(self, fd: int, write: Write) -> bool:
        """Write the lines that have arrived whole, stamped now; return False at the end."""
        chunk = os.read(fd, 65536)
        now = CLOCK()
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()[-MAX_LINE_BYTES:]
        for line in lines:
            write(now, self._id, line[:MAX_LINE_BYTES].decode("utf-8", "replace").strip("\r"))
        return bool(chunk)


class Repeated:
    """A program that is run for every reading, such as vcgencmd; one row for each line."""

    def __init__(self, spec: Dict[str, Any], sysroot: str) -> None:
        """Remember how it is started."""
        self._id = str(spec["id"])
        self._argv = [str(word) for word in spec["argv"]]
        self._interval_s = float(spec["interval_s"])

    def run(self, write: Write, stop: threading.Event) -> None:
        """Run the program repeatedly until told to stop; times are the midpoints of its runs."""

        def read() -> None:
            before = CLOCK()
            text = programs.output(self._argv, REPEAT_TIMEOUT_S)
            middle = 0.5 * (before + CLOCK())
            for line in text.splitlines():
                if line.strip():
                    write(middle, self._id, line)

        poll(read, self._interval_s, stop)

    def close(self) -> None:
        """Do nothing: no run of the program outlives its reading."""


class Nvml:
    """The NVIDIA driver's own readings of a card, through its library."""

    def __init__(
        self, spec: Dict[str, Any], sysroot: str, load: Callable[[], Any] = nvml.Library
    ) -> None:
        """Remember which card and which quantities; nothing is loaded yet."""
        self._load = load
        self._id = str(spec["id"])
        self._interval_s = float(spec["interval_s"])
        self._channels = channels_of(spec)

    def run(self, write: Write, stop: threading.Event) -> None:
        """Read every quantity until told to stop; one that fails does not stop the others."""
        try:
            library = self._load()
        except nvml.NvmlError as error:
            write(CLOCK(), self._id, "!%s" % error)
            return

        def read_all() -> None:
            for channel in self._channels:
                _, index, quantity = channel.path.split(":")
                before = CLOCK()
                try:
                    raw = str(library.read(int(index), quantity))
                except nvml.NvmlError as error:
                    raw = "!%s" % error
                write(0.5 * (before + CLOCK()), channel.id, raw)

        poll(read_all, self._interval_s, stop)
        library.close()

    def close(self) -> None:
        """Do nothing: the library is closed by the thread that uses it."""


KINDS: Dict[str, Any] = {"files": Files, "lines": Lines, "repeated": Repeated, "nvml": Nvml}


def channels_of(spec: Dict[str, Any]) -> List[Channel]:
    """Return the channels of one entry of the job."""
    return [Channel(str(item["id"]), str(item["path"])) for item in spec["channels"]]


def poll(
    read: Callable[[], None],
    interval_s: float,
    stop: threading.Event,
    clock: Callable[[], float] = CLOCK,
    uniform: Callable[[float, float], float] = random.uniform,
) -> None:
    """Call ``read`` at random intervals of mean ``interval_s`` until told to stop.

    Intervals are uniform between half and one and a half of the mean: a fixed rate would alias
    with the training step. A read that is late is not made up for.
    """
    due = clock()
    while not stop.is_set():
        read()
        now = clock()
        due = max(due + uniform(0.5 * interval_s, 1.5 * interval_s), now)
        stop.wait(due - now)
