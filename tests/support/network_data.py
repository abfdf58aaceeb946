"""What is recorded of published networks, and weights that leave no part of a network idle."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).parents[1] / "data" / "networks"


def recorded_lines(name: str) -> list[str]:
    """Return the lines of a file in ``tests/data/networks``, without its comments."""
    lines = (FOLDER / name).read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def state_shapes(name: str) -> list[tuple[str, tuple[int, ...]]]:
    """Return keys and shapes of a published state_dict, in its order; () is a number."""
    pairs = []
    for line in recorded_lines(f"{name}.txt"):
        key, *sizes = line.split()
        pairs.append((key, tuple(int(size) for size in sizes)))
    return pairs


def varied(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every BatchNorm statistics, a weight and a bias of its own, in place."""
    generator = torch.Generator().manual_seed(seed)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            with torch.no_grad():
                for tensor, least in (
                    (norm.weight, 0.5),
                    (norm.bias, -0.5),
                    (norm.running_mean, -0.5),
                    (norm.running_var, 0.5),
                ):
                    drawn = torch.rand(norm.num_features, generator=generator, dtype=torch.float32)
                    assert tensor is not None
                    tensor.copy_(drawn + least)
    return network
