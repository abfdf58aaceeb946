"""The power sensor of a synthetic run: a board whose true power is known at every instant."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from power_curves import Curve

Json = dict[str, Any]
# Power: at rest, in a block but outside its windows, and how often it is read.
IDLE_W, SETUP_W, SAMPLE_S = 2.0, 4.0, 0.05
CPU_SHARE, TOLERANCE = 0.45, 0.02


def _steps(*levels: tuple[float, float]) -> Curve:
    """Return levels of (until which part of the iteration, watts)."""
    watts = np.array([power_w for _, power_w in levels])
    bounds = np.array([0.0, *(until for until, _ in levels)])
    return Curve(bounds=bounds, first_w=watts, last_w=watts)


# What one iteration takes; the mean is 8 W in every phase, so that true energies are 8 W x time.
CURVES = {
    "forward": _steps((0.5, 7.0), (1.0, 9.0)),
    "backward": _steps((0.7, 9.0), (1.0, 17.0 / 3)),
    "step": _steps((0.35, 6.0), (0.9, 9.6), (1.0, 6.2)),
    "train_step": _steps((0.4, 6.5), (0.9, 9.0), (1.0, 6.5)),
}


def idle_windows(blocks: Sequence[Json]) -> list[list[float]]:
    """Return the windows before the first and after the last block."""
    begin, end = blocks[0]["window_s"][0], blocks[-1]["window_s"][1]
    return [[begin - 12, begin - 1], [end + 1, end + 12]]


def write_power(
    folder: Path,
    blocks: Sequence[Json],
    idle: Sequence[Sequence[float]],
    *,
    curves: Mapping[str, Curve],
    scope: str,
) -> None:
    """Write what a board's input and, nested below it, its processor take."""
    (folder / "power.json").write_text(json.dumps(rail_map(scope)))
    rng = np.random.default_rng(len(blocks))
    windows = [
        (phase, timing) for block in blocks for phase, timing in block.get("timing", {}).items()
    ]
    begin_s, end_s = idle[0][0] - 1, idle[1][1] + 1
    count = int((end_s - begin_s) / SAMPLE_S * 1.2)
    times_s = begin_s + np.cumsum(rng.uniform(0.5, 1.5, count) * SAMPLE_S)
    times_s = times_s[times_s < end_s]
    watts = np.full(times_s.size, IDLE_W)
    for block in blocks:
        begin, end = block["window_s"]
        watts[(times_s >= begin) & (times_s <= end)] = SETUP_W
    for phase, timing in windows:
        begin, end = timing["window_s"]
        inside = (times_s >= begin) & (times_s < end)
        edges = begin + np.concatenate([[0.0], np.cumsum(timing["times_s"])]) * timing["loops"]
        places = np.interp(times_s[inside], edges, np.arange(edges.size) * timing["loops"])
        watts[inside] = curves[phase].power_w(places % 1.0)
    with gzip.open(folder / "power.csv.gz", "wt") as file:
        file.write("t_s,sensor,raw\n")
        for t_s, power_w in zip(times_s.tolist(), watts.tolist(), strict=True):
            milliamperes = round(power_w / 5.0 * 1e3)
            file.write(f"{t_s:.6f},c0,5000\n{t_s:.6f},c1,{milliamperes}\n")
            file.write(f"{t_s:.6f},c2,{round(power_w * CPU_SHARE * 1e3)}\n")


def rail_map(scope: str) -> Json:
    """Return power.json: the board's input is the total, the processor's rail lies inside it."""
    return {
        "source": "hwmon-ina3221",
        "scope": scope,
        "rule": "VDD_IN is the module's only input",
        "total": ["VDD_IN"],
        "rails": [
            {
                "name": "VDD_IN",
                "kind": "volt_amp",
                "channels": ["c0", "c1"],
                "conversion": "instant",
                "update_interval_s": None,
                "resolution": [0.008, 0.001],
                "tolerance": TOLERANCE,
                "wrap_j": None,
            },
            {
                "name": "VDD_CPU",
                "kind": "power",
                "channels": ["c2"],
                "conversion": "instant",
                "update_interval_s": None,
                "resolution": [0.001],
                "tolerance": TOLERANCE,
                "wrap_j": None,
            },
        ],
        "channels": [
            {"id": "c0", "path": "/sys/class/hwmon/hwmon0/in1_input", "unit": "mV"},
            {"id": "c1", "path": "/sys/class/hwmon/hwmon0/curr1_input", "unit": "mA"},
            {"id": "c2", "path": "/sys/class/hwmon/hwmon0/power2_input", "unit": "mW"},
        ],
        "interval_s": SAMPLE_S,
        "missing": [],
    }
