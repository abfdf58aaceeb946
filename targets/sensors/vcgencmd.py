"""What the Raspberry Pi's vcgencmd prints: the PMIC's channels of the Pi 5, and throttling."""

from __future__ import annotations

import re
from dataclasses import dataclass

VOLTAGE_ONLY = ("EXT5V", "BATT")
NOW_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
_CHANNEL = re.compile(
    r"^\s*(\w{1,32})_([AV])\s+(?:current|volt)\([0-9]{1,3}\)=(-?[0-9]{1,6}(?:\.[0-9]{1,12})?)([AV])\s*$",
    re.ASCII,
)
_THROTTLED = re.compile(r"throttled=0x([0-9a-fA-F]{1,8})\s*$")


@dataclass(frozen=True, kw_only=True)
class Pmic:
    """The channels of `vcgencmd pmic_read_adc`, paired by name: their numbers do not match."""

    volts: dict[str, float]
    amperes: dict[str, float]

    @property
    def rails_w(self) -> dict[str, float | None]:
        """Return the power of each rail; None where one of its two channels is missing."""
        names = dict.fromkeys([*self.amperes, *self.volts])
        return {name: self._power_w(name) for name in names if name not in VOLTAGE_ONLY}

    @property
    def total_w(self) -> float | None:
        """Return the sum of the rails; None where a rail is missing.

        This is not the board's input: conversion losses and all that is fed from the 5 V supply
        itself (USB, HAT, fan) are not in it. Its scope is "pmic sum".
        """
        rails = self.rails_w.values()
        known = [power_w for power_w in rails if power_w is not None]
        return sum(known) if known and len(known) == len(rails) else None

    def _power_w(self, name: str) -> float | None:
        if name not in self.volts or name not in self.amperes:
            return None
        return self.volts[name] * self.amperes[name]


@dataclass(frozen=True, kw_only=True)
class Throttled:
    """The flags of `vcgencmd get_throttled`."""

    now: tuple[str, ...]
    since_boot: tuple[str, ...]


def pmic_read_adc(text: str) -> Pmic:
    """Read the reply of `vcgencmd pmic_read_adc`; lines of another form are ignored."""
    volts: dict[str, float] = {}
    amperes: dict[str, float] = {}
    for line in text.splitlines():
        match = _CHANNEL.match(line)
        if match and match[2] == match[4]:
            (volts if match[2] == "V" else amperes)[match[1]] = float(match[3])
    return Pmic(volts=volts, amperes=amperes)


def get_throttled(text: str) -> Throttled | None:
    """Read the reply of `vcgencmd get_throttled`, None where it is another text."""
    match = _THROTTLED.search(text)
    if match is None:
        return None
    bits = int(match[1], 16)
    return Throttled(
        now=tuple(name for bit, name in NOW_BITS.items() if bits >> bit & 1),
        since_boot=tuple(name for bit, name in NOW_BITS.items() if bits >> (bit + 16) & 1),
    )
