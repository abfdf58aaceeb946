"""The ids of the platform families, as the inventory and the results spell them."""

from __future__ import annotations

from typing import Literal, get_args

PlatformId = Literal[
    "jetson-tk1",
    "jetson-tx1",
    "jetson-tx2",
    "jetson-nano",
    "jetson-xavier-nx",
    "jetson-agx-xavier",
    "jetson-orin-nano",
    "jetson-orin-nx",
    "jetson-agx-orin",
    "jetson-agx-thor",
    "raspberry-pi-3",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "linux-x86",
    "linux-arm",
]

PLATFORM_IDS: tuple[str, ...] = get_args(PlatformId)
