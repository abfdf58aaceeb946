"""The metrics: their names, units and kinds."""

from __future__ import annotations

UNITS: dict[str, str] = {
    "latency_s": "s",
    "speedup": "1",
    "floor_fraction": "1",
    "peak_rss_bytes": "B",
    "cuda_peak_bytes": "B",
    "saved_bytes": "B",
    "system_dip_bytes": "B",
    "cosine_gx": "1",
    "scale_gx": "1",
    "rel_error_gx": "1",
    "cosine_gw": "1",
    "scale_gw": "1",
    "rel_error_gw": "1",
    "energy_j": "J",
    "power_w": "W",
    "temperature_c": "degC",
}
FIDELITY = tuple(name for name in UNITS if name.endswith(("_gx", "_gw")))

METRICS = {
    "latency_s": "latency",
    "speedup": "speedup over exact",
    "floor_fraction": "share of the floor reached",
    "kernel_ratio": "speed over kernel torch",
    "peak_rss_bytes": "peak memory of the process",
    "cuda_peak_bytes": "peak memory of the CUDA allocator",
    "saved_bytes": "bytes saved for the backward",
    "system_dip_bytes": "dip of the system's free memory",
    "cosine_gx": "cosine of g_x",
    "scale_gx": "projection scale of g_x",
    "rel_error_gx": "relative error of g_x",
    "cosine_gw": "cosine of g_w",
    "scale_gw": "projection scale of g_w",
    "rel_error_gw": "relative error of g_w",
    "energy_j": "energy",
    "power_w": "mean power",
    "temperature_c": "temperature after the block",
}
