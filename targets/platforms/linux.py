"""Any other Linux machine: x86 with RAPL counters, ARM with what monitors it may have."""

from __future__ import annotations

from dataclasses import dataclass

from targets.platforms.base import GRANT_MONITORS, Advice, Board, Evidence, Sensed, Total
from targets.sensors.rails import Files
from targets.sensors.rapl import GRANT, rapl_rails

_GOVERNOR = (
    Advice(
        what="Hold the clock at its maximum",
        command="echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    ),
)
_CLOCK_EVIDENCE = Evidence(
    where="/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq",
    meaning="falling during a block: reduced because of temperature or power",
)


@dataclass(frozen=True, kw_only=True)
class X86:
    """Machines whose processor counts its own energy."""

    id: str = "linux-x86"
    marks: tuple[str, ...] = ()
    chips: tuple[str, ...] = ()
    totals: tuple[Total, ...] = ()  # the zones, and with them the rule, differ by machine
    grant: str = GRANT
    no_sensor: str = "no power sensor: no RAPL counters (usual in a virtual machine or container)"
    evidence: tuple[Evidence, ...] = (
        Evidence(
            where="/sys/devices/system/cpu/cpu*/thermal_throttle/*_count",
            meaning="increased: the processor was too hot",
        ),
        _CLOCK_EVIDENCE,
    )
    setup: tuple[Advice, ...] = _GOVERNOR
    programs: tuple[str, ...] = ()
    has_cards: bool = True
    is_cuda: bool = False
    l4t: int = 36
    shunt_ohm: float | None = None

    def sense(self, files: Files) -> Sensed:
        """Return the RAPL zones; the total is the packages and the memory, never psys."""
        rails, names, missing = rapl_rails(files)
        if not names:
            return Sensed(rails=rails, total=None, missing=missing)
        rule = f"{' + '.join(names)}: processor packages and, where counted separately, memory"
        if any(rail.name == "psys" for rail in rails):
            rule += "; psys contains them and so is not added"
        return Sensed(
            rails=rails, total=Total(rails=names, scope="package", rule=rule), missing=missing
        )


LINUX_X86 = X86()

LINUX_ARM = Board(
    id="linux-arm",
    marks=(),
    totals=(),
    grant=GRANT_MONITORS,
    evidence=(_CLOCK_EVIDENCE,),
    setup=_GOVERNOR,
    has_cards=True,
    lone_monitor=True,
)
