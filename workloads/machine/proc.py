"""Memory as ``/proc`` reports it."""

from typing import List, Optional


def rss_bytes(field: str = "VmRSS") -> Optional[int]:
    """Return a field of /proc/self/status in bytes (VmRSS: resident now, VmHWM: at most so far)."""
    return kilobytes("/proc/self/status", field)


def available_bytes() -> Optional[int]:
    """Return the system's available memory in bytes."""
    return kilobytes("/proc/meminfo", "MemAvailable")


def reset_high_water_mark() -> bool:
    """Set VmHWM back to what is resident now; False where the kernel refuses."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return True
    except OSError:
        return False


def kilobytes(path: str, field: str) -> Optional[int]:
    """Return the bytes of a ``Field:  123 kB`` line; None if the file does not have it."""
    try:
        with open(path) as file:
            lines: List[str] = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    return None
