"""One module per platform family, the table of them, and what follows from a probe.

A probe is the mapping of probe.json; of it only `files`, `compatible`, `model` and `machine` are
read here, all of which may be absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from targets.platforms.base import METER, Platform, Sensed, Total, best_total, chosen_rail
from targets.platforms.linux import LINUX_ARM, LINUX_X86
from targets.platforms.orin import JETSON_AGX_ORIN, JETSON_ORIN_NANO, JETSON_ORIN_NX
from targets.platforms.raspberry_pi import RASPBERRY_PI_3, RASPBERRY_PI_4, RASPBERRY_PI_5
from targets.platforms.tegra_k1 import JETSON_TK1
from targets.platforms.tegra_x1 import JETSON_NANO, JETSON_TX1
from targets.platforms.tegra_x2 import JETSON_TX2
from targets.platforms.thor import JETSON_AGX_THOR
from targets.platforms.xavier import JETSON_AGX_XAVIER, JETSON_XAVIER_NX
from targets.sensors.rails import (
    Channel,
    Missing,
    PlannedRail,
    PowerPlan,
    Reading,
    SensedRail,
    Sensor,
    files_of,
)

INTERVAL_S = 0.1

PLATFORMS: Mapping[str, Platform] = {
    platform.id: platform
    for platform in (
        JETSON_TK1,
        JETSON_TX1,
        JETSON_TX2,
        JETSON_NANO,
        JETSON_XAVIER_NX,
        JETSON_AGX_XAVIER,
        JETSON_ORIN_NANO,
        JETSON_ORIN_NX,
        JETSON_AGX_ORIN,
        JETSON_AGX_THOR,
        RASPBERRY_PI_3,
        RASPBERRY_PI_4,
        RASPBERRY_PI_5,
        LINUX_X86,
        LINUX_ARM,
    )
}

NAME_A_RAIL = (
    "If one of them measures the board's supply, name it in the inventory: power: {rail: NAME} "
    f"(`gfbench list sensors` shows what each reads now). {METER}"
)


def detect(probe: Mapping[str, Any]) -> str:
    """Return the id of the platform that a probe shows.

    The longest mark in the device tree's compatible names and model decides, failing that the
    chip, failing that the machine's architecture.
    """
    names = [*(probe.get("compatible") or ()), probe.get("model") or ""]
    text = "\n".join(str(name) for name in names).lower()
    marks: list[tuple[int, str]] = []  # length and platform of those that are in the text
    chips: list[tuple[int, str]] = []
    for platform in PLATFORMS.values():
        marks += [(len(mark), platform.id) for mark in platform.marks if mark in text]
        chips += [(len(chip), platform.id) for chip in platform.chips if chip in text]
    fitting = marks or chips
    if fitting:
        return max(fitting)[1]
    machine = str(probe.get("machine") or "")
    x86 = machine in ("x86_64", "amd64", "AMD64") or machine.endswith("86")
    return "linux-x86" if x86 else "linux-arm"


def total_of(platform_id: str, names: Iterable[str]) -> Total | None:
    """Return the rule for the total that fits the named rails best, None without any rule."""
    return best_total(_known(platform_id).totals, names, partly=True)


def power_plan(platform_id: str, probe: Mapping[str, Any], rail: str | None = None) -> PowerPlan:
    """Return what to sample of the sensor files; `targets.power_plans` knows the other sources.

    The total is that rail, where one is named, else what the platform's rule adds up.

    `total` is empty and `missing` says why where there is no power.
    Every readable rail is sampled, also those that the total does not count.
    """
    platform = _known(platform_id)
    sensed = platform.sense(files_of(probe))
    if rail is not None:
        there = any(found.name == rail for found in sensed.rails)
        sensed = replace(sensed, total=chosen_rail(rail) if there else None)
    readable = [rail for rail in sensed.rails if rail.fault is None]
    rails, channels = _numbered(readable)
    names = {rail.name for rail in readable}
    total = sensed.total if sensed.total and names.issuperset(sensed.total.rails) else None
    return PowerPlan(
        source=_source(readable, total),
        scope=total.scope if total else None,
        rule=total.rule if total else "the power is not measured",
        total=total.rails if total else (),
        rails=rails,
        channels=channels,
        interval_s=INTERVAL_S,
        missing=_missing(platform, sensed, total),
        sensors=_files(channels),
    )


def _known(platform_id: str) -> Platform:
    try:
        return PLATFORMS[platform_id]
    except KeyError:
        choices = ", ".join(PLATFORMS)
        raise ValueError(f"unknown platform {platform_id!r}; choose from {choices}") from None


def _numbered(
    rails: Iterable[SensedRail],
) -> tuple[tuple[PlannedRail, ...], tuple[Channel, ...]]:
    planned: list[PlannedRail] = []
    channels: list[Channel] = []
    for rail in rails:
        ids = []
        for reading in rail.readings:
            ids.append(f"c{len(channels)}")
            channels.append(Channel(id=ids[-1], path=reading.path, unit=reading.unit))
        planned.append(
            PlannedRail(
                name=rail.name,
                kind=rail.kind,
                channels=tuple(ids),
                conversion=rail.conversion,
                update_interval_s=rail.update_interval_s,
                resolution=rail.resolution,
                tolerance=rail.tolerance,
                wrap_j=rail.wrap_j,
            )
        )
    return tuple(planned), tuple(channels)


def _files(channels: tuple[Channel, ...]) -> tuple[Sensor, ...]:
    if not channels:
        return ()
    ids = tuple(channel.id for channel in channels)
    return (Sensor(id="files", kind="files", argv=(), interval_s=INTERVAL_S, channels=ids),)


def _source(readable: Iterable[SensedRail], total: Total | None) -> str | None:
    """Name the sensors behind the total, failing that behind the rails there are."""
    rails = [rail for rail in readable if total is None or rail.name in total.rails]
    return "+".join(dict.fromkeys(rail.sensor for rail in rails)) or None


def _missing(platform: Platform, sensed: Sensed, total: Total | None) -> tuple[Missing, ...]:
    """Say what cannot be measured: rails that do not answer, and the power as a whole."""
    missing = [*sensed.missing]
    for rail in sensed.rails:
        if rail.fault:
            missing.append(
                Missing(
                    what=rail.name,
                    reason=rail.fault.fault or "",
                    remedy=_remedy(platform, rail.fault.raw),
                )
            )
    if total is None:
        missing.insert(0, _no_power(platform, sensed))
    return tuple(missing)


def _remedy(platform: Platform, raw: str | None) -> str:
    if raw in ("!EACCES", "!EPERM"):
        return platform.grant or METER
    if raw == "!ENODATA":
        return "The monitor's channel is switched off; see its in*_enable file."
    return "Try again; if it persists, the driver or the monitor does not work: see dmesg."


def _no_power(platform: Platform, sensed: Sensed) -> Missing:
    if not sensed.rails:
        return Missing(what="power", reason=platform.no_sensor, remedy=METER)
    if sensed.total is None:
        there = ", ".join(rail.name for rail in sensed.rails)
        reason = f"no rule says which rails add up to the total (found {there})"
        return Missing(what="power", reason=reason, remedy=NAME_A_RAIL)
    counted = {rail.name: rail.fault for rail in sensed.rails if rail.name in sensed.total.rails}
    lacking = [name for name in sensed.total.rails if counted.get(name) or name not in counted]
    broken = next((fault for fault in counted.values() if fault), None)
    remedy = _remedy(platform, broken.raw) if broken else METER
    reason = f"{', '.join(lacking)} cannot be read{_error(broken)}"
    return Missing(what="power", reason=reason, remedy=remedy)


def _error(reading: Reading | None) -> str:
    raw = reading.raw if reading else None
    return f" ({raw[1:]})" if raw and raw.startswith("!") else ""
