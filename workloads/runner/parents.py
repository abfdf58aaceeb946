"""Parents of another payload's blocks: processes that have imported it and torch, and run nothing.

The runner itself can fork only blocks of its own payload. For each other payload it keeps one such
parent. This writes 0 when it is ready. For each line "order address" that it reads, it forks a
child that measures this block, and writes the child's process id and then its wait status. All that
it needs of its payload is the command ``block``, so that any revision will do.
"""

import select
import signal
import subprocess
import sys
from typing import Callable, Optional

from workloads.runner.handover import VARIABLE
from workloads.runner.jobs import JobFolder

READY_TIMEOUT_S = 300.0  # torch from an SD card takes its time

# Runs with the other payload first on the path. Order and address in, pid and wait status out.
PROGRAM = """
import ctypes, os, sys

payload, folder, log, variable = sys.argv[1:]
sys.argv[:] = [payload]
sys.path[0] = payload  # it is '' otherwise
try:
    from workloads.measure import block
except ImportError:  # a payload of a revision whose modules lay side by side
    from workloads import block
from workloads.__main__ import main

getattr(block, "load", lambda: __import__("torch"))()
prctl = ctypes.CDLL(None).prctl
answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr


def child(order, address, parent):
    os.environ[variable] = address
    os.setpgid(0, 0)
    prctl(1, 9, 0, 0, 0)  # die with the parent, which dies with the runner
    if os.getppid() != parent:
        os._exit(1)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return main(["block", folder, order])


def say(number):
    answers.write("%d\\n" % number)
    answers.flush()


say(0)
for line in iter(sys.stdin.readline, ""):
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = child(*line.split(), parent=parent)
        except BaseException:
            __import__("traceback").print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    say(pid)
    say(os.waitpid(pid, 0)[1])
"""


class Parent:
    """One payload's parent process."""

    def __init__(
        self, payload: str, folder: JobFolder, enter: Callable[[], None], result: int
    ) -> None:
        """Start it and wait until it has imported what it needs, or has failed to.

        Args:
            payload: the archive.
            folder: the job's.
            enter: called in the new process before anything else.
            result: the descriptor that its children hand their results to.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, payload, folder.path, folder.block_log, VARIABLE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            preexec_fn=enter,
            pass_fds=(result,),
        )
        assert self._process.stdout is not None
        ready = select.select([self._process.stdout], [], [], READY_TIMEOUT_S)[0]
        if not ready or self._number() is None:
            self.end()

    def fork(self, order: int, address: str) -> Optional[int]:
        """Fork a block's process and return its id; None where the payload cannot be imported."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"%d %s\n" % (order, address.encode("ascii")))
            return self._number()
        except (OSError, ValueError):  # it has ended; ValueError: we have ended it
            return None

    def wait(self) -> int:
        """Return the wait status of the child, killed if its parent is gone."""
        status = self._number()
        return signal.SIGKILL if status is None else status

    def end(self) -> None:
        """End it and reap it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _number(self) -> Optional[int]:
        """Return the next number that it writes; None where it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # tried again after a signal's handler
        return int(line) if line.endswith(b"\n") else None
