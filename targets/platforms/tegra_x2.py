"""Jetson TX2 and TX2 NX: two INA3221 on the module, two on the carrier, through iio."""

from __future__ import annotations

from targets.platforms.base import Advice, Board
from targets.platforms.jetson import CLOCKS, EVIDENCE_4, GRANT_IIO, NO_RAILS, module_input

JETSON_TX2 = Board(
    id="jetson-tx2",
    marks=(
        "jetson-tx2",
        "jetson tx2",
        "p2771-0000",
        "p3310",
        "p3489",
        "p3636",
        "quill",
    ),
    chips=("tegra186",),
    totals=(
        # VDD_MUX, the jack of the carrier, is not upstream of VDD_IN's point for certain.
        module_input("VDD_IN", contains="the other VDD rails"),
    ),
    grant=GRANT_IIO,
    no_sensor=NO_RAILS,
    evidence=EVIDENCE_4,
    programs=("tegrastats",),
    is_cuda=True,
    l4t=32,
    setup=(Advice(what="Choose the MAXN mode", command="sudo nvpmodel -m 0"), *CLOCKS),
)
