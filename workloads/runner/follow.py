"""Follow a job's journal without disturbing the measurement."""

import os
import time
from typing import Any, Callable

from workloads.machine import locks
from workloads.runner.jobs import JobFolder, finished_orders, tail

POLL_S = 0.08


def follow(path: str, offset: int, write: Callable[[Any], None]) -> None:
    """Write every journal line from ``offset`` on as a record, until the runner has ended.

    Waits on a lock that the runner holds while it measures, so that this process sleeps through
    every window. Ends with ``{"type": "end", "complete": bool, "log": ...}``.
    """
    folder = JobFolder(path)
    quiet = locks.Lock(folder.quiet_lock)
    while True:
        alive = locks.is_held(folder.runner_lock)
        offset = _send_lines(folder.journal, offset, write)
        if not alive:
            break
        quiet.wait()
        time.sleep(0.005)
        offset = _send_lines(folder.journal, offset, write)
        time.sleep(POLL_S)
    planned = {block.order for block in folder.read_job().blocks}
    missing = planned - finished_orders(folder.journal)
    write({"type": "end", "complete": not missing, "log": tail(folder.runner_log)})


def _send_lines(journal: str, offset: int, write: Callable[[Any], None]) -> int:
    if not os.path.exists(journal):
        return offset
    with open(journal, "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            write({"type": "journal", "offset": offset, "line": line.decode("utf-8", "replace")})
    return offset
