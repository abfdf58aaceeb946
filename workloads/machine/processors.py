"""Which processors a block may take, and what distinguishes one kind of processor from another."""

import os
import platform
from typing import Dict, List, Optional

from workloads.machine.state import read_text

_CPU_FIELDS = ("model name", "flags", "Features", "CPU implementer", "CPU part")

# What Linux tells of an ARM core is the number of its maker and the maker's number of the part.
ARM_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD49): "Neoverse N2",
    (0x41, 0xD4F): "Neoverse V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD83): "Neoverse V3AE",
    (0x4E, 0x000): "Denver",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}


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
    lines = {line.strip() for line in _cpuinfo() if line.startswith(_CPU_FIELDS)}
    return "\n".join([platform.machine(), platform.processor(), *sorted(lines)])


def cpu_model() -> Optional[str]:
    """Return how the kernel calls the first processor; of an ARM core it has only numbers.

    Calibrations know a machine by this text, so it stays what it is; ``cpu_name`` is for people.
    """
    fields: Dict[str, str] = {}
    for line in _cpuinfo():
        name, value = _field(line)
        fields.setdefault(name, value)
    if fields.get("model name"):
        return fields["model name"]
    if not fields.get("CPU part"):
        return None
    return "ARM implementer %s part %s" % (fields.get("CPU implementer"), fields["CPU part"])


def cpu_name() -> Optional[str]:
    """Return the names of the machine's ARM cores, ``4 x Cortex-A57 + 2 x Denver 2``.

    None on other machines, and where a core is in no table.
    """
    counts: Dict[str, int] = {}
    maker = None
    for line in _cpuinfo():
        name, value = _field(line)
        if name == "CPU implementer":
            maker = _number(value)
        elif name == "CPU part":
            core = ARM_CORES.get((maker, _number(value)))  # type: ignore[arg-type]
            if core is None:
                return None
            counts[core] = counts.get(core, 0) + 1
    return " + ".join("%d x %s" % (counts[core], core) for core in counts) or None


def _cpuinfo() -> List[str]:
    try:
        with open("/proc/cpuinfo", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _field(line: str) -> List[str]:
    name, _, value = line.partition(":")
    return [name.strip(), value.strip()]


def _number(text: str) -> Optional[int]:
    try:
        return int(text, 16)
    except ValueError:
        return None
