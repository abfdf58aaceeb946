"""NVIDIA cards as the driver's library shows them: beside the processor, never added to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from targets.sensors.rails import Channel, PlannedRail, PowerPlan, Secondary, Sensor

INTERVAL_S = 0.1
ENERGY_STEP_J, POWER_STEP_W = 0.001, 0.001
COUNTER_UPDATE_S = 0.1  # the counter moves every 20 to 100 ms
AVERAGE_S = 1.0  # the plain power reading of Ampere and newer cards is a mean over a second
TOLERANCE = 0.05  # gain error measured over many cards: arXiv 2312.02741
# quantity -> unit, kind, conversion, update interval, step; the best first
QUANTITIES: Mapping[str, tuple[str, str, str, float | None, float]] = {
    "energy": ("mJ", "energy", "instant", COUNTER_UPDATE_S, ENERGY_STEP_J),
    "power_instant": ("mW", "power", "instant", None, POWER_STEP_W),
    "power": ("mW", "power", "average", AVERAGE_S, POWER_STEP_W),
}


def with_cards(plan: PowerPlan, probe: Mapping[str, Any]) -> PowerPlan:
    """Return the plan with the machine's cards in it.

    Where torch computes on a card, that card is the primary source and what was there before is
    the secondary one; else the other way round.
    """
    cards = tuple(_readable(probe))
    if not cards:
        return plan
    first = len(plan.channels)
    channels = tuple(
        Channel(
            id=f"c{first + number}", path=f"nvml:{index}:{quantity}", unit=QUANTITIES[quantity][0]
        )
        for number, (index, _, quantity) in enumerate(cards)
    )
    rails = tuple(
        _rail(name, quantity, channel)
        for (_, name, quantity), channel in zip(cards, channels, strict=True)
    )
    sensor = Sensor(
        id="nvml",
        kind="nvml",
        argv=(),
        interval_s=INTERVAL_S,
        channels=tuple(channel.id for channel in channels),
    )
    widened = replace(
        plan,
        rails=(*plan.rails, *rails),
        channels=(*plan.channels, *channels),
        sensors=(*plan.sensors, sensor),
    )
    return _ranked(widened, _own(rails, cards, probe), probe)


def _ranked(plan: PowerPlan, own: PlannedRail, probe: Mapping[str, Any]) -> PowerPlan:
    """Decide what is primary."""
    rule = f"{own.name}: the whole card with its memory, without the processor and the board"
    card = Secondary(source="nvml", scope="card", rule=rule, total=(own.name,))
    if plan.total and not _cuda(probe):
        return replace(plan, secondary=(*plan.secondary, card))
    before = Secondary(
        source=plan.source or "", scope=plan.scope or "", rule=plan.rule, total=plan.total
    )
    missing = tuple(item for item in plan.missing if item.what != "power")
    return replace(
        plan,
        source=card.source,
        scope=card.scope,
        rule=card.rule,
        total=card.total,
        missing=missing,
        secondary=(*plan.secondary, *((before,) if plan.total else ())),
    )


def _readable(probe: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """Yield (index, name, best quantity) of each card that shows one."""
    nvml = probe.get("nvml")
    listed = nvml.get("cards") if isinstance(nvml, Mapping) else None
    names: set[str] = set()
    for card in listed if isinstance(listed, (list, tuple)) else ():
        if not isinstance(card, Mapping):
            continue
        index = card.get("index")
        shown = [name for name in QUANTITIES if isinstance(card.get(name), (int, float))]
        if not isinstance(index, int) or not shown:
            continue
        name = str(card.get("name") or "card")
        if name in names:
            name = f"{name} ({index})"
        names.add(name)
        yield index, name, shown[0]


def _rail(name: str, quantity: str, channel: Channel) -> PlannedRail:
    _, kind, conversion, update_s, step = QUANTITIES[quantity]
    return PlannedRail(
        name=name,
        kind=kind,
        channels=(channel.id,),
        conversion=conversion,
        update_interval_s=update_s,
        resolution=(step,),
        tolerance=TOLERANCE,
        wrap_j=None,
    )


def _own(
    rails: tuple[PlannedRail, ...],
    cards: tuple[tuple[int, str, str], ...],
    probe: Mapping[str, Any],
) -> PlannedRail:
    """Return the card that torch computes on: the first of its name, in the order of the bus."""
    device = (_cuda(probe) or {}).get("device")
    named = (rail for rail, card in zip(rails, cards, strict=True) if card[1] == device)
    return next(named, rails[0])


def _cuda(probe: Mapping[str, Any]) -> Mapping[str, Any] | None:
    torch = probe.get("torch")
    cuda = torch.get("cuda") if isinstance(torch, Mapping) else None
    return cuda if isinstance(cuda, Mapping) else None
