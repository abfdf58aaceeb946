"""The rails of a Jetson as a program or a package shows them, which reads the monitors for us."""

from __future__ import annotations

from collections.abc import Iterable

from targets.platforms import PLATFORMS
from targets.sensors.hwmon import IIO_STEP_W, IIO_UPDATE_S, SHUNT_STEP_V, TOLERANCE
from targets.sensors.rails import PlannedRail
from targets.sources.base import Probe


def jetson_rails(platform_id: str, probe: Probe, names: Iterable[str]) -> tuple[PlannedRail, ...]:
    """Return the rails with the habits of the monitors behind them."""
    averages = _release(platform_id, probe) <= 32  # their iio driver averages
    return tuple(
        PlannedRail(
            name=name,
            kind="power",
            channels=(f"c{number}",),
            conversion="average" if averages else "instant",
            update_interval_s=IIO_UPDATE_S if averages else None,
            resolution=(_step_w(platform_id, averages),),
            tolerance=TOLERANCE,
            wrap_j=None,
        )
        for number, name in enumerate(names)
    )


def _release(platform_id: str, probe: Probe) -> int:
    """Return the major L4T release: the probe's, else the platform's usual one."""
    major = str(probe.get("l4t") or "").partition(".")[0]
    return int(major) if major.isdigit() else PLATFORMS[platform_id].l4t


def _step_w(platform_id: str, averages: bool) -> float:
    """Return the step of a rail: milliwatts are printed, but the current comes in coarser ones."""
    shunt_ohm = PLATFORMS[platform_id].shunt_ohm
    if averages or not shunt_ohm:
        return IIO_STEP_W
    volts = 5.0 if shunt_ohm >= 0.005 else 20.0  # the large modules are fed with up to 20 V
    return round(SHUNT_STEP_V / shunt_ohm * volts, 6)
