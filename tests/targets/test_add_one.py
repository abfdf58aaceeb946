"""A platform and a source of power are one file and one line of a table each."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any, cast

import pytest
from pydantic import TypeAdapter

from harness.board import doctor
from harness.board.probed import read_probe
from harness.commands.list import platform_rows, sensor_rows
from harness.power.log import HEADER, make_trace, rail_map_of
from targets.inventory import Power, Target, schema
from targets.platforms import PLATFORMS, detect
from targets.platforms.base import Advice, Board, Platform, Total
from targets.platforms.linux import LINUX_ARM
from targets.power_plans import plan_power
from targets.sensors.rails import PlannedRail, PowerPlan
from targets.sources import SOURCES
from targets.sources.base import Probe, Source, output_of, plan_of, program

# What a new file targets/platforms/pine.py would hold.
PINE = Board(
    id="pine-board",
    marks=("pine,board",),
    totals=(Total(rails=("VDD",), scope="board input", rule="VDD: the input of the board"),),
    setup=(Advice(what="Hold the clock at its maximum", command="pine --fast"),),
    rail_names=(("ina238", "VDD"),),
)
MONITOR = "/sys/class/hwmon/hwmon3"
PROBE: dict[str, Any] = {
    "compatible": ["pine,board-a1"],
    "model": "Pine Board A1",
    "machine": "aarch64",
    "torch": {"version": "2.1"},
    "cpu": {"governor": "schedutil"},
    "files": {f"{MONITOR}/name": "ina238", f"{MONITOR}/power1_input": "4200000"},
}


# What a new file targets/sources/scales.py would hold: a program that prints milliwatts.
def scales_plan(platform_id: str, probe: Probe, argument: str) -> PowerPlan | None:
    command = program(probe, "scales")
    if command is None or not output_of(probe, "scales"):
        return None
    rail = PlannedRail(
        name="all",
        kind="power",
        channels=("c0",),
        conversion="average",
        update_interval_s=1.0,
        resolution=(0.001,),
        tolerance=0.01,
        wrap_j=None,
    )
    return plan_of(
        source="scales",
        total=Total(rails=("all",), scope="board input", rule="all: what the scales show"),
        rails=(rail,),
        channels=[("scales:all", "mW")],
        kind="lines",
        argv=command,
        interval_s=1.0,
    )


def scales_readings(line: str) -> Iterator[tuple[str, str]]:
    if line.endswith(" mW"):
        yield "scales:all", line.removesuffix(" mW")


SCALES = Source(name="scales", plan=scales_plan, readings=scales_readings)
SCALES_PROBE: dict[str, Any] = {
    "machine": "aarch64",
    "torch": {"version": "2.1"},
    "programs": {"scales": "/usr/bin/scales"},
    "outputs": {"scales": "4200 mW\n"},
}


@pytest.fixture
def with_pine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast("dict[str, Platform]", PLATFORMS), PINE.id, PINE)


@pytest.fixture
def with_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast("dict[str, Source]", SOURCES), SCALES.name, SCALES)
    platform = replace(LINUX_ARM, programs=("scales",))
    monkeypatch.setitem(cast("dict[str, Platform]", PLATFORMS), LINUX_ARM.id, platform)


def answer_with(document: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every target answer with this probe."""
    for name in ("harness.board.doctor.probed", "harness.commands.list.probed"):
        monkeypatch.setattr(name, lambda target, *_: read_probe(target, document))


def schema_again(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the inventory's schema as it is made of the tables that there are now."""
    spec = importlib.util.spec_from_file_location("schema_again", schema.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "schema_again", module)  # where pydantic looks names up
    spec.loader.exec_module(module)
    return module


def test_a_new_platform_is_one_file_and_one_line(
    with_pine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert detect(PROBE) == "pine-board"
    plan = plan_power("pine-board", PROBE)
    assert (plan.total, plan.scope, plan.source) == (("VDD",), "board input", "hwmon-ina238")
    assert {"name": "pine-board"} in platform_rows()
    answer_with(PROBE, monkeypatch)
    examined = doctor.examine(Target(name="a"), None)
    assert (examined.platform, examined.model) == ("pine-board", "Pine Board A1")
    assert [finding.remedy for finding in examined.findings] == ["pine --fast"]
    again = schema_again(monkeypatch)
    TypeAdapter(again.PlatformName).validate_python("pine-board")
    assert "pine-board" in str(again.InventoryFile.model_json_schema())


def test_a_new_source_of_power_is_one_file_and_one_line(
    with_scales: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_power(detect(SCALES_PROBE), SCALES_PROBE)
    assert (plan.source, plan.total, plan.missing) == ("scales", ("all",), ())
    log = HEADER + b"1.0,scales,4200 mW\n2.0,scales,no reading\n"
    trace = make_trace(log, rail_map_of(plan))
    assert trace.trace == HEADER + b"1.0,c0,4200\n"
    assert trace.notes == ("power, scales: lines that are not readings, such as 'no reading'",)
    answer_with(SCALES_PROBE, monkeypatch)
    assert doctor.examine(Target(name="a"), None).findings == ()
    (row,) = sensor_rows([Target(name="a")], None)
    assert (row["rail"], row["in total"], row["note"]) == ("all", "yes", "scales")


def test_a_new_package_may_be_named_in_the_inventory(
    with_scales: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = replace(SCALES, package=True)
    monkeypatch.setitem(cast("dict[str, Source]", SOURCES), SCALES.name, package)
    TypeAdapter(schema_again(monkeypatch).PowerEntry).validate_python("scales")
    power = Power(kind="scales")
    assert plan_power("linux-arm", SCALES_PROBE, power.kind).source == "scales"
    without = plan_power("linux-arm", {}, power.kind)
    assert without.missing[0].reason == "scales gives no total power for this machine"
