"""What all Jetson families share: how to make power readable, clocks steady, throttling seen."""

from __future__ import annotations

from targets.platforms.base import Advice, Evidence, Total

GRANT_IIO = "sudo chmod a+r /sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_*_input"
GRANT_HWMON = (
    "sudo chmod a+r /sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_input "
    "/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/curr*_input"
)
NO_RAILS = (
    "no power sensor: the INA3221 driver shows no rails (a container without /sys, or its "
    "files are for root only)"
)

CLOCKS = (
    Advice(what="Show the power mode", command="nvpmodel -q"),
    Advice(what="Save the present clocks", command="sudo jetson_clocks --store"),
    Advice(what="Hold the clocks at their maximum", command="sudo jetson_clocks"),
    Advice(what="Restore the saved clocks", command="sudo jetson_clocks --restore"),
)
EVIDENCE_4 = (
    Evidence(
        where="/sys/class/thermal/cooling_device*/cur_state of type *-throttle-alert or *balanced*",
        meaning="above 0: clocks are being reduced because of temperature",
    ),
    Evidence(
        where="/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq",
        meaning="below the held clock during a block: reduced because of temperature or current",
    ),
)
EVIDENCE_5 = (
    Evidence(
        where="/sys/class/thermal/cooling_device*/cur_state of type *-throttle-alert",
        meaning="above 0: clocks are being reduced because of temperature",
    ),
    Evidence(
        where="/sys/class/hwmon/hwmon*/oc[123]_event_cnt of soctherm_oc",
        meaning="increased: OC1 under-voltage, OC2 average over-current, OC3 instant over-current",
    ),
    Evidence(
        where="/sys/class/hwmon/hwmon*/curr*_crit_alarm of ina3221",
        meaning="1: the input current is above its limit",
    ),
    EVIDENCE_4[1],
)


def module_input(rail: str, *, contains: str) -> Total:
    """Return the rule for a rail that feeds the whole module."""
    rule = f"{rail}: the input of the module; {contains} are fed from it and so not added"
    return Total(rails=(rail,), scope="module input", rule=rule)


def module_sum(*rails: str, why: str) -> Total:
    """Return the rule for rails side by side that together feed the module."""
    return Total(rails=rails, scope="module sum", rule=f"{' + '.join(rails)}: {why}")
