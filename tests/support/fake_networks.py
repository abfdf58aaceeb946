"""Synthetic cases of whole networks and what their blocks measure, in the wire format."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FakeNetwork:
    """A network of ``convolutions`` with a BatchNorm and an activation after each."""

    name: str = "mobile-all"
    convolutions: int = 6
    optimizer: str = "none"
    work: float = 1.0  # times the seconds and bytes of the figures below


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one way of training the network takes: milliseconds and MiB."""

    forward: float
    backward: float
    saved: float
    cosine: float | None = None


# By method, patch size and kernel.
Way = tuple[str, int | None, str]
WAYS: Mapping[Way, Figures] = {
    ("exact", None, "torch"): Figures(forward=204, backward=371, saved=1251),
    ("exact", None, "torch-channels-last"): Figures(forward=148, backward=292, saved=1251),
    ("exact", None, "folded"): Figures(forward=128, backward=198, saved=833),
    ("exact", None, "fused"): Figures(forward=80, backward=197, saved=437),
    ("exact", None, "compiled"): Figures(forward=100, backward=190, saved=640),
    ("checkpoint", None, "fused"): Figures(forward=82, backward=285, saved=120),
    ("micro_batches", None, "fused"): Figures(forward=91, backward=230, saved=110),
    ("gradient_filter", 2, "native"): Figures(forward=96, backward=120, saved=260, cosine=0.91),
    ("gradient_filter", 4, "native"): Figures(forward=90, backward=98, saved=190, cosine=0.83),
}
REPEATED = ("fused", "compiled")  # the exact kernels that the pilot round found to be the fastest
LEFT_OUT = "slower in the pilot round: the two fastest took 277 and 290 ms"
OPTIMIZER_MS = 12.0
INFERENCE_MIB = 60.0


def network_cases(network: FakeNetwork) -> list[Json]:
    """Return the cases of a network as JSON, in all ways of training it."""
    workload = {
        "name": network.name,
        "architecture": "mobilenet_v2",
        "height": 96,
        "width": 96,
        "num_classes": 10,
        "trained": "all",
        "patch_sizes": [],
        "frozen_batch_norm": True,
        "optimizer": network.optimizer,
        "channels": 1.0,
        "weights": "",
    }
    return [
        {
            "network": workload,
            "method": method,
            "patch_size": patch_size,
            "kernel": kernel,
            "device": "cpu",
            "dtype": "float32",
            "batch": 16,
        }
        for method, patch_size, kernel in WAYS
    ]


def is_left_out(case: Json, kind: str, round_: int) -> bool:
    """Tell whether a block was not repeated after the pilot round."""
    exact = case["method"] == "exact" and case["kernel"] not in REPEATED
    return "network" in case and exact and kind == "timing" and round_ > 0


def phase_seconds(case: Json, network: FakeNetwork) -> dict[str, float]:
    """Return the seconds of one iteration by phase, on a machine of speed 1."""
    figures = _figures(case)
    forward_s = figures.forward * network.work / 1000
    backward_s = figures.backward * network.work / 1000
    seconds = {"forward": forward_s, "backward": backward_s, "step": forward_s + backward_s}
    if network.optimizer != "none":
        seconds["train_step"] = seconds["step"] + OPTIMIZER_MS * network.work / 1000
    return seconds


def network_memory(case: Json, network: FakeNetwork) -> Json:
    """Return what a memory block measures."""
    saved = int(_figures(case).saved * network.work * MIB)
    inference = int(INFERENCE_MIB * network.work * MIB)
    return {
        "saved_bytes": saved,
        "peak_rss_bytes": saved + inference,
        "peak_rss_method": "VmHWM after clear_refs",
        "inference_peak_rss_bytes": inference,
        "cuda_peak_bytes": None,
        "system_dip_bytes": saved + 2 * inference,
    }


def network_fidelity(case: Json, network: FakeNetwork, rng: random.Random) -> Json:
    """Return the fields of a fidelity block: of the whole gradient, and by layer."""
    cosine = _figures(case).cosine or 1.0
    whole = {
        "cosine_gx": None,
        "cosine_gw": cosine,
        "scale_gw": 0.97,
        "rel_error_gw": (1 - cosine**2) ** 0.5,
    }
    layers = []
    for number in range(network.convolutions):
        layers.append(
            {
                "name": f"features.{number}.0",
                "cosine_gx": cosine + 0.05 - 0.02 * rng.random(),
                "cosine_gw": cosine + 0.06,
                "cosine_gw_network": cosine - 0.01 * (network.convolutions - number),
            }
        )
    return {"fidelity": {"captured": whole}, "layer_fidelity": layers}


def network_by_layer(case: Json, network: FakeNetwork) -> Json:
    """Return where a step goes; saved bytes add up to those of the memory block."""
    seconds = phase_seconds(case, network)
    left = int(_figures(case).saved * network.work * MIB)
    total = left
    layers, saved = [], []
    kinds = ("Conv2d", "BatchNorm2d", "ReLU6")
    modules = [(n, kind) for n in range(network.convolutions) for kind in kinds]
    for place, (number, kind) in enumerate(modules):
        is_last = place == len(modules) - 1
        kept = left if is_last else left // 3
        left -= kept
        name = f"features.{number}.{kinds.index(kind)}"
        layers.append(
            {
                "name": name,
                "kind": kind,
                "forward_s": seconds["forward"] / len(modules),
                "backward_s": 0.0 if place == 0 else seconds["backward"] / len(modules),
                "saved_bytes": kept,
            }
        )
        saved.append({"kept_by": name, "kind": kind, "shape": [16, 24, 48, 48], "bytes": kept})
    return {
        "layers": layers,
        "saved": saved,
        "forward_s": seconds["forward"],
        "backward_s": seconds["backward"],
        "saved_bytes": total,
    }


def _figures(case: Json) -> Figures:
    return WAYS[case["method"], case["patch_size"], case["kernel"]]


def network_of(case: Json, networks: Sequence[FakeNetwork]) -> FakeNetwork:
    """Return the network that a case is of."""
    return next(network for network in networks if network.name == case["network"]["name"])
