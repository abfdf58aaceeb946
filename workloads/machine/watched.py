"""A child process that sends values as it comes to them, each awaited no longer than agreed.

What may hang or die (the import of torch, a compiler) is left to the child. It starts when it is
told to, so that it can be forked before its parent has threads.
"""

import json
import os
import select
import signal
import sys
import time
import traceback
from typing import Any, Callable

from workloads.machine.deaths import die_with

Send = Callable[[Any], None]


class Late(Exception):
    """The child has not sent a value in time."""


class Ended(Exception):
    """The child has ended and sends no more values."""

    def __init__(self, wait_status: int) -> None:
        """Keep how it ended."""
        super().__init__(wait_status)
        self.wait_status = wait_status


class Watched:
    """A forked child that does some work in a process group of its own."""

    def __init__(self, work: Callable[[Send], None]) -> None:
        """Fork it; ``work`` gets a function that sends one value, which has to be JSON."""
        parent = os.getpid()
        waiting, self._starter = os.pipe()
        self._values, sender = os.pipe()
        self._received = b""
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._starter)
            os.close(self._values)
            _work(work, waiting, sender, parent)
        os.close(waiting)
        os.close(sender)

    def start(self) -> None:
        """Let the child begin."""
        os.write(self._starter, b"!")

    def next(self, deadline_s: float) -> Any:
        """Return the next value, which may come until ``time.monotonic()`` is ``deadline_s``.

        Raises:
            Late: it has not come.
            Ended: the child has ended without it.
        """
        while b"\n" not in self._received:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self._values], [], [], left_s)[0]:
                raise Late
            chunk = os.read(self._values, 65536)
            if not chunk:
                raise Ended(self._reap())
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line.decode("ascii"))

    def end(self) -> None:
        """Kill the child and all that it has started, and reap it."""
        os.close(self._starter)
        os.close(self._values)
        if self._pid:
            try:
                os.killpg(self._pid, signal.SIGKILL)
            except OSError:  # it has not made its group yet
                os.kill(self._pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> int:
        _, wait_status = os.waitpid(self._pid, 0)
        self._pid = 0
        return wait_status


def _work(work: Callable[[Send], None], waiting: int, sender: int, parent: int) -> None:
    """Do the work once it may begin; never returns."""

    def send(value: Any) -> None:
        os.write(sender, json.dumps(value).encode("ascii") + b"\n")

    status = 1
    try:
        os.setpgid(0, 0)
        die_with(parent)
        if os.read(waiting, 1):
            work(send)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(status)
