"""What to sample on a machine and how to make power of it, from all that its probe shows.

`auto` takes the best there is: sensor files (counters before power), failing these the programs
that the platform names; a card's own counter stands beside the processor's, never added to it.
Packages, meters and single rails are taken when the inventory names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from targets import platforms
from targets.platforms.base import METER, chosen_rail
from targets.sensors.cards import with_cards
from targets.sensors.programs import Silence, silence
from targets.sensors.rails import Missing, PowerPlan, files_of
from targets.sources import SOURCES
from targets.sources.base import no_power, output_of, program

POWER_MARKS = (
    "/ina2",
    "/ina3",
    "/iio:device",
    "/hwmon",
    "/powercap/",
)  # in the paths of power sensors


def plan_power(
    platform_id: str, probe: Mapping[str, Any], power: str = "auto", argument: str | None = None
) -> PowerPlan:
    """Return the plan for the inventory's `power:`.

    Args:
        platform_id: The family, as `targets.platforms.detect` or the inventory has it.
        probe: The mapping of probe.json.
        power: auto, off, rail, or the name of a source.
        argument: The name of the rail, or the program or the file of a meter.
    """
    if power == "auto":
        return _auto(platform_id, probe)
    if power == "rail":
        return _of_rail(platform_id, probe, argument or "")
    if power == "off":
        remedy = {"remedy": "Remove `power: off` from the inventory."}
        return no_power(remedy, "switched off in the inventory")
    plan = SOURCES[power].plan(platform_id, probe, argument or "")
    return plan or no_power({}, f"{power} gives no total power for this machine")


def _auto(platform_id: str, probe: Mapping[str, Any]) -> PowerPlan:
    platform = platforms.PLATFORMS[platform_id]
    plan = _of_board(platform_id, probe)
    return with_cards(plan, probe) if platform.has_cards else plan


def _of_rail(platform_id: str, probe: Mapping[str, Any], rail: str) -> PowerPlan:
    """Return the plan in which one rail, named in the inventory, is the total."""
    plan = platforms.power_plan(platform_id, probe, rail)
    if rail in plan.total:
        return plan
    auto = _auto(platform_id, probe)
    names = [found.name for found in auto.rails]
    if rail in names:  # of a program or a card
        return _with_total(auto, rail)
    if any(item.what == rail for item in plan.missing):  # it is there, and cannot be read
        return plan
    there = f"this machine shows {', '.join(names)}" if names else "this machine shows no rails"
    remedy = "`gfbench list sensors` shows the names; correct `power: {rail: NAME}`."
    return no_power({"remedy": remedy}, f"no rail is called {rail}: {there}")


def _with_total(plan: PowerPlan, rail: str) -> PowerPlan:
    """Make one rail of a plan the only total; its source is the sensor that reads it."""
    (channels,) = (found.channels for found in plan.rails if found.name == rail)
    source = next(sensor.id for sensor in plan.sensors if channels[0] in sensor.channels)
    total = chosen_rail(rail)
    return replace(
        plan,
        source=source,
        scope=total.scope,
        rule=total.rule,
        total=total.rails,
        missing=tuple(item for item in plan.missing if item.what != "power"),
        secondary=(),
    )


def _of_board(platform_id: str, probe: Mapping[str, Any]) -> PowerPlan:
    """Return the plan of the board's own sensors: its files, failing these its programs."""
    plan = platforms.power_plan(platform_id, probe)
    sources = [SOURCES[name] for name in platforms.PLATFORMS[platform_id].programs]
    for source in sources:
        if not plan.total:
            plan = source.plan(platform_id, probe, "") or plan
    if plan.total:
        return plan
    plan = _with_grant(plan, platform_id, probe)
    for source in sources:
        if not source.answers(output_of(probe, source.command)):
            plan = _with_silence(plan, silence(probe, source.command))
    return plan


def _with_silence(plan: PowerPlan, why: Silence | None) -> PowerPlan:
    """Add to the missing power why a program that would show it gave no answer."""
    if why is None:
        return plan
    missing = [item for item in plan.missing if item.what != "power"]
    for item in plan.missing:
        if item.what == "power":
            remedy = why.remedy if item.remedy == METER else item.remedy
            reason = f"{item.reason}; {why.reason}"
            missing.insert(0, Missing(what="power", reason=reason, remedy=remedy))
    return replace(plan, missing=tuple(missing))


def _with_grant(plan: PowerPlan, platform_id: str, probe: Mapping[str, Any]) -> PowerPlan:
    """Name the command as root where power is missing because files may not be read."""
    grant = platforms.PLATFORMS[platform_id].grant
    denied = tuple(_denied(probe))
    said = any(item.what == "power" and item.remedy == grant for item in plan.missing)
    if plan.total or said or not grant or not denied:
        return plan
    first, *rest = denied
    more = f" and {len(rest)} more" if rest else ""
    reason = f"this user may not read {first}{more}"
    if program(probe, "tegrastats"):
        reason += ", and tegrastats shows no power either"
    missing = Missing(what="power", reason=reason, remedy=grant)
    others = (item for item in plan.missing if item.what != "power")
    return replace(plan, missing=(missing, *others))


def _denied(probe: Mapping[str, Any]) -> Iterable[str]:
    """Yield the power files that are there and closed to this user."""
    for path, content in files_of(probe).items():
        if content in ("!EACCES", "!EPERM") and any(mark in path for mark in POWER_MARKS):
            yield path
