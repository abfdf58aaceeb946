"""nvidia-ml-py (pynvml), a package that reads NVIDIA cards; of the machine it shows these alone."""

from __future__ import annotations

from dataclasses import replace

from targets.platforms import PLATFORMS
from targets.sensors.cards import with_cards
from targets.sensors.rails import PowerPlan
from targets.sources.base import Probe, Source, no_power, package_facts


def _plan(platform_id: str, probe: Probe, argument: str) -> PowerPlan:
    facts = package_facts(probe, "pynvml")
    plan = no_power(facts, "no card")
    if PLATFORMS[platform_id].has_cards:
        plan = with_cards(plan, {**probe, "nvml": facts})
    if not plan.total:
        return no_power(facts, "no NVIDIA card here reports its energy or power")
    sensors = tuple(replace(sensor, kind="pynvml") for sensor in plan.sensors)
    return replace(plan, source="nvidia-ml-py", sensors=sensors, missing=())


PYNVML = Source(name="pynvml", plan=_plan, package=True)
