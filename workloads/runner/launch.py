"""Start the runner detached from the connection, and stop it again.

The runner takes two locks before it answers: its folder's, so that it never runs twice, and the
machine's lease, so that two runs never measure at once.
"""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from typing import Any, Dict

from workloads.machine import locks
from workloads.runner.jobs import JobFolder, tail
from workloads.runner.runner import Runner
from workloads.spec.messages import dump

ASKING_S = 0.5  # a follower that looks whether a runner lives holds its lock for an instant


def launch(path: str) -> Dict[str, Any]:
    """Start the runner detached from this process.

    Returns ``{"type": "launch", "state": "started" | "running" | "busy" | "failed", ...}``;
    ``busy`` carries the note of the run that holds the machine, ``failed`` the end of the log.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _detached(path, send)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    if not answer:
        return {"type": "launch", "state": "failed", "log": tail(JobFolder(path).runner_log)}
    return dict(json.loads(answer.decode("ascii")), type="launch")


def stop(path: str, timeout_s: float = 10.0) -> bool:
    """Ask the runner of this folder to stop; True once it is gone."""
    folder = JobFolder(path)
    deadline = time.monotonic() + timeout_s
    while locks.is_held(folder.runner_lock):
        lock = locks.Lock(folder.runner_lock)
        pid = lock.read_note().get("pid")
        lock.close()
        if isinstance(pid, int) and pid > 1:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _detached(path: str, send: int) -> None:
    """Become a daemon, take the locks, answer through the pipe, run; never returns."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        _close_all_but(send)
        folder = JobFolder(path)
        log = os.open(folder.runner_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        answer = _take_locks(folder)
        os.write(send, dump({key: answer[key] for key in answer if key != "locks"}).encode("ascii"))
        os.close(send)
        if answer["state"] == "started":
            _, lease = answer["locks"]
            try:
                Runner(folder).run()
            finally:
                lease.remove()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _close_all_but(kept: int) -> None:
    """Close what was inherited: a connection's channel would stay open with its descriptor."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd != kept:
            with contextlib.suppress(OSError):
                os.close(fd)


def _take_locks(folder: JobFolder) -> Dict[str, Any]:
    """Take the runner's lock and the machine's lease; they are held until the process ends."""
    own = locks.Lock(folder.runner_lock)
    if not own.acquire(timeout_s=ASKING_S):
        return {"state": "running"}
    own.write_note({"pid": os.getpid()})  # the last runner's id may be another process's by now
    lease = locks.Lease(locks.lease_path())
    if not lease.acquire():
        return {"state": "busy", "holder": lease.read_note()}
    job = folder.read_job()
    note = {"pid": os.getpid(), "run_id": job.run_id, "target": job.target, "since_s": time.time()}
    own.write_note(note)
    lease.write_note(note)
    return {"state": "started", "pid": os.getpid(), "locks": (own, lease)}
