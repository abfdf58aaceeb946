"""pyRAPL, a package that reads the energy counters of an x86 processor."""

from __future__ import annotations

from targets.platforms.base import Total
from targets.sensors.rails import PlannedRail, PowerPlan, files_of
from targets.sensors.rapl import STEP_J, TOLERANCE, UPDATE_S, zones
from targets.sources.base import Probe, Source, no_power, package_facts, plan_of

INTERVAL_S = 0.1


def _plan(platform_id: str, probe: Probe, argument: str) -> PowerPlan:
    facts = package_facts(probe, "pyrapl")
    names = tuple(str(name) for name in facts.get("counters") or ())
    if not any(name.startswith("pkg:") for name in names):
        return no_power(facts, "pyRAPL shows no package counter")
    wraps_j = {zone.name: zone.wrap_j for zone in zones(files_of(probe)) if not zone.mmio}
    rails = tuple(
        PlannedRail(
            name=name,
            kind="energy",
            channels=(f"c{number}",),
            conversion="instant",
            update_interval_s=UPDATE_S,
            resolution=(STEP_J,),
            tolerance=TOLERANCE,
            wrap_j=wraps_j.get(name.replace("pkg:", "package-")),
        )
        for number, name in enumerate(names)
    )
    rule = f"{' + '.join(names)}: processor packages and, where counted separately, memory (pyRAPL)"
    return plan_of(
        source="pyrapl",
        total=Total(rails=names, scope="package", rule=rule),
        rails=rails,
        channels=[(f"pyrapl:{name}", "uJ") for name in names],
        kind="pyrapl",
        interval_s=INTERVAL_S,
    )


PYRAPL = Source(name="pyrapl", plan=_plan, package=True)
