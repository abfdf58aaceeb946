"""What a source of power is, beside the sensor files: a program, a package, a meter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from targets.platforms import INTERVAL_S
from targets.platforms.base import METER, Total
from targets.sensors.rails import Channel, Missing, PlannedRail, PowerPlan, Sensor

Probe = Mapping[str, Any]  # probe.json
Planner = Callable[[str, Probe, str], PowerPlan | None]  # platform id, probe, argument
Readings = Callable[[str], Iterator[tuple[str, str]]]  # a line -> (channel's path, number)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One way to read power.

    ``plan`` returns None where the source does not show this machine's total. ``readings`` takes
    the numbers out of a line that the board logged; None where the board logs numbers.
    ``command`` is what the probe has run of a program, and ``answers`` whether its output is of
    the program's own form; anything else are the words of a program that does not work.
    """

    name: str  # of the inventory's `power:`, of a platform's `programs`, and in the board's log
    plan: Planner
    readings: Readings | None = None
    package: bool = False  # of the board's Python: the inventory names it, the probe asks it
    command: str = ""
    answers: Callable[[str], bool] = bool


def plan_of(
    *,
    source: str,
    total: Total,
    rails: tuple[PlannedRail, ...],
    channels: Iterable[tuple[str, str]],
    kind: str,
    argv: tuple[str, ...] = (),
    interval_s: float,
    sensor: str = "",
) -> PowerPlan:
    """Return the plan of one sensor.

    Args:
        source: what the result names as the source.
        total: which rails make the total.
        rails: all rails, of channels c0, c1, and so on.
        channels: (path, unit) of each channel.
        kind: how the board reads it, see ``Sensor``.
        argv: the command that the board runs, if it runs one.
        interval_s: the seconds between readings.
        sensor: the name in the board's log, if it is not the source's.
    """
    listed = tuple(
        Channel(id=f"c{number}", path=path, unit=unit)
        for number, (path, unit) in enumerate(channels)
    )
    sampled = Sensor(
        id=sensor or source,
        kind=kind,
        argv=argv,
        interval_s=interval_s,
        channels=tuple(channel.id for channel in listed),
    )
    return PowerPlan(
        source=source,
        scope=total.scope,
        rule=total.rule,
        total=total.rails,
        rails=rails,
        channels=listed,
        interval_s=interval_s,
        missing=(),
        sensors=(sampled,),
    )


def no_power(facts: Mapping[str, Any], reason: str) -> PowerPlan:
    """Return a plan without power, with a package's own reason where it has one."""
    remedy = str(facts.get("remedy") or METER)
    missing = Missing(what="power", reason=str(facts.get("error") or reason), remedy=remedy)
    return PowerPlan(
        source=None,
        scope=None,
        rule="the power is not measured",
        total=(),
        rails=(),
        channels=(),
        interval_s=INTERVAL_S,
        missing=(missing,),
    )


def package_facts(probe: Probe, kind: str) -> Mapping[str, Any]:
    """Return what the probe says of a package; empty where it says nothing."""
    facts = probe.get("package")
    return facts if isinstance(facts, Mapping) and facts.get("kind") == kind else {}


def output_of(probe: Probe, command: str) -> str:
    """Return what a command printed at the probe; empty where it did not run."""
    outputs = probe.get("outputs")
    text = outputs.get(command) if isinstance(outputs, Mapping) else None
    return text if isinstance(text, str) else ""


def program(probe: Probe, name: str) -> tuple[str, ...] | None:
    """Return the command that starts a program of the board; None where it is not there."""
    programs = probe.get("programs")
    path = programs.get(name) if isinstance(programs, Mapping) else None
    return (path,) if isinstance(path, str) else None
