"""The PMIC of a Raspberry Pi 5, which vcgencmd asks for the volts and amperes of its rails."""

from __future__ import annotations

from collections.abc import Iterator

from targets.platforms.base import Total
from targets.sensors.rails import PlannedRail, PowerPlan
from targets.sensors.vcgencmd import VOLTAGE_ONLY, pmic_read_adc
from targets.sources.base import Probe, Source, output_of, plan_of, program

INTERVAL_S = 0.2  # every reading starts a process
COMMAND = "vcgencmd pmic_read_adc"  # among the outputs of the probe
# The steps of a recorded reply: currents are multiples of 61 uA to 3 mA.
STEP_A, STEP_V = 0.003, 0.0004
TOLERANCE = 0.03
RULE = (
    "sum of volts x amperes of the PMIC's rails; not the board's input: it leaves out conversion "
    "losses and all that is fed directly from 5 V. An estimate of the input from other people's "
    "measurements, not used here: 1.1451 x sum + 0.5879 W"
)


def _plan(platform_id: str, probe: Probe, argument: str) -> PowerPlan | None:
    command = program(probe, "vcgencmd")
    reply = pmic_read_adc(output_of(probe, COMMAND))
    names = tuple(name for name, power_w in reply.rails_w.items() if power_w is not None)
    if command is None or reply.total_w is None:
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
                resolution=(STEP_V, STEP_A),
                tolerance=TOLERANCE,
                wrap_j=None,
            )
        )
    absent = ", ".join(VOLTAGE_ONLY)
    return plan_of(
        source="vcgencmd-pmic",
        sensor="vcgencmd",
        total=Total(rails=names, scope="pmic sum", rule=f"{RULE} ({absent}: no current)"),
        rails=tuple(rails),
        channels=channels,
        kind="repeated",
        argv=(*command, "pmic_read_adc"),
        interval_s=INTERVAL_S,
    )


def _readings(line: str) -> Iterator[tuple[str, str]]:
    reply = pmic_read_adc(line)
    for unit, values in (("V", reply.volts), ("A", reply.amperes)):
        for name, value in values.items():
            yield f"pmic:{name}_{unit}", repr(value)


def _answers(output: str) -> bool:
    return bool(pmic_read_adc(output).rails_w)


PMIC = Source(name="vcgencmd", plan=_plan, readings=_readings, command=COMMAND, answers=_answers)
