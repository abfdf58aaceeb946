"""What to sample on a machine and how to make power of it, from all that its probe shows.

`auto` takes the best there is: sensor files (counters before power), failing these tegrastats,
failing that the PMIC of a Raspberry Pi 5; a card's own counter stands beside the processor's,
never added to it. Other packages and meters are taken when the inventory names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from targets import platforms
from targets.platforms.base import METER, Total
from targets.sensors.cards import with_cards
from targets.sensors.hwmon import IIO_STEP_W, IIO_UPDATE_S, SHUNT_STEP_V, TOLERANCE
from targets.sensors.rails import Channel, Missing, PlannedRail, PowerPlan, Sensor, files_of
from targets.sensors.rapl import STEP_J, zones
from targets.sensors.rapl import TOLERANCE as RAPL_TOLERANCE
from targets.sensors.rapl import UPDATE_S as RAPL_UPDATE_S
from targets.sensors.vcgencmd import VOLTAGE_ONLY, pmic_read_adc
from targets.tegrastats import Sample, parse_line

TEGRASTATS_INTERVAL_S = 0.1  # faster it does not get
PMIC_INTERVAL_S = 0.2  # every reading starts a process
JTOP_INTERVAL_S = 0.5  # its own default; the first client of the service decides
PYRAPL_INTERVAL_S = 0.1
METER_INTERVAL_S = 0.1  # a guess before the run, for the length of its windows
BOARDS_OF_JETPACK_4 = ("jetson-tx1", "jetson-tx2", "jetson-nano")
# The steps of a Pi 5's recorded reply: currents are multiples of 61 uA to 3 mA.
PMIC_STEP_A, PMIC_STEP_V = 0.003, 0.0004
PMIC_TOLERANCE = 0.03
PMIC_RULE = (
    "sum of volts x amperes of the PMIC's rails; not the board's input: it leaves out conversion "
    "losses and all that is fed directly from 5 V. An estimate of the input from other people's "
    "measurements, not used here: 1.1451 x sum + 0.5879 W"
)
POWER_MARKS = (
    "/ina2",
    "/ina3",
    "/iio:device",
    "/hwmon",
    "/powercap/",
)  # in the paths of power sensors
METER_RULE = "assumed to measure the input of the board"


def plan_power(
    platform_id: str, probe: Mapping[str, Any], power: str = "auto", argument: str | None = None
) -> PowerPlan:
    """Return the plan for the inventory's `power:`.

    Args:
        platform_id: The family, as `targets.platforms.detect` or the inventory tells it.
        probe: The mapping of probe.json.
        power: auto, off, jtop, pyrapl, pynvml, command or csv.
        argument: The program or the file of the last two.
    """
    if power == "off":
        remedy = {"remedy": "Remove `power: off` from the inventory."}
        return _nothing(remedy, "switched off in the inventory")
    if power == "command":
        return _command(argument or "")
    if power == "csv":
        return _csv(argument or "")
    if power in _PACKAGES:
        return _PACKAGES[power](platform_id, probe)
    return _auto(platform_id, probe)


def _auto(platform_id: str, probe: Mapping[str, Any]) -> PowerPlan:
    plan = platforms.power_plan(platform_id, probe)
    if not plan.total and platform_id.startswith("jetson-"):
        plan = _tegrastats(platform_id, probe) or plan
    if not plan.total and platform_id == "raspberry-pi-5":
        plan = _pmic(probe) or plan
    return with_cards(_with_grant(plan, platform_id, probe), platform_id, probe)


def _with_grant(plan: PowerPlan, platform_id: str, probe: Mapping[str, Any]) -> PowerPlan:
    """Name the command as root where power is missing because files may not be read."""
    grant = platforms.PLATFORMS[platform_id].grant
    denied = tuple(_denied(probe))
    told = any(item.what == "power" and item.remedy == grant for item in plan.missing)
    if plan.total or told or not grant or not denied:
        return plan
    first, *rest = denied
    more = f" and {len(rest)} more" if rest else ""
    reason = f"this user may not read {first}{more}"
    if _program(probe, "tegrastats"):
        reason += ", and tegrastats shows no power either"
    missing = Missing(what="power", reason=reason, remedy=grant)
    others = (item for item in plan.missing if item.what != "power")
    return replace(plan, missing=(missing, *others))


def _denied(probe: Mapping[str, Any]) -> Iterable[str]:
    """Yield the power files that are there and closed to this user."""
    for path, content in files_of(probe).items():
        if content in ("!EACCES", "!EPERM") and any(mark in path for mark in POWER_MARKS):
            yield path


def _tegrastats(platform_id: str, probe: Mapping[str, Any]) -> PowerPlan | None:
    """Return the plan that reads what tegrastats prints; None if that is not the total either."""
    argv = _program(probe, "tegrastats")
    samples = tuple(_samples(probe))
    names = tuple(dict.fromkeys(name for sample in samples for name in sample.rails_mw))
    total = platforms.total_of(platform_id, names)
    if argv is None or total is None or not set(names).issuperset(total.rails):
        return None
    interval_ms = f"{TEGRASTATS_INTERVAL_S * 1000:.0f}"
    return _plan(
        source="tegrastats",
        total=total,
        rails=_jetson_rails(platform_id, probe, names),
        channels=[(f"tegrastats:{name}", "mW") for name in names],
        sensor=("lines", "tegrastats", (*argv, "--interval", interval_ms), TEGRASTATS_INTERVAL_S),
    )


def _jetson_rails(
    platform_id: str, probe: Mapping[str, Any], names: Iterable[str]
) -> tuple[PlannedRail, ...]:
    """Return the rails of a program that reads the monitors for us, and so shows their habits."""
    averages = _release(platform_id, probe) <= 32
    return tuple(
        PlannedRail(
            name=name,
            kind="power",
            channels=(f"c{number}",),
            conversion="average" if averages else "instant",
            update_interval_s=IIO_UPDATE_S if averages else None,
            resolution=(_jetson_step_w(platform_id, averages),),
            tolerance=TOLERANCE,
            wrap_j=None,
        )
        for number, name in enumerate(names)
    )


def _samples(probe: Mapping[str, Any]) -> Iterable[Sample]:
    for line in _output(probe, "tegrastats").splitlines(keepends=True):
        sample = parse_line(line)
        if sample is not None:
            yield sample


def _release(platform_id: str, probe: Mapping[str, Any]) -> int:
    """Return the major L4T release; up to 32 the monitors average (iio driver)."""
    major = str(probe.get("l4t") or "").partition(".")[0]
    if major.isdigit():
        return int(major)
    return 32 if platform_id in BOARDS_OF_JETPACK_4 else 36


def _jetson_step_w(platform_id: str, averages: bool) -> float:
    """Return the step of a rail: milliwatts are printed, but the current comes in coarser ones."""
    shunt_ohm = getattr(platforms.PLATFORMS[platform_id], "shunt_ohm", None)
    if averages or not shunt_ohm:
        return IIO_STEP_W
    volts = 5.0 if shunt_ohm >= 0.005 else 20.0  # the large modules are fed with up to 20 V
    return round(SHUNT_STEP_V / float(shunt_ohm) * volts, 6)


def _pmic(probe: Mapping[str, Any]) -> PowerPlan | None:
    argv = _program(probe, "vcgencmd")
    reply = pmic_read_adc(_output(probe, "vcgencmd pmic_read_adc"))
    names = tuple(name for name, power_w in reply.rails_w.items() if power_w is not None)
    if argv is None or reply.total_w is None:
        return None
    rails: list[PlannedRail] = []
    channels: list[tuple[str, str]] = []
    for name in names:
        ids = (f"c{len(channels)}", f"c{len(channels) + 1}")
        channels += [(f"pmic:{name}_V", "V"), (f"pmic:{name}_A", "A")]
        rails.append(
            PlannedRail(
                name=name,
                kind="volt_amp",
                channels=ids,
                conversion="instant",
                update_interval_s=None,
                resolution=(PMIC_STEP_V, PMIC_STEP_A),
                tolerance=PMIC_TOLERANCE,
                wrap_j=None,
            )
        )
    absent = ", ".join(VOLTAGE_ONLY)
    return _plan(
        source="vcgencmd-pmic",
        total=Total(rails=names, scope="pmic sum", rule=f"{PMIC_RULE} ({absent}: no current)"),
        rails=tuple(rails),
        channels=channels,
        sensor=("repeated", "vcgencmd", (*argv, "pmic_read_adc"), PMIC_INTERVAL_S),
    )


def _command(program: str) -> PowerPlan:
    """Return the plan for a program that prints watts, as often as it likes."""
    rule = f"what `{program}` prints, {METER_RULE}"
    return _plan(
        source="command",
        total=Total(rails=("command",), scope="board input", rule=rule),
        rails=(_meter_rail("command", "instant"),),
        channels=[("command", "W")],
        sensor=("lines", "command", ("sh", "-c", program), METER_INTERVAL_S),
    )


def _csv(path: str) -> PowerPlan:
    """Return the plan for a meter's file, which is read after the run: nothing is sampled."""
    rule = f"{path}, {METER_RULE}; aligned with the blocks by the load it shows"
    return _plan(
        source="csv",
        total=Total(rails=("meter",), scope="board input", rule=rule),
        rails=(_meter_rail("meter", "average"),),
        channels=[(path, "W")],
        sensor=("csv", "meter", (path,), METER_INTERVAL_S),
    )


def _meter_rail(name: str, conversion: str) -> PlannedRail:
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


def _jtop(platform_id: str, probe: Mapping[str, Any]) -> PowerPlan:
    facts = _package(probe, "jtop")
    names = tuple(str(name) for name in facts.get("rails") or ())
    total = platforms.total_of(platform_id, names)
    if total is None or not set(names).issuperset(total.rails):
        listed = ", ".join(names) or "no rails"
        return _nothing(facts, f"jtop shows {listed}; gfbench knows no total of these")
    interval_s = facts.get("interval_s") or JTOP_INTERVAL_S
    return _plan(
        source="jtop",
        total=total,
        rails=_jetson_rails(platform_id, probe, names),
        channels=[(f"jtop:{name}", "mW") for name in names],
        sensor=("jtop", "jtop", (), float(interval_s)),
    )


def _pyrapl(platform_id: str, probe: Mapping[str, Any]) -> PowerPlan:
    facts = _package(probe, "pyrapl")
    names = tuple(str(name) for name in facts.get("counters") or ())
    packages = tuple(name for name in names if name.startswith("pkg:"))
    if not packages:
        return _nothing(facts, "pyRAPL shows no package counter")
    wraps_j = {zone.name: zone.wrap_j for zone in zones(files_of(probe)) if not zone.mmio}
    rails = tuple(
        PlannedRail(
            name=name,
            kind="energy",
            channels=(f"c{number}",),
            conversion="instant",
            update_interval_s=RAPL_UPDATE_S,
            resolution=(STEP_J,),
            tolerance=RAPL_TOLERANCE,
            wrap_j=wraps_j.get(name.replace("pkg:", "package-")),
        )
        for number, name in enumerate(names)
    )
    rule = f"{' + '.join(names)}: processor packages and, where counted separately, memory (pyRAPL)"
    return _plan(
        source="pyrapl",
        total=Total(rails=names, scope="package", rule=rule),
        rails=rails,
        channels=[(f"pyrapl:{name}", "uJ") for name in names],
        sensor=("pyrapl", "pyrapl", (), PYRAPL_INTERVAL_S),
    )


def _pynvml(platform_id: str, probe: Mapping[str, Any]) -> PowerPlan:
    """Return the plan of the cards alone, read through nvidia-ml-py."""
    facts = _package(probe, "pynvml")
    plan = with_cards(_nothing(facts, "no card"), platform_id, {**probe, "nvml": facts})
    if not plan.total:
        return _nothing(facts, "no NVIDIA card here reports its energy or power")
    sensors = tuple(replace(sensor, kind="pynvml") for sensor in plan.sensors)
    return replace(plan, source="nvidia-ml-py", sensors=sensors, missing=())


_PACKAGES: Mapping[str, Callable[[str, Mapping[str, Any]], PowerPlan]] = {
    "jtop": _jtop,
    "pyrapl": _pyrapl,
    "pynvml": _pynvml,
}


def _plan(
    *,
    source: str,
    total: Total,
    rails: tuple[PlannedRail, ...],
    channels: Iterable[tuple[str, str]],
    sensor: tuple[str, str, tuple[str, ...], float],
) -> PowerPlan:
    kind, sensor_id, argv, interval_s = sensor
    listed = tuple(
        Channel(id=f"c{number}", path=path, unit=unit)
        for number, (path, unit) in enumerate(channels)
    )
    return PowerPlan(
        source=source,
        scope=total.scope,
        rule=total.rule,
        total=total.rails,
        rails=rails,
        channels=listed,
        interval_s=interval_s,
        missing=(),
        sensors=(
            Sensor(
                id=sensor_id,
                kind=kind,
                argv=argv,
                interval_s=interval_s,
                channels=tuple(channel.id for channel in listed),
            ),
        ),
    )


def _nothing(facts: Mapping[str, Any], reason: str) -> PowerPlan:
    """Return a plan without power, with the package's own reason where it has one."""
    remedy = str(facts.get("remedy") or METER)
    missing = Missing(what="power", reason=str(facts.get("error") or reason), remedy=remedy)
    return PowerPlan(
        source=None,
        scope=None,
        rule="the power is not measured",
        total=(),
        rails=(),
        channels=(),
        interval_s=platforms.INTERVAL_S,
        missing=(missing,),
    )


def _package(probe: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    facts = probe.get("package")
    return facts if isinstance(facts, Mapping) and facts.get("kind") == kind else {}


def _output(probe: Mapping[str, Any], command: str) -> str:
    outputs = probe.get("outputs")
    text = outputs.get(command) if isinstance(outputs, Mapping) else None
    return text if isinstance(text, str) else ""


def _program(probe: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    programs = probe.get("programs")
    path = programs.get(name) if isinstance(programs, Mapping) else None
    return (path,) if isinstance(path, str) else None
