"""The machine's state before and after a block: temperatures, clocks, throttling, memory, load.

Read straight from /sys and /proc (below ``sysroot``); one file that cannot be read never stops
the scan, and what cannot be read is None, never 0.
"""

import glob
import os
import time
from typing import Any, Dict, List, Optional

from workloads.machine import locks, programs
from workloads.machine.proc import available_bytes

PROGRAM_TIMEOUT_S = 2.0
MAX_FILE_BYTES = 4096


def read_text(path: str) -> Optional[str]:
    """Return a small file's text without blanks around it; None if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(fd, MAX_FILE_BYTES).decode("utf-8", "replace").strip()
    except OSError:  # a gated thermal zone answers EAGAIN, a switched-off channel ENODATA
        return None
    finally:
        os.close(fd)


def read_number(path: str) -> Optional[float]:
    """Return the number in a file; None if it does not hold one."""
    text = read_text(path)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def machine_state(sysroot: str = "/") -> Dict[str, Any]:
    """Return the state as it enters the journal (``state_before``, ``state_after``)."""
    root = sysroot.rstrip("/")
    return {
        "t_s": time.monotonic(),
        "temperatures_c": temperatures_c(root),
        "boot_id": locks.boot_id(),
        "cpu_mhz": cpu_mhz(root),
        "cpu_max_mhz": cpu_mhz(root, "scaling_max_freq"),
        "cpus_online": read_text(root + "/sys/devices/system/cpu/online"),
        "governor": read_text(root + "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "throttle": throttle_counters(root),
        "get_throttled": _output_of("vcgencmd", "get_throttled", sysroot),
        "power_mode": _output_of("nvpmodel", "-q", sysroot),
        "fan": fans(root),
        "mem_available_bytes": available_bytes(),
        "load_1m": os.getloadavg()[0],
    }


def temperatures_c(root: str) -> Dict[str, Optional[float]]:
    """Return degrees Celsius by the thermal zone's type; zone numbers differ from boot to boot."""
    temperatures: Dict[str, Optional[float]] = {}
    for zone in sorted(glob.glob(glob.escape(root) + "/sys/class/thermal/thermal_zone*")):
        name = read_text(zone + "/type") or os.path.basename(zone)
        if name in temperatures:  # several zones of one type differ by this boot's number
            name += "-" + os.path.basename(zone)
        millidegrees = read_number(zone + "/temp")
        if millidegrees is None or millidegrees <= -200000:  # of a zone that is switched off
            temperatures[name] = None
        else:
            temperatures[name] = millidegrees / 1000.0
    return temperatures


def cpu_mhz(root: str, figure: str = "scaling_cur_freq") -> List[Optional[float]]:
    """Return each processor's clock in MHz, the present one or the limit set, in their order."""

    def number_of(path: str) -> int:
        return int(path.split("/cpu/cpu")[1].split("/")[0])

    pattern = glob.escape(root) + "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/" + figure
    clocks: List[Optional[float]] = []
    for path in sorted(glob.glob(pattern), key=number_of):
        kilohertz = read_number(path)
        clocks.append(None if kilohertz is None else kilohertz / 1000.0)
    return clocks


def throttle_counters(root: str) -> Dict[str, float]:
    """Return figures that show throttling: one that grew over a block is evidence.

    These are x86 thermal_throttle counters, Jetson over-current event counters, throttle alerts and
    balancing devices, and alarms of current monitors and of a Raspberry Pi's supply.
    """
    counters: Dict[str, float] = {}
    base = glob.escape(root)
    for path in glob.glob(base + "/sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count"):
        parts = path.split("/")
        _add(counters, "%s.%s" % (parts[-3], parts[-1]), path)
    for path in glob.glob(base + "/sys/class/hwmon/hwmon*/oc*_event_cnt"):
        _add(counters, os.path.basename(path), path)
    for alarm in ("curr*_crit_alarm", "curr*_max_alarm", "in0_lcrit_alarm"):
        for path in glob.glob(base + "/sys/class/hwmon/hwmon*/" + alarm):
            _add(counters, "/".join(path.split("/")[-2:]), path)
    for device in glob.glob(base + "/sys/class/thermal/cooling_device*"):
        kind = read_text(device + "/type") or ""
        if kind.endswith("throttle-alert") or "balanced" in kind:
            _add(counters, kind, device + "/cur_state")
    return counters


def fans(root: str) -> Dict[str, float]:
    """Return the fans' settings (pwm) and speeds, as the kernel reports them."""
    figures: Dict[str, float] = {}
    base = glob.escape(root) + "/sys/class/hwmon/hwmon*/"
    for pattern in ("pwm[0-9]", "fan[0-9]_input"):
        for path in sorted(glob.glob(base + pattern)):
            _add(figures, "/".join(path.split("/")[-2:]), path)
    return figures


def _output_of(name: str, argument: str, sysroot: str) -> Optional[str]:
    """Return the output of a program of the board; None if the board does not have it."""
    path = programs.find(name, sysroot)
    return programs.output([path, argument], PROGRAM_TIMEOUT_S).strip() if path else None


def _add(figures: Dict[str, float], name: str, path: str) -> None:
    """Add the number in a file, if it can be read."""
    value = read_number(path)
    if value is not None:
        figures[name] = value
