"""Jetson TX1 and Nano (Tegra X1): an INA3221 read through the iio driver of JetPack 4."""

from __future__ import annotations

from targets.platforms.base import Advice, Board
from targets.platforms.jetson import CLOCKS, EVIDENCE_4, GRANT_IIO, NO_RAILS, module_input

JETSON_TX1 = Board(
    id="jetson-tx1",
    marks=("jetson-tx1", "jetson tx1", "jetson_tx1", "p2371-2180", "p2180", "jetson-cv"),
    totals=(module_input("VDD_IN", contains="VDD_CPU and VDD_GPU"),),
    grant=GRANT_IIO,
    no_sensor=NO_RAILS,
    evidence=EVIDENCE_4,
    programs=("tegrastats",),
    is_cuda=True,
    l4t=32,
    setup=CLOCKS,
)

JETSON_NANO = Board(
    id="jetson-nano",
    marks=("jetson-nano", "jetson nano", "p3448", "p3450"),
    chips=("tegra210",),
    totals=(
        # The 5 V into the module: NVIDIA forum, jetson_stats #51. USB devices are extra.
        module_input("POM_5V_IN", contains="POM_5V_GPU and POM_5V_CPU"),
    ),
    grant=GRANT_IIO,
    no_sensor=NO_RAILS,
    evidence=EVIDENCE_4,
    programs=("tegrastats",),
    is_cuda=True,
    l4t=32,
    setup=(Advice(what="Choose the 10 W mode", command="sudo nvpmodel -m 0"), *CLOCKS),
)
