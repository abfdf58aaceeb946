"""Power as it is recorded: rails in SI units, and the map that says what each rail is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.results.fields import Figure

FloatArray = NDArray[np.float64]
Trace = Mapping[str, tuple[FloatArray, FloatArray]]  # channel id -> (t_s, raw), any order
Window = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One file or field that was read, and the unit of its raw numbers."""

    id: str
    unit: str
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Rail:
    """One supply rail: the channels it is computed from and how its sensor behaves.

    ``update_interval_s`` is None for a sensor that converts when it is read.
    """

    name: str
    kind: str  # volt_amp | power | energy
    channels: tuple[Channel, ...]
    conversion: str = "instant"  # instant | average
    update_interval_s: Figure | None = None
    resolution: tuple[Figure | None, ...] = ()  # SI unit of each channel
    tolerance: Figure | None = None
    wrap_j: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """What the board reads on its own schedule; ``targets.sensors.rails`` says which kinds are."""

    id: str
    kind: str
    argv: tuple[str, ...]
    interval_s: Figure
    channels: tuple[Channel, ...]


@dataclass(frozen=True, kw_only=True)
class RailMap:
    """Which rails were read, which of them make the total, and what the total stands for.

    ``channels`` are all that a trace may have, in order.
    """

    source: str
    scope: str
    rule: str
    total: tuple[str, ...]
    rails: tuple[Rail, ...]
    interval_s: Figure | None = None
    missing: tuple[str, ...] = ()
    channels: tuple[Channel, ...] = ()
    sensors: tuple[Sensor, ...] = ()

    def rail(self, name: str) -> Rail | None:
        """Return the rail of that name."""
        return next((rail for rail in self.rails if rail.name == name), None)


def rail_map_from_json(data: Mapping[str, Any]) -> RailMap:
    """Read the object of ``power.json``; unknown fields are ignored."""
    channels = {
        str(item["id"]): Channel(id=str(item["id"]), unit=item["unit"], path=item.get("path") or "")
        for item in data["channels"]
    }
    rails = tuple(
        Rail(
            name=item["name"],
            kind=item["kind"],
            channels=tuple(channels[str(name)] for name in item["channels"]),
            conversion=item.get("conversion") or "instant",
            update_interval_s=item.get("update_interval_s"),
            resolution=tuple(item.get("resolution") or ()),
            tolerance=item.get("tolerance"),
            wrap_j=item.get("wrap_j"),
        )
        for item in data["rails"]
    )
    return RailMap(
        source=data.get("source") or "",
        scope=data.get("scope") or "",
        rule=data.get("rule") or "",
        total=tuple(data.get("total") or ()),
        rails=rails,
        interval_s=data.get("interval_s"),
        missing=tuple(_missing_words(item) for item in data.get("missing") or ()),
        channels=tuple(channels.values()),
        sensors=tuple(
            Sensor(
                id=item["id"],
                kind=item["kind"],
                argv=tuple(item.get("argv") or ()),
                interval_s=item["interval_s"],
                channels=tuple(channels[str(name)] for name in item["channels"]),
            )
            for item in data.get("sensors") or ()
        ),
    )


def _missing_words(item: Any) -> str:
    """Return what cannot be read, why, and what to do; what is all of the power needs no name."""
    if not isinstance(item, Mapping):
        return str(item)
    what, reason, remedy = (str(item.get(key) or "") for key in ("what", "reason", "remedy"))
    why = reason if what in ("", "power") and reason else ": ".join(filter(None, (what, reason)))
    return " — ".join(filter(None, (why, remedy)))
