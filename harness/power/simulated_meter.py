"""A power meter for a machine that has none: prints watts that follow the processor's load.

It makes no claim on any real machine: 2 W at rest and 3 W for each busy core, every 10 to 30 ms.
So gates and reports with energy can be tried anywhere. `gfbench init --simulated` writes an
inventory in which this machine has it. The standard library only: it runs as a file of its own.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

IDLE_W, CORE_W = 2.0, 3.0
INTERVAL_S = (0.01, 0.03)  # at random, so that readings never run in step with iterations
WINDOW_S = 0.25  # /proc/stat counts in steps of 10 ms
STAT = Path("/proc/stat")


def watts(busy_s: float, elapsed_s: float) -> float:
    """Return the mean power while the cores together were busy for so long."""
    return IDLE_W + CORE_W * busy_s / elapsed_s


def busy_s(stat: str, ticks_per_s: int) -> float:
    """Return the seconds that all cores have been busy since boot, by /proc/stat's first line."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, stat.split(None, 8)[1:8])
    return (user + nice + system + irq + softirq) / ticks_per_s


def readings(stat: Path = STAT) -> Iterator[float]:
    """Yield the mean power over the last WINDOW_S, for ever."""
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    seen: deque[tuple[float, float]] = deque()
    while True:
        seen.append((time.monotonic(), busy_s(stat.read_text(encoding="utf-8"), ticks_per_s)))
        while len(seen) > 2 and seen[1][0] < seen[-1][0] - WINDOW_S:
            seen.popleft()
        (begin_s, before), (end_s, now) = seen[0], seen[-1]
        if end_s > begin_s:
            yield watts(now - before, end_s - begin_s)
        time.sleep(random.uniform(*INTERVAL_S))


def main() -> None:
    """Print watts until nobody reads them any more."""
    try:
        for power_w in readings():
            print(f"{power_w:.3f}", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
