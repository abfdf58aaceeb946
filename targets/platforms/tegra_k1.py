"""Jetson TK1: no power sensor at all."""

from __future__ import annotations

from targets.platforms.base import Board
from targets.platforms.jetson import EVIDENCE_4

JETSON_TK1 = Board(
    id="jetson-tk1",
    marks=("jetson-tk1", "jetson tk1"),
    chips=("tegra124",),
    no_sensor="no power sensor: the Jetson TK1 has none",
    evidence=EVIDENCE_4,
    programs=("tegrastats",),
    is_cuda=True,
)
