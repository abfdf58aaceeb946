"""Which processors a block may take."""

import os
from typing import List

from workloads.state import read_text


def processors() -> List[int]:
    """Return one processor per physical core, of those this process may use, in order."""
    allowed = sorted(os.sched_getaffinity(0))
    seen = set()
    chosen: List[int] = []
    for cpu in allowed:
        siblings = read_text(
            "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list" % cpu
        ) or str(cpu)
        if siblings not in seen:
            seen.add(siblings)
            chosen.append(cpu)
    return chosen or allowed
