"""What stands between a machine and a credible result, each with the command that mends it.

Works on what the board says of itself, so nothing of it is taken for granted: a fact that is
absent or of the wrong kind gives no finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from targets.platforms import PLATFORMS
from targets.platforms.base import METER
from targets.sensors.jetson_state import power_mode
from targets.sensors.programs import silence
from targets.sensors.rails import (
    PowerPlan,
    files_of,
    folders,
    number_of,
    power_now_w,
    text_of,
)
from targets.sensors.throttle import throttle_evidence
from targets.sensors.vcgencmd import get_throttled

Severity = Literal["error", "warning", "note"]

MIN_PYTHON = (3, 6)
MIN_TORCH = (1, 10)
LITTLE_MEMORY_BYTES = 512 * 2**20
TOO_LITTLE_MEMORY_BYTES = 200 * 2**20  # importing torch alone takes 150 to 250 MB
BUSY_SHARE = 0.25  # of the cores
HOT_C = 75.0
SKEW_S = 5.0

NVPMODEL, GET_THROTTLED = "nvpmodel -q", "vcgencmd get_throttled"  # outputs of the probe

_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing: an error stops a run, a warning spoils its result, a note is good to know."""

    severity: Severity
    what: str
    why: str
    remedy: str

    @property
    def sentence(self) -> str:
        """Return it in one line, as a run's notes have it."""
        return f"{self.what}: {self.why} — {self.remedy}"


def findings(
    platform_id: str,
    probe: Mapping[str, Any],
    plan: PowerPlan | None,
    *,
    clock_off_s: float = 0.0,
) -> tuple[Finding, ...]:
    """Return what a probe shows, the worst first.

    Args:
        platform_id: The family, as `targets.platforms.detect` or the inventory has it.
        probe: The mapping of probe.json.
        plan: What is sampled for power; None where power is off or comes from elsewhere.
        clock_off_s: By how much the machine's clock is ahead of the controller's, at least.
    """
    found = [
        *_python(probe),
        *_torch(platform_id, probe),
        *_power(plan),
        *_consumption(probe, plan),
        *_driver(probe),
        *_monitors(probe),
        *_governor(platform_id, probe),
        *_power_mode(probe),
        *_memory(probe),
        *_swap(probe),
        *_load(probe),
        *_heat(probe),
        *_throttled(probe),
        *_supply(platform_id, probe),
        *_clock(clock_off_s),
        *_compiler(probe),
        *_work_folder(probe),
    ]
    return tuple(sorted(found, key=lambda finding: _ORDER[finding.severity]))


def _python(probe: Mapping[str, Any]) -> Iterator[Finding]:
    version = _version(probe.get("python"))
    if version and version < MIN_PYTHON:
        yield Finding(
            severity="error",
            what=f"Python {probe['python']} is too old",
            why="The payload needs Python 3.6 or newer.",
            remedy="Name a newer one in the inventory: python: /usr/bin/python3.8",
        )


def _torch(platform_id: str, probe: Mapping[str, Any]) -> Iterator[Finding]:
    torch = probe.get("torch")
    python = probe.get("executable") or "python3"
    if not isinstance(torch, Mapping):
        yield Finding(
            severity="error",
            what="torch cannot be imported",
            why=str(probe.get("torch_error") or "It is not installed for this Python."),
            remedy=str(
                probe.get("torch_remedy")
                or f"{python} -m pip install torch, or name the Python that has it with `python:` "
                "in the inventory."
            ),
        )
        return
    version = _version(torch.get("version"))
    if version and version < MIN_TORCH:
        yield Finding(
            severity="error",
            what=f"torch {torch['version']} is too old",
            why="The workloads need torch 1.10 or newer.",
            remedy=f"{python} -m pip install --upgrade torch",
        )
    if torch.get("mkldnn") is False and not torch.get("cuda"):
        yield Finding(
            severity="note",
            what=f"torch {torch.get('version')} has no oneDNN for the CPU",
            why="Its exact convolution is torch's slow one: it unfolds its input into columns, k_h "
            "k_w times as large. Speedups over it are larger than over the best exact there is.",
            remedy="Take a newer torch, or a build of it with oneDNN.",
        )
    if platform_id in PLATFORMS and PLATFORMS[platform_id].is_cuda and not torch.get("cuda"):
        yield Finding(
            severity="warning",
            what=f"torch {torch.get('version')} sees no CUDA on a Jetson",
            why=str(probe.get("torch_error") or "PyPI's wheels for this board are CPU-only."),
            remedy="Install NVIDIA's wheel for this JetPack (jetson-containers lists them).",
        )


def _power(plan: PowerPlan | None) -> Iterator[Finding]:
    for missing in plan.missing if plan else ():
        yield Finding(
            severity="warning" if missing.what == "power" else "note",
            what="energy cannot be measured" if missing.what == "power" else f"no {missing.what}",
            why=missing.reason,
            remedy=missing.remedy,
        )


def _consumption(probe: Mapping[str, Any], plan: PowerPlan | None) -> Iterator[Finding]:
    """Tell a total that is no power of a board: at a battery that charges, or reversed."""
    rails = [rail for rail in plan.rails if rail.name in plan.total] if plan else []
    readings = [power_now_w(plan, rail, files_of(probe)) for rail in rails] if plan else []
    known = [power_w for power_w in readings if power_w is not None]
    if known and len(known) == len(readings) and sum(known) <= 0:
        yield Finding(
            severity="warning",
            what=f"{' + '.join(rail.name for rail in rails)} shows no consumption: "
            f"{sum(known):.3f} W",
            why="A board always takes power: this monitor sits at a battery (charging now, or not "
            "in use), or its shunt is reversed. Windows in which it reads so have no energy.",
            remedy=f"Name another rail, power: {{rail: NAME}}, or turn the shunt round. {METER}",
        )


def _driver(probe: Mapping[str, Any]) -> Iterator[Finding]:
    error = _at(probe, "nvml", "error")
    if isinstance(error, str):
        yield Finding(
            severity="note",
            what="the NVIDIA driver's library is installed but does not work",
            why=error,
            remedy="Run nvidia-smi to see the error; after an update of the driver, reboot.",
        )


def _monitors(probe: Mapping[str, Any]) -> Iterator[Finding]:
    for folder, content in folders(files_of(probe)).items():
        chip = text_of(content, "name") or ""
        if chip.startswith("ina2") and number_of(content, "shunt_resistor") == 10_000:
            yield Finding(
                severity="note",
                what=f"{chip}: its shunt is set to the driver's default, 10 milliohm",
                why="Many HATs have 100 milliohm; then every reading is ten times too large.",
                remedy=f"If the HAT has that: echo 100000 | sudo tee {folder}/shunt_resistor",
            )


def _governor(platform_id: str, probe: Mapping[str, Any]) -> Iterator[Finding]:
    governor = _at(probe, "cpu", "governor")
    if not isinstance(governor, str) or governor == "performance":
        return
    setup = PLATFORMS[platform_id].setup if platform_id in PLATFORMS else ()
    steady = next((advice for advice in setup if "maximum" in advice.what), None)
    command = steady.command if steady else "sudo cpupower frequency-set -g performance"
    yield Finding(
        severity="warning",
        what=f"the CPU's governor is {governor}",
        why="The clock follows the load, so early and late iterations differ.",
        remedy=command,
    )


def _power_mode(probe: Mapping[str, Any]) -> Iterator[Finding]:
    if _at(probe, "programs", "nvpmodel"):
        mode = power_mode(str(_at(probe, "outputs", NVPMODEL) or ""))
        why = silence(probe, NVPMODEL) if mode is None else None
        if why is not None:
            yield Finding(
                severity="note",
                what="the power mode is unknown",
                why=f"{why.reason}. Figures of different modes must not be compared.",
                remedy=f"{why.remedy} `sudo nvpmodel -m N` sets a mode.",
            )
            return
        yield Finding(
            severity="note",
            what=f"the power mode{f' {mode.name}' if mode else ''} limits clocks and cores",
            why="Figures of different modes must not be compared.",
            remedy="nvpmodel -q shows it, sudo nvpmodel -m N changes it (setup: in the inventory).",
        )


def _memory(probe: Mapping[str, Any]) -> Iterator[Finding]:
    available = _number(probe, "memory", "available_bytes")
    if available is None or available >= LITTLE_MEMORY_BYTES:
        return
    yield Finding(
        severity="error" if available < TOO_LITTLE_MEMORY_BYTES else "warning",
        what=f"only {available / 2**20:.0f} MiB of memory are available",
        why="Importing torch takes 150 to 250 MB, and a block needs more.",
        remedy="sudo systemctl isolate multi-user.target  (ends the desktop), or choose a "
        "smaller suite.",
    )


def _swap(probe: Mapping[str, Any]) -> Iterator[Finding]:
    swaps = files_of(probe).get("/proc/swaps", "")
    zram = "zram" in swaps
    if zram or (_number(probe, "memory", "swap_total_bytes") or 0) > 0:
        yield Finding(
            severity="note",
            what="memory is compressed (zram)" if zram else "swap is on",
            why="A block that swaps is slow, and its peak memory reads too low.",
            remedy="sudo swapoff -a  (until the next boot)",
        )


def _load(probe: Mapping[str, Any]) -> Iterator[Finding]:
    load = _first_number(files_of(probe).get("/proc/loadavg"))
    if load is None:
        load = _number(probe, "state", "load_1m")
    cores = _number(probe, "cpu", "logical")
    if load is not None and cores and load > BUSY_SHARE * cores:
        yield Finding(
            severity="warning",
            what=f"the machine is busy: load {load:.2f} on {cores:.0f} cores",
            why="Other processes take processor time from the blocks and draw power.",
            remedy="Run top to see what else is running; wait for it or stop it.",
        )


def _heat(probe: Mapping[str, Any]) -> Iterator[Finding]:
    for content in folders(files_of(probe)).values():
        zone, millidegrees = text_of(content, "type"), number_of(content, "temp")
        if zone and millidegrees is not None and millidegrees >= HOT_C * 1000:
            yield Finding(
                severity="warning",
                what=f"{zone} is at {millidegrees / 1000:.1f} °C before anything has run",
                why="The machine will reduce its clocks during the blocks.",
                remedy="Let it cool, or give it a fan.",
            )


def _throttled(probe: Mapping[str, Any]) -> Iterator[Finding]:
    reported = _at(probe, "state", "throttle")
    evidence: dict[str, Any] = dict(reported) if isinstance(reported, Mapping) else {}
    evidence.update(throttle_evidence(files_of(probe)))
    for name, value in sorted(evidence.items()):
        if not isinstance(value, (int, float)) or value <= 0:
            continue
        alert = "alert" in name or "alarm" in name
        yield Finding(
            severity="warning" if alert else "note",
            what=f"{name} is {value:.0f}",
            why="Clocks are being reduced now."
            if alert
            else "Clocks have been reduced since the machine started.",
            remedy="Check the cooling and the supply; a block during which it grows is INVALID.",
        )


def unseen_throttling(platform_id: str, probe: Mapping[str, Any]) -> Finding | None:
    """Return why a board that tells by a program whether it throttles does not; None if it does."""
    platform = PLATFORMS.get(platform_id)
    if platform is None or not any(item.where == GET_THROTTLED for item in platform.evidence):
        return None
    if get_throttled(str(_at(probe, "outputs", GET_THROTTLED) or "")) is not None:
        return None
    why = silence(probe, GET_THROTTLED)
    if why is None:
        return None
    return Finding(
        severity="warning",
        what="whether the board throttles is unknown",
        why=f"{why.reason}. Blocks in which it does are not told from the others.",
        remedy=why.remedy,
    )


def _supply(platform_id: str, probe: Mapping[str, Any]) -> Iterator[Finding]:
    """Read a Raspberry Pi's flags: what holds now, and what has been since it started."""
    unseen = unseen_throttling(platform_id, probe)
    if unseen is not None:
        yield unseen
    flags = get_throttled(str(_at(probe, "outputs", GET_THROTTLED) or ""))
    if flags is None:
        return
    for severity, names, why in (
        ("warning", flags.now, "True now: clocks are reduced, or the supply is too weak."),
        ("note", flags.since_boot, "Has been true at some time since the board started."),
    ):
        if names:
            yield Finding(
                severity=severity,  # type: ignore[arg-type]
                what=f"vcgencmd get_throttled: {', '.join(names)}",
                why=why,
                remedy="Use the power supply made for the board, and a fan; then reboot.",
            )


def _clock(off_s: float) -> Iterator[Finding]:
    if abs(off_s) <= SKEW_S:
        return
    yield Finding(
        severity="note",
        what=f"the machine's clock is {off_s:+.0f} s off",
        why="Dates in its records are wrong; durations are right, from the monotonic clock.",
        remedy="sudo timedatectl set-ntp true",
    )


def _compiler(probe: Mapping[str, Any]) -> Iterator[Finding]:
    programs = probe.get("programs")
    if isinstance(programs, Mapping) and "cc" in programs and not programs["cc"]:
        yield Finding(
            severity="note",
            what="there is no C compiler",
            why="Kernels that are compiled on the board are skipped.",
            remedy="sudo apt install build-essential",
        )


def _work_folder(probe: Mapping[str, Any]) -> Iterator[Finding]:
    if _at(probe, "workdir", "noexec") is True:
        yield Finding(
            severity="note",
            what=f"the filesystem of {_at(probe, 'workdir', 'path')} is mounted noexec",
            why="Kernels that are compiled cannot be loaded from there and are skipped.",
            remedy="Name another folder with workdir: in the inventory.",
        )


def _at(probe: Mapping[str, Any], *keys: str) -> Any:
    value: Any = probe
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _number(probe: Mapping[str, Any], *keys: str) -> float | None:
    value = _at(probe, *keys)
    return float(value) if isinstance(value, (int, float)) else None


def _first_number(text: str | None) -> float | None:
    match = re.match(r"\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)", text or "")
    return float(match[1]) if match else None


def _version(text: object) -> tuple[int, int] | None:
    match = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2])) if match else None
