"""Jetson AGX Thor: INA3221 on the module, since L4T 38.4 also an INA238 on the carrier's input."""

from __future__ import annotations

from targets.platforms.base import Board, Total
from targets.platforms.jetson import CLOCKS, EVIDENCE_5, GRANT_HWMON, NO_RAILS, module_sum

JETSON_AGX_THOR = Board(
    id="jetson-agx-thor",
    marks=("p3834", "p4071", "agx thor", "jetson-agx-thor", "jetson thor"),
    chips=("tegra264",),
    totals=(
        Total(
            rails=("VIN",),
            scope="board input",
            rule="VIN: the input of the carrier board; all other rails are fed from it",
        ),
        module_sum(
            *("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
            why="independent rails; the carrier board is not included",
        ),
    ),
    grant=f"{GRANT_HWMON} /sys/class/hwmon/hwmon*/*1_input",
    no_sensor=NO_RAILS,
    evidence=EVIDENCE_5,
    programs=("tegrastats",),
    is_cuda=True,
    setup=CLOCKS,
    shunt_ohm=0.002,
    rail_names=(("ina238", "VIN"),),
)
