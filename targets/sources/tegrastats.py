"""tegrastats, which prints the power of a Jetson's rails where its sensor files are closed."""

from __future__ import annotations

from collections.abc import Iterator

from targets import platforms
from targets.sensors.rails import PowerPlan
from targets.sources.base import Probe, Source, output_of, plan_of, program
from targets.sources.jetson import jetson_rails
from targets.tegrastats import Sample, parse_line

INTERVAL_S = 0.1  # tegrastats prints no faster
COMMAND = "tegrastats"  # among the outputs of the probe


def _plan(platform_id: str, probe: Probe, argument: str) -> PowerPlan | None:
    command = program(probe, "tegrastats")
    samples = _samples(output_of(probe, COMMAND))
    names = tuple(dict.fromkeys(name for sample in samples for name in sample.rails_mw))
    total = platforms.total_of(platform_id, names)
    if command is None or total is None or not set(names).issuperset(total.rails):
        return None
    return plan_of(
        source="tegrastats",
        total=total,
        rails=jetson_rails(platform_id, probe, names),
        channels=[(f"tegrastats:{name}", "mW") for name in names],
        kind="lines",
        argv=(*command, "--interval", f"{INTERVAL_S * 1000:.0f}"),
        interval_s=INTERVAL_S,
    )


def _samples(output: str) -> Iterator[Sample]:
    for line in output.splitlines(keepends=True):
        sample = parse_line(line)
        if sample is not None:
            yield sample


def _readings(line: str) -> Iterator[tuple[str, str]]:
    sample = parse_line(line + "\n")  # the board passes on whole lines only
    if sample is not None:
        for name, rail in sample.rails_mw.items():
            yield f"tegrastats:{name}", str(rail[0])


def _answers(output: str) -> bool:
    return any(_samples(output))


TEGRASTATS = Source(
    name="tegrastats", plan=_plan, readings=_readings, command=COMMAND, answers=_answers
)
