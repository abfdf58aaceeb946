"""Raspberry Pi 3, 4 and 5: no power sensor in /sys; a HAT with an INA monitor counts as one."""

from __future__ import annotations

from targets.platforms.base import GRANT_MONITORS, Advice, Board, Evidence

_EVIDENCE = (
    Evidence(
        where="vcgencmd get_throttled",
        meaning="bits 0-3 set, or bits 16-19 newly set: under-voltage, capped, throttled, hot",
    ),
    Evidence(
        where="/sys/class/hwmon/hwmon*/in0_lcrit_alarm of rpi_volt",
        meaning="1: the supply is below 4.63 V",
    ),
)
_SETUP = (
    Advice(
        what="Hold the clock at its maximum",
        command="echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    ),
)

RASPBERRY_PI_3 = Board(
    id="raspberry-pi-3",
    marks=("raspberrypi,3-", "raspberry pi 3", "raspberry pi zero 2"),
    chips=("bcm2837",),
    grant=GRANT_MONITORS,
    no_sensor="no power sensor: a Raspberry Pi 3 has none",
    evidence=_EVIDENCE,
    setup=_SETUP,
    lone_monitor=True,
)

RASPBERRY_PI_4 = Board(
    id="raspberry-pi-4",
    marks=("raspberrypi,4", "raspberry pi 4", "raspberry pi compute module 4"),
    chips=("bcm2711",),
    grant=GRANT_MONITORS,
    no_sensor="no power sensor: a Raspberry Pi 4 has none",
    evidence=_EVIDENCE,
    setup=_SETUP,
    lone_monitor=True,
)

RASPBERRY_PI_5 = Board(
    id="raspberry-pi-5",
    marks=("raspberrypi,5", "raspberry pi 5", "raspberry pi compute module 5"),
    chips=("bcm2712",),
    grant=GRANT_MONITORS,
    no_sensor="no power sensor in sysfs: a Raspberry Pi 5 reports its power by vcgencmd only",
    programs=("vcgencmd",),
    evidence=_EVIDENCE,
    setup=_SETUP,
    lone_monitor=True,
)
