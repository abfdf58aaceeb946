"""Where a meter's file has its time and its power, and in which units: by the names of its header.

A name is a quantity, a unit, or both: `watts`, `power_mw`, `Time (s)`, `Current [mA]`. What is not
understood is refused, never guessed: a column of milliwatts that is taken for watts, or volts for
watts, would look like a measurement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

NEEDED = (
    "it needs the columns time (seconds, ms or ISO 8601) and watts (or mW), or voltage and "
    "current, each with its name in the header, such as time_s,power_w"
)

_TIME = ("time", "t", "timestamp", "elapsed", "date", "datetime")
_POWER, _VOLTAGE, _CURRENT = ("power", "p"), ("voltage", "u"), ("current", "i")
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0}
_SECONDS |= {"ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_WATTS = {"w": 1.0, "watt": 1.0, "watts": 1.0, "mw": 1e-3, "uw": 1e-6, "µw": 1e-6, "kw": 1e3}
_VOLTS = {"v": 1.0, "volt": 1.0, "volts": 1.0, "mv": 1e-3, "uv": 1e-6, "µv": 1e-6}
_AMPERES = {"a": 1.0, "amp": 1.0, "amps": 1.0, "ampere": 1.0, "amperes": 1.0}
_AMPERES |= {"ma": 1e-3, "ua": 1e-6, "µa": 1e-6}
_WORD = re.compile(r"[^\W\d_]+")


class FormatError(Exception):
    """A file that cannot be understood; the message says what is wrong in it."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its place, and its unit in SI units."""

    index: int
    unit: float


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a file; the power is the product of one column or of two."""

    time: Column
    power: tuple[Column, ...]
    fields: int  # of every row

    @property
    def unit_w(self) -> float:
        """Return the unit of the product."""
        unit_w = 1.0
        for column in self.power:
            unit_w *= column.unit
        return unit_w


# Without a header: seconds or dates, and watts.
PLAIN = Columns(time=Column(index=0, unit=1.0), power=(Column(index=1, unit=1.0),), fields=2)


def columns_of(names: Sequence[str]) -> Columns:
    """Find time and power among the names of a header.

    Raises:
        FormatError: they are not there, or several columns could be the power.
    """
    times = _matching(names, _TIME, _SECONDS)
    if not times:
        raise FormatError(f"no column of its header is a time (found {_listed(names)}); {NEEDED}")
    power = _only(names, _matching(names, _POWER, _WATTS), "power")
    if not power:
        voltage = _only(names, _matching(names, _VOLTAGE, _VOLTS), "voltage")
        current = _only(names, _matching(names, _CURRENT, _AMPERES), "current")
        if not voltage or not current:
            found = _listed(names)
            raise FormatError(f"no column of its header is a power (found {found}); {NEEDED}")
        power = (*voltage, *current)
    return Columns(time=times[0], power=power, fields=len(names))


def _matching(
    names: Sequence[str], quantities: Iterable[str], units: Mapping[str, float]
) -> tuple[Column, ...]:
    """Return the columns whose names are one of the quantities, one of the units, or both."""
    columns = []
    for index, name in enumerate(names):
        words = _WORD.findall(name.lower().replace("μ", "µ"))
        if words and words[0] in quantities:
            words = words[1:] or [""]
        if len(words) == 1 and words[0] in {"", *units}:
            columns.append(Column(index=index, unit=units.get(words[0], 1.0)))
    return tuple(columns)


def _only(names: Sequence[str], found: tuple[Column, ...], quantity: str) -> tuple[Column, ...]:
    if len(found) > 1:
        several = _listed([names[column.index] for column in found])
        raise FormatError(f"several columns could be the {quantity}: {several}; leave one of them")
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:8])[:200] or "nothing"
