"""Every network's filtered gradients against the slow loop over patches, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from network_data import varied
from oracle import Config, conv_arguments, filtered_gradients
from torch import nn

from workloads.convolution import filter_module
from workloads.networks import build
from workloads.networks.batch_norm import set_batch_norm
from workloads.networks.order import chosen_convolutions, convolutions_in_order

torch.set_num_threads(1)

PATCH_SIZE = 2


class SlowFilter(torch.autograd.Function):
    """A convolution whose backward is the slow loop."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, config: Config) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        ctx.config = config
        return F.conv2d(x, w, **conv_arguments(config))

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, w = ctx.saved_tensors
        g_x, g_w, _ = filtered_gradients(x, w, g, ctx.config)
        return g_x, g_w, None


class SlowConv2d(nn.Conv2d):
    """A layer without bias that takes the slow loop."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        config = Config(
            tuple(input.shape),
            tuple(self.weight.shape),
            (self.stride[0], self.stride[1]),
            (int(self.padding[0]), int(self.padding[1])),
            (self.dilation[0], self.dilation[1]),
            self.groups,
            (PATCH_SIZE, PATCH_SIZE),
        )
        y: torch.Tensor = SlowFilter.apply(input, self.weight, config)  # type: ignore[no-untyped-call]
        return y


def gradients(network: nn.Module, size: int) -> dict[str, torch.Tensor]:
    """Return the gradients of one step: of every parameter that is trained, and of the images."""
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(2, 3, size, size, generator=generator, dtype=torch.float64).requires_grad_()
    torch.autograd.backward(F.cross_entropy(network(x), torch.tensor([1, 0])))
    found = {name: part.grad for name, part in network.named_parameters() if part.requires_grad}
    found["x"] = x.grad
    return {name: grad for name, grad in found.items() if grad is not None}


@pytest.mark.parametrize(
    ("name", "width", "size", "choice", "frozen"),
    [
        ("tiny", None, 8, "all", True),
        ("tiny", None, 7, "last:2", False),
        ("mobilenet_v2", 0.25, 64, "all", True),
        ("mobilenet_v2", 0.25, 64, "last:4", False),
        ("resnet18", 0.125, 64, "all", True),
        ("resnet18", 0.125, 64, "last:4", False),
        ("resnet34", 0.0625, 32, "all", True),
        ("efficientnet_lite0", None, 32, "all", True),
    ],
)
def test_a_networks_gradients_equal_the_slow_loop(
    name: str, width: float | None, size: int, choice: str, frozen: bool
) -> None:
    networks = [
        set_batch_norm(varied(build(name, num_classes=4, width=width)).double(), frozen=frozen)
        for _ in range(3)
    ]
    filtered, slow, exact = networks
    convolutions = convolutions_in_order(slow, torch.zeros(1, 3, size, size).double())
    chosen = chosen_convolutions(convolutions, choice)
    for _, conv in chosen:
        conv.__class__ = SlowConv2d
    filter_module(filtered, PATCH_SIZE, layers=[key for key, _ in chosen], kernel="torch")
    got, wanted, unfiltered = (gradients(network, size) for network in (filtered, slow, exact))
    assert set(got) == set(wanted) == set(unfiltered)
    for key, grad in wanted.items():
        largest = float(grad.abs().max())
        assert largest > 0, key
        # A trained BatchNorm takes out what a bias before it adds: that gradient is rounding alone.
        assert float((got[key] - grad).abs().max()) < 1e-9 * max(largest, 1e-4), key
    assert not torch.allclose(got["x"], unfiltered["x"], rtol=1e-3, atol=0)
