"""What this machine is and which sensors it has: facts only, interpreted by the controller."""

import errno
import getpass
import glob
import os
import platform
import re
import sys
import time
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from workloads.machine import locks, nvml, programs
from workloads.machine.causes import (
    ending,
    is_noexec,
    remedy_of_ending,
    remedy_of_error,
    with_remedy,
)
from workloads.machine.folders import work_folder
from workloads.machine.proc import available_bytes, kilobytes
from workloads.machine.processors import cpu_model, cpu_name, processors
from workloads.machine.state import cpu_mhz, machine_state, read_number, read_text
from workloads.machine.watched import Ended, Late, Send, Watched
from workloads.spec.messages import SCHEMA

MAX_FILES = 4000
MAX_FILE_BYTES = 2048
PROGRAM_TIMEOUT_S = 2.5
TEGRASTATS_LINES = 3
PROGRAMS = (
    "tegrastats",
    "vcgencmd",
    "nvpmodel",
    "jetson_clocks",
    "nvidia-smi",
    "cc",
    "sudo",
)
DEVICES = ("cpu", "cuda")

# Files of sensors and of the machine's state, below the sysroot. ``in_power*`` of the old Jetson
# driver is listed whole: the controller knows which of its files are readings.
SENSOR_FILES = (
    "/sys/class/hwmon/hwmon*/name",
    "/sys/class/hwmon/hwmon*/label",
    "/sys/class/hwmon/hwmon*/*_label",
    "/sys/class/hwmon/hwmon*/in*_input",
    "/sys/class/hwmon/hwmon*/in*_enable",
    "/sys/class/hwmon/hwmon*/curr*_input",
    "/sys/class/hwmon/hwmon*/curr*_alarm",
    "/sys/class/hwmon/hwmon*/power*_input",
    "/sys/class/hwmon/hwmon*/shunt*_resistor",
    "/sys/class/hwmon/hwmon*/update_interval",
    "/sys/class/hwmon/hwmon*/samples",
    "/sys/class/hwmon/hwmon*/oc*_event_cnt",
    "/sys/class/hwmon/hwmon*/oc*_throt_en",
    "/sys/class/hwmon/hwmon*/in0_lcrit_alarm",
    "/sys/class/hwmon/hwmon*/temp*_input",
    "/sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count",
    "/sys/class/hwmon/hwmon*/pwm[0-9]",
    "/sys/class/hwmon/hwmon*/fan*_input",
    "/sys/bus/i2c/drivers/ina3221*/*/iio*/rail_name_*",
    "/sys/bus/i2c/drivers/ina3221*/*/iio*/in_voltage*_input",
    "/sys/bus/i2c/drivers/ina3221*/*/iio*/in_current*_input",
    "/sys/bus/i2c/drivers/ina3221*/*/iio*/in_power*_input",
    "/sys/devices/*.i2c/i2c-*/*-004*/iio*/rail_name_*",
    "/sys/devices/*.i2c/i2c-*/*-004*/iio*/in_*_input",
    "/sys/devices/platform/*.i2c/i2c-*/*-004*/iio*/rail_name_*",
    "/sys/devices/platform/*.i2c/i2c-*/*-004*/iio*/in_*_input",
    "/sys/devices/50000000.host1x/*.i2c/i2c-*/*-004*/iio*/rail_name_*",
    "/sys/devices/50000000.host1x/*.i2c/i2c-*/*-004*/iio*/in_*_input",
    "/sys/class/powercap/*/name",
    "/sys/class/powercap/*/energy_uj",
    "/sys/class/powercap/*/max_energy_range_uj",
    "/sys/class/powercap/*/enabled",
    "/sys/class/thermal/thermal_zone*/type",
    "/sys/class/thermal/thermal_zone*/temp",
    "/sys/class/thermal/cooling_device*/type",
    "/sys/class/thermal/cooling_device*/cur_state",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_min_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "/sys/class/devfreq/*gpu*/cur_freq",
    "/sys/class/devfreq/*gpu*/max_freq",
    "/sys/class/devfreq/*gpu*/min_freq",
    "/sys/kernel/debug/bpmp/debug/clk/emc/rate",
    "/proc/device-tree/model",
    "/proc/device-tree/compatible",
    "/proc/swaps",
    "/proc/loadavg",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/vm/swappiness",
    "/etc/nv_tegra_release",
)
# Links that tell sensors of one kind apart: an I2C device's folder is named bus-address.
SENSOR_LINKS = ("/sys/class/hwmon/hwmon*/device",)


class Deadlines(NamedTuple):
    """How long importing torch may take, and then compiling and trying all kernels."""

    import_s: float = 240.0  # torch from an SD card takes its time
    compile_s: float = 300.0


DEADLINES = Deadlines()


def probe(
    sysroot: str = "/",
    package: Optional[str] = None,
    kernels: Sequence[str] = (),
    deadlines: Deadlines = DEADLINES,
) -> Dict[str, Any]:
    """Return the machine's facts as they enter probe.json; files are read below ``sysroot``.

    Args:
        sysroot: the root of sensor files and programs.
        package: jtop, pyrapl or pynvml, to report what it offers; None for none of them.
        kernels: names of kernels to try on every device; what they need is compiled, and kept.
        deadlines: how long torch and the kernels may take.
    """
    tries = [(name, device) for name in kernels for device in DEVICES]
    child = Watched(lambda send: _try_torch(tries, send))  # forked before a package has threads
    try:
        facts = _machine(sysroot, package)
        child.start()
        facts.update(_torch_of(child, deadlines.import_s))
        facts["kernels"] = {}
        if facts["torch"]:
            facts["kernels"] = _kernel_reasons(child, tries, deadlines.compile_s)
        return facts
    finally:
        child.end()


def _machine(sysroot: str, package: Optional[str]) -> Dict[str, Any]:
    """Return what the machine is, without torch."""
    files = sensor_files(sysroot)
    paths = {name: programs.find(name, sysroot) for name in PROGRAMS}
    compatible = files.get("/proc/device-tree/compatible", "").split("\0")
    return {
        "schema": SCHEMA,
        "type": "probe",
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": platform.machine(),
        "kernel": platform.release(),
        "os": _os_name(),
        "libc": "-".join(platform.libc_ver()),
        "hostname": platform.node(),
        "boot_id": locks.boot_id(),
        "model": _model(files),
        "compatible": [item for item in compatible if item],
        "l4t": _l4t(files.get("/etc/nv_tegra_release")),
        "cpu": _cpu(sysroot),
        "memory": _memory(),
        "user": {"uid": os.getuid(), "name": _user_name()},
        "workdir": _work_folder(),
        "sysroot": sysroot,
        "files": files,
        "programs": paths,
        "outputs": outputs(paths),
        "nvml": nvml.facts(),
        "package": _package(package),
        "clock": {"monotonic_s": time.monotonic(), "wall_s": time.time()},
        "threads": len(processors()),
        "state": machine_state(sysroot),
    }


def _work_folder() -> Optional[Dict[str, Any]]:
    folder = work_folder()
    return {"path": folder, "noexec": is_noexec(folder)} if folder else None


def sensor_files(sysroot: str) -> Dict[str, str]:
    """Return path -> content of all sensor and state files; ``!EACCES`` is a read error.

    A link's content is the name of the folder that it leads to.
    """
    root = sysroot.rstrip("/")
    contents: Dict[str, str] = {}
    for pattern in SENSOR_FILES:
        for path in sorted(glob.glob(glob.escape(root) + pattern)):
            if len(contents) >= MAX_FILES:
                return contents
            if os.path.isfile(path):
                contents[path[len(root) :]] = _content(path)
    for pattern in SENSOR_LINKS:
        for path in sorted(glob.glob(glob.escape(root) + pattern)):
            contents[path[len(root) :]] = os.path.basename(os.path.realpath(path))
    return contents


def _content(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            raw = os.read(fd, MAX_FILE_BYTES)
        finally:
            os.close(fd)
    except OSError as error:
        return "!" + errno.errorcode.get(error.errno or 0, "EIO")
    return raw.decode("utf-8", "replace").rstrip("\n")


def _model(files: Dict[str, str]) -> Optional[str]:
    model = files.get("/proc/device-tree/model", "").replace("\0", "").strip()
    if model:
        return model
    vendor = read_text("/sys/class/dmi/id/sys_vendor") or ""
    product = read_text("/sys/class/dmi/id/product_name") or ""
    return ("%s %s" % (vendor, product)).strip() or None


def _l4t(text: Optional[str]) -> Optional[str]:
    """Return ``32.7.4`` from ``# R32 (release), REVISION: 7.4, GCID: ...``."""
    if not text or text.startswith("!"):
        return None
    match = re.search(r"(?:^|[\s,])R(\d+)(?=[\s,])", text)
    revision = re.search(r"\bREVISION:\s*([^\s,]+)", text)
    if match is None or revision is None:
        return None
    return "%s.%s" % (match.group(1), revision.group(1))


def _os_name() -> Optional[str]:
    for line in (read_text("/etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return None


def _cpu(sysroot: str) -> Dict[str, Any]:
    root = sysroot.rstrip("/")
    first = root + "/sys/devices/system/cpu/cpu0/cpufreq/"
    maximum = read_number(first + "cpuinfo_max_freq")
    return {
        "model": cpu_model(),
        "name": cpu_name(),
        "logical": os.cpu_count(),
        "physical": len(processors()),
        "online": sorted(os.sched_getaffinity(0)),
        "mhz": cpu_mhz(root),
        "governor": read_text(first + "scaling_governor"),
        "max_mhz": None if maximum is None else maximum / 1000.0,
    }


def _memory() -> Dict[str, Any]:
    return {
        "total_bytes": kilobytes("/proc/meminfo", "MemTotal"),
        "available_bytes": available_bytes(),
        "swap_total_bytes": kilobytes("/proc/meminfo", "SwapTotal"),
    }


def _user_name() -> Optional[str]:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def outputs(paths: Dict[str, Optional[str]]) -> Dict[str, str]:
    """Return the output of the board's own programs by command: ``!`` and why where one fails.

    tegrastats never ends: it is ended after a few lines, by its own process id.

    Args:
        paths: by program, None for one that the board does not have.
    """
    commands = (("nvpmodel", "-q"), ("vcgencmd", "get_throttled"), ("vcgencmd", "pmic_read_adc"))
    texts: Dict[str, str] = {}
    for name, argument in commands:
        path = paths.get(name)
        if path:
            command = "%s %s" % (name, argument)
            texts[command] = programs.output([path, argument], PROGRAM_TIMEOUT_S)
    path = paths.get("tegrastats")
    if path:
        argv = [path, "--interval", "100"]
        texts["tegrastats"] = programs.output(argv, PROGRAM_TIMEOUT_S, lines=TEGRASTATS_LINES)
    return texts


def _package(kind: Optional[str]) -> Optional[Dict[str, Any]]:
    if kind is None:
        return None
    from workloads.sampler import packages

    return dict(packages.facts(kind), kind=kind)


def _try_torch(tries: Sequence[Tuple[str, str]], send: Send) -> None:
    """Send what torch is, then why each kernel cannot run on a device, None where it can."""
    send(_torch())
    if not tries:
        return
    try:
        import torch

        from workloads.kernels import KERNELS, availability
        from workloads.networks.baselines import BASELINES
    except Exception as error:  # of a torch that is too old, say
        for _ in tries:
            send("%s: %s" % (type(error).__name__, error))
        return
    for name, device in tries:
        if name in BASELINES and name not in KERNELS:  # of whole networks only
            send(BASELINES[name].unavailable())
        else:
            send(availability(name, torch.device(device)))


def _torch_of(child: Watched, import_s: float) -> Dict[str, Any]:
    """Return what the child says of torch, or why its import did not come to an end."""
    unknown: Dict[str, Any] = {"torch": None, "torch_ended": True, "torch_signal": None}
    try:
        return dict(child.next(time.monotonic() + import_s), torch_ended=False)
    except Late:
        return dict(
            unknown,
            torch_error="importing torch has not ended within %g s" % import_s,
            torch_remedy="give it longer: `import_s` in the inventory",
        )
    except Ended as end:
        is_signal = os.WIFSIGNALED(end.wait_status)
        return dict(
            unknown,
            torch_error="importing torch ended Python with " + ending(end.wait_status),
            torch_remedy=remedy_of_ending(end.wait_status),
            torch_signal=os.WTERMSIG(end.wait_status) if is_signal else None,
        )


def _kernel_reasons(
    child: Watched, tries: Sequence[Tuple[str, str]], compile_s: float
) -> Dict[str, Dict[str, Optional[str]]]:
    """Return by kernel and device why it cannot run there, None where it can.

    A kernel that hangs or ends Python is the reason for those after it, too.
    """
    reasons: Dict[str, Dict[str, Optional[str]]] = {name: {} for name, _ in tries}
    left = list(tries)
    deadline_s = time.monotonic() + compile_s
    why = ""
    while left and not why:
        name, device = left[0]
        try:
            reasons[name][device] = child.next(deadline_s)
            del left[0]
        except Late:
            why = "compiling and trying kernel %s has not ended within %g s" % (name, compile_s)
            why = with_remedy(why, "`compile_s` in the inventory gives it longer")
        except Ended as end:
            why = "trying kernel %s ended Python with %s" % (name, ending(end.wait_status))
            why = with_remedy(why, remedy_of_ending(end.wait_status))
    for name, device in left:
        reasons[name][device] = why
    return reasons


def _torch() -> Dict[str, Any]:
    """Return torch's version and devices, or why it cannot be used."""
    try:
        import torch
    except Exception as error:  # a broken wheel raises anything: OSError, ImportError, ...
        reason = "%s: %s" % (type(error).__name__, error)
        return {"torch": None, "torch_error": reason, "torch_remedy": remedy_of_error(reason)}
    cuda = None
    try:
        if torch.cuda.is_available():
            cuda = {
                "device": torch.cuda.get_device_name(0),
                "capability": list(torch.cuda.get_device_capability(0)),
                "version": torch.version.cuda,
                "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
                "memory_bytes": int(torch.cuda.get_device_properties(0).total_memory),
            }
    except Exception as error:
        return {"torch": _torch_facts(torch, None), "torch_error": "CUDA: %s" % error}
    return {"torch": _torch_facts(torch, cuda), "torch_error": None}


def _torch_facts(torch: Any, cuda: Optional[Dict[str, Any]]) -> Dict[str, Any]:
    return {
        "version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "cuda": cuda,
        "mkldnn": bool(torch.backends.mkldnn.is_available()),
    }
