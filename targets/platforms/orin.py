"""Jetson Orin Nano, Orin NX and AGX Orin: INA3221 through hwmon, JetPack 5 and newer."""

from __future__ import annotations

from targets.platforms.base import Board
from targets.platforms.jetson import (
    CLOCKS,
    EVIDENCE_5,
    GRANT_HWMON,
    NO_RAILS,
    module_input,
    module_sum,
)

_VDD_IN = module_input("VDD_IN", contains="VDD_CPU_GPU_CV and VDD_SOC")

JETSON_ORIN_NANO = Board(
    id="jetson-orin-nano",
    marks=("p3767-0003", "p3767-0004", "p3767-0005", "orin nano", "jetson-orin-nano"),
    totals=(_VDD_IN,),
    grant=GRANT_HWMON,
    no_sensor=NO_RAILS,
    evidence=EVIDENCE_5,
    programs=("tegrastats",),
    is_cuda=True,
    setup=CLOCKS,
    shunt_ohm=0.005,
)

JETSON_ORIN_NX = Board(
    id="jetson-orin-nx",
    marks=("p3767-0000", "p3767-0001", "p3767-0002", "orin nx", "jetson-orin-nx"),
    totals=(_VDD_IN,),
    grant=GRANT_HWMON,
    no_sensor=NO_RAILS,
    evidence=EVIDENCE_5,
    programs=("tegrastats",),
    is_cuda=True,
    setup=CLOCKS,
    shunt_ohm=0.005,
)

JETSON_AGX_ORIN = Board(
    id="jetson-agx-orin",
    marks=("p3701", "p3737", "agx orin", "jetson-agx-orin"),
    chips=("tegra234",),
    totals=(
        module_sum(
            *("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
            why="independent rails; VDDQ_VDD2_1V8AO is fed from VIN_SYS_5V0 and so not "
            "added; the carrier board is not included",
        ),
    ),
    grant=GRANT_HWMON,
    no_sensor=NO_RAILS,
    evidence=EVIDENCE_5,
    programs=("tegrastats",),
    is_cuda=True,
    setup=CLOCKS,
    shunt_ohm=0.002,
)
