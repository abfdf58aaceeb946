"""Which processors a block may take, and what distinguishes one kind of processor from another."""

import os
import platform
from typing import List

from workloads.machine.state import read_text

_CPU_FIELDS = ("model name", "flags", "Features", "CPU implementer", "CPU part")


def processors() -> List[int]:
    """Return one processor per physical core, of those this process may use, in order."""
    allowed = sorted(os.sched_getaffinity(0))
    seen = set()
    chosen: List[int] = []
    for cpu in allowed:
        path = "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list" % cpu
        siblings = read_text(path) or str(cpu)
        if siblings not in seen:
            seen.add(siblings)
            chosen.append(cpu)
    return chosen or allowed


def processor() -> str:
    """Return a text that differs between processors that cannot run each other's native code."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = {line.strip() for line in file if line.startswith(_CPU_FIELDS)}
    except OSError:
        lines = set()
    return "\n".join([platform.machine(), platform.processor(), *sorted(lines)])
