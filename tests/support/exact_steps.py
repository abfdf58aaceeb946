"""Networks of which some layers are trained, and one step of stock torch to hold others against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from network_data import varied
from torch import nn

from workloads.networks import build
from workloads.networks.batch_norm import set_batch_norm
from workloads.networks.order import chosen_convolutions, convolutions_in_order

# step(x, grad_logits) of (N, 3, H, W) and (N, classes) returns a gradient for each parameter.
Step = Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]

SIZE, BATCH, CLASSES = 32, 3, 4
# Not narrower: with 4 channels in channels-last, oneDNN 3.12 writes beyond the gradient of a 1x1
# convolution of stride 2, in stock torch too.
WIDTHS = {
    "tiny": None,
    "mobilenet_v2": 0.25,
    "resnet18": 0.125,
    "resnet34": 0.125,
    "efficientnet_lite0": None,
}


def frozen_network(name: str, choice: str = "all", dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return a network with frozen BatchNorm in training mode, whose chosen layers are trained."""
    built = varied(build(name, num_classes=CLASSES, width=WIDTHS[name]))
    network = set_batch_norm(built.to(dtype)).train()
    train_convolutions(network, choice)
    return network


def train_convolutions(network: nn.Module, choice: str) -> None:
    """Freeze all convolutions but the chosen ones."""
    some = next(network.parameters())
    convolutions = convolutions_in_order(network, torch.zeros(1, 3, SIZE, SIZE).to(some))
    chosen = {conv for _, conv in chosen_convolutions(convolutions, choice)}
    for _, conv in convolutions:
        conv.requires_grad_(conv in chosen)


def trained(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained, in the network's order."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def whole_batch(module: nn.Module, parameters: Sequence[nn.Parameter]) -> Step:
    """Return one step of a module as a function."""

    def step(x: torch.Tensor, grad_logits: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(module(x), parameters, grad_logits))

    return step


def images(dtype: torch.dtype = torch.float64, size: int = SIZE) -> torch.Tensor:
    """Return the images of a batch, in channels-last."""
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(BATCH, 3, size, size, generator=generator, dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last)


def grad_logits(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Return a gradient of the logits of a batch."""
    generator = torch.Generator().manual_seed(6)
    return torch.randn(BATCH, CLASSES, generator=generator, dtype=dtype)


def assert_same_step(step: Step, wanted: Step, x: torch.Tensor, tolerance: float) -> None:
    """Fail unless two steps give the same gradients, to a share of the largest of each."""
    gradient = grad_logits(x.dtype)
    before = gradient.clone()
    for got, true in zip(step(x, gradient), wanted(x, gradient), strict=True):
        assert got.shape == true.shape
        assert (got - true).abs().max() <= tolerance * true.abs().max()
    assert torch.equal(gradient, before)
