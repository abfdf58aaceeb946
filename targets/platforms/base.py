"""What a platform family is: how it is recognised, what its rails mean, and how it is set up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from targets.sensors.hwmon import ina_rails
from targets.sensors.rails import Files, Missing, SensedRail

GRANT_MONITORS = "sudo chmod a+r /sys/class/hwmon/hwmon*/*1_input"
METER = "Use an external meter: power: {csv: FILE} or power: {command: PROGRAM} in the inventory."


@dataclass(frozen=True, kw_only=True)
class Total:
    """Which rails add up to the power of what; no rail of it feeds another."""

    rails: tuple[str, ...]
    scope: str  # board input, module input, module sum, package, card, pmic sum, chosen rail
    rule: str


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Something to do on the board by hand, and the command."""

    what: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """State that proves throttling: where it is read, and what it means."""

    where: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Sensed:
    """The power sensors of one machine: all rails, the total if there is a rule, what is not."""

    rails: tuple[SensedRail, ...]
    total: Total | None
    missing: tuple[Missing, ...]


class Platform(Protocol):
    """One family of machines."""

    @property
    def id(self) -> str:
        """Return the id of the inventory and of the results."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Return names in the device tree that identify the family, in lower case."""

    @property
    def chips(self) -> tuple[str, ...]:
        """Return the chips that identify the family where no mark does, in lower case."""

    @property
    def totals(self) -> tuple[Total, ...]:
        """Return the rules for the total of named rails, the best first."""

    @property
    def grant(self) -> str:
        """Return the command as root that makes the power files readable, "" if none would."""

    @property
    def no_sensor(self) -> str:
        """Say why there may be no power at all, and what it takes."""

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Return what proves throttling."""

    @property
    def setup(self) -> tuple[Advice, ...]:
        """Return what makes the clocks steady, and what undoes it; advice, never done unasked."""

    @property
    def programs(self) -> tuple[str, ...]:
        """Return the sources to try where the files give no total, the best first."""

    @property
    def has_cards(self) -> bool:
        """Return whether NVIDIA cards may be in the machine; a Jetson's rails show more."""

    @property
    def is_cuda(self) -> bool:
        """Return whether torch should see a CUDA device on every such machine."""

    @property
    def l4t(self) -> int:
        """Return the major L4T release to assume where the machine does not show its own."""

    @property
    def shunt_ohm(self) -> float | None:
        """Return the shunts of the monitors where the driver does not show them."""

    def sense(self, files: Files) -> Sensed:
        """Return the rails among the probe's files, readable or not."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """A family whose power, if it has any, comes from INA monitors."""

    id: str
    marks: tuple[str, ...]
    chips: tuple[str, ...] = ()
    totals: tuple[Total, ...] = ()
    grant: str = ""
    no_sensor: str = "no power sensor on this board"
    evidence: tuple[Evidence, ...] = ()
    setup: tuple[Advice, ...] = ()
    programs: tuple[str, ...] = ()
    has_cards: bool = False
    is_cuda: bool = False
    l4t: int = 36
    shunt_ohm: float | None = None
    rail_names: tuple[tuple[str, str], ...] = ()  # the only chip without a label -> its rail
    lone_monitor: bool = False  # a single monitor on the supply (a HAT) is the board's input

    def sense(self, files: Files) -> Sensed:
        """Return the rails of the INA monitors and the best total that they allow."""
        rails = self._named(ina_rails(files, shunt_ohm=self.shunt_ohm))
        if self.lone_monitor and len(rails) == 1:
            rule = f"{rails[0].name}: the only INA monitor, assumed to measure the board's supply"
            total = Total(rails=(rails[0].name,), scope="board input", rule=rule)
            return Sensed(rails=rails, total=total, missing=())
        readable = {rail.name for rail in rails if rail.fault is None}
        total_rule = best_total(self.totals, readable) or best_total(
            self.totals, {rail.name for rail in rails}, partly=True
        )
        return Sensed(rails=rails, total=total_rule, missing=())

    def _named(self, rails: tuple[SensedRail, ...]) -> tuple[SensedRail, ...]:
        """Give the only monitor without a label the name of its rail on this board."""
        for chip, name in self.rail_names:
            of_chip = [rail for rail in rails if rail.sensor == f"hwmon-{chip}"]
            unlabelled = [rail for rail in of_chip if not rail.labelled]
            if len(unlabelled) == 1 and all(rail.name != name for rail in rails):
                only = unlabelled[0]
                rails = tuple(rail.named(name) if rail is only else rail for rail in rails)
        return rails


def chosen_rail(name: str) -> Total:
    """Return the rule for one rail that the inventory names; what it feeds is the user's word."""
    rule = f"{name}: the rail that `power: {{rail: ...}}` in the inventory names"
    return Total(rails=(name,), scope="chosen rail", rule=rule)


def best_total(
    totals: Iterable[Total], names: Iterable[str] | Mapping[str, object], *, partly: bool = False
) -> Total | None:
    """Return the first rule whose rails are all there; with `partly`, else the nearest rule."""
    there = set(names)
    rules = tuple(totals)
    whole = next((rule for rule in rules if there.issuperset(rule.rails)), None)
    if whole or not partly:
        return whole
    return max(rules, key=lambda rule: len(there & set(rule.rails)), default=None)
