"""External meters: a program on the board that prints watts, and a file to read after the run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from targets.platforms.base import Total
from targets.sensors.rails import PlannedRail, PowerPlan
from targets.sources.base import Probe, Source, plan_of

INTERVAL_S = 0.1  # a guess before the run, for the length of its windows
RULE = "assumed to measure the input of the board"
_WATTS = re.compile(r"\s*([+-]?[0-9]{1,9}(?:\.[0-9]{0,12})?(?:[eE][+-]?[0-9]{1,2})?)\s*[wW]?\s*")


def _command_plan(platform_id: str, probe: Probe, program: str) -> PowerPlan:
    """Return the plan for a program that prints watts, as often as it likes."""
    rule = f"what `{program}` prints, {RULE}"
    return plan_of(
        source="command",
        total=Total(rails=("command",), scope="board input", rule=rule),
        rails=(_rail("command", "instant"),),
        channels=[("command", "W")],
        kind="lines",
        argv=("sh", "-c", program),
        interval_s=INTERVAL_S,
    )


def _csv_plan(platform_id: str, probe: Probe, path: str) -> PowerPlan:
    """Return the plan for a meter's file, which is read after the run: nothing is sampled."""
    rule = f"{path}, {RULE}; aligned with the blocks by the load it shows"
    return plan_of(
        source="csv",
        sensor="meter",
        total=Total(rails=("meter",), scope="board input", rule=rule),
        rails=(_rail("meter", "average"),),
        channels=[(path, "W")],
        kind="csv",
        argv=(path,),
        interval_s=INTERVAL_S,
    )


def _rail(name: str, conversion: str) -> PlannedRail:
    return PlannedRail(
        name=name,
        kind="power",
        channels=("c0",),
        conversion=conversion,
        update_interval_s=None,
        resolution=(0.001,),
        tolerance=None,
        wrap_j=None,
    )


def _watts(line: str) -> Iterator[tuple[str, str]]:
    match = _WATTS.fullmatch(line)
    if match:
        yield "command", match[1]


COMMAND = Source(name="command", plan=_command_plan, readings=_watts)
CSV = Source(name="csv", plan=_csv_plan)
