"""Jetson Xavier NX and AGX Xavier: iio on JetPack 4, hwmon on JetPack 5."""

from __future__ import annotations

from targets.platforms.base import Board
from targets.platforms.jetson import (
    CLOCKS,
    EVIDENCE_5,
    GRANT_HWMON,
    GRANT_IIO,
    NO_RAILS,
    module_input,
    module_sum,
)

JETSON_XAVIER_NX = Board(
    id="jetson-xavier-nx",
    marks=("jetson-xavier-nx", "xavier nx", "p3668"),
    totals=(module_input("VDD_IN", contains="VDD_CPU_GPU_CV and VDD_SOC"),),
    grant=f"{GRANT_HWMON} || {GRANT_IIO}",
    no_sensor=NO_RAILS,
    evidence=EVIDENCE_5,
    programs=("tegrastats",),
    is_cuda=True,
    setup=CLOCKS,
    shunt_ohm=0.005,
)

JETSON_AGX_XAVIER = Board(
    id="jetson-agx-xavier",
    marks=("jetson-xavier", "jetson-agx", "agx xavier", "p2888", "p2972"),
    chips=("tegra194",),
    totals=(
        module_sum(
            *("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
            why="no rail measures the input; the six are independent of each other",
        ),
    ),
    grant=f"{GRANT_HWMON} || {GRANT_IIO}",
    no_sensor=NO_RAILS,
    evidence=EVIDENCE_5,
    programs=("tegrastats",),
    is_cuda=True,
    setup=CLOCKS,
)
