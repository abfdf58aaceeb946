"""jetson-stats (jtop), a service on a Jetson that shows its rails to every user."""

from __future__ import annotations

from targets import platforms
from targets.sensors.rails import PowerPlan
from targets.sources.base import Probe, Source, no_power, package_facts, plan_of
from targets.sources.jetson import jetson_rails

INTERVAL_S = 0.5  # its own default; the first client of the service decides


def _plan(platform_id: str, probe: Probe, argument: str) -> PowerPlan:
    facts = package_facts(probe, "jtop")
    names = tuple(str(name) for name in facts.get("rails") or ())
    total = platforms.total_of(platform_id, names)
    if total is None or not set(names).issuperset(total.rails):
        listed = ", ".join(names) or "no rails"
        reason = f"jtop shows {listed}; gfbench does not know which add up to the total power"
        return no_power(facts, reason)
    return plan_of(
        source="jtop",
        total=total,
        rails=jetson_rails(platform_id, probe, names),
        channels=[(f"jtop:{name}", "mW") for name in names],
        kind="jtop",
        interval_s=float(facts.get("interval_s") or INTERVAL_S),
    )


JTOP = Source(name="jtop", plan=_plan, package=True)
