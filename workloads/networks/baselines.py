"""The exact baselines by name: the ways to train a network without approximation."""

from typing import Callable, Dict, NamedTuple, Optional

import torch
from torch import nn

from workloads.networks.compiled import compiled, why_not_compiled
from workloads.networks.folded import folded
from workloads.networks.fused import fused
from workloads.networks.operators import MEMORY_FORMAT


class Baseline(NamedTuple):
    """One way to compute a network's logits and its exact gradients.

    Attributes:
        name: as suites and the command line have it.
        make: returns a module that trains the parameters of the network that it gets, and lays
            them out in ``memory_format``, in place.
        memory_format: of images and weights.
        unavailable: returns why it cannot run here, or None.
    """

    name: str
    make: Callable[[nn.Module], nn.Module]
    memory_format: torch.memory_format = torch.channels_last
    unavailable: Callable[[], Optional[str]] = lambda: None


def _in_nchw(network: nn.Module) -> nn.Module:
    return laid_out(network, torch.contiguous_format)


def _in_channels_last(network: nn.Module) -> nn.Module:
    return laid_out(network, torch.channels_last)


def laid_out(network: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """Lay a network's weights out in a memory format, in place; return the network."""
    return network.to(memory_format=memory_format)  # type: ignore[call-overload, no-any-return]


BASELINES: Dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        Baseline("torch", _in_nchw, torch.contiguous_format),
        Baseline("torch-channels-last", _in_channels_last),
        Baseline("folded", folded, MEMORY_FORMAT),
        Baseline("fused", fused, MEMORY_FORMAT),
        Baseline("compiled", compiled, unavailable=why_not_compiled),
    )
}
