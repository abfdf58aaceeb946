"""The lists of convolutions against the networks themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from workloads.networks import build
from workloads.networks.order import convolutions_in_order
from workloads.spec.architectures import convolutions, trained_convolutions
from workloads.spec.messages import Layer, Network
from workloads.spec.networks import NETWORKS

torch.set_num_threads(1)


def network(
    architecture: str = "mobilenet_v2", height: int = 64, width: int = 64, **fields: Any
) -> Network:
    return Network(architecture, architecture, height, width, 10, **fields)


def pair(sizes: Any) -> tuple[int, int]:
    rows, columns = sizes
    return rows, columns


def layers_seen(described: Network) -> list[Layer]:
    """Build the network, run it, and describe each convolution by what hooks see."""
    channels = described.channels if described.channels != 1 else None
    built = build(described.architecture, num_classes=10, width=channels)
    x = torch.zeros(1, 3, described.height, described.width)
    in_order = convolutions_in_order(built, x)
    shapes: dict[nn.Module, torch.Size] = {}
    for _, conv in in_order:
        conv.register_forward_pre_hook(lambda conv, inputs: shapes.update({conv: inputs[0].shape}))
    with torch.no_grad():
        built.eval()(x)
    return [
        Layer(
            name=name,
            in_channels=conv.in_channels,
            out_channels=conv.out_channels,
            height=shapes[conv][2],
            width=shapes[conv][3],
            kernel_size=pair(conv.kernel_size),
            stride=pair(conv.stride),
            padding=pair(conv.padding),
            dilation=pair(conv.dilation),
            groups=conv.groups,
            bias=conv.bias is not None,
        )
        for name, conv in in_order
    ]


@pytest.mark.parametrize("size", [(96, 96), (33, 47)])
@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_list_is_what_runs(architecture: str, size: tuple[int, int]) -> None:
    described = network(architecture, *size)
    assert list(convolutions(described)) == layers_seen(described)


@pytest.mark.parametrize("channels", [0.35, 0.5, 1.4])
@pytest.mark.parametrize("architecture", [name for name in NETWORKS if NETWORKS[name].has_width])
def test_the_list_is_what_runs_in_a_narrow_or_wide_network(
    architecture: str, channels: float
) -> None:
    described = network(architecture, channels=channels)
    assert list(convolutions(described)) == layers_seen(described)


def test_the_trained_ones_are_chosen_as_the_network_says() -> None:
    last = ("features.17.conv.0.0", "features.17.conv.1.0", "features.17.conv.2", "features.18.0")
    every = convolutions(network())
    assert len(every) == 52
    for trained, wanted in (
        ("all", every),
        ("last:4", every[-4:]),
        (("features.18.0", "features.0.0"), (every[0], every[-1])),
    ):
        assert trained_convolutions(network(trained=trained)) == wanted
    assert tuple(layer.name for layer in every[-4:]) == last


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"trained": ("features.1", "features.0.0")},
            "^trained: no convolution is named 'features.1'; choose from 'features.0.0', "
            "'features.1.conv.0.0', 'features.1.conv.1', 'features.2.conv.0.0' and 48 more$",
        ),
        ({"trained": "last:53"}, "^trained must be 0 to 52, the number of convolutions, not 53$"),
        ({"trained": "last:0"}, "^trained: no convolution is chosen$"),
        ({"trained": ()}, "^trained: no convolution is chosen$"),
        ({"trained": "first"}, "^trained must be"),
        (
            {"trained": "last:1", "patch_sizes": (("features.0.0", 2),)},
            "^patch_sizes: no convolution is named 'features.0.0'; choose from 'features.18.0'$",
        ),
        ({"architecture": "vgg"}, "^network must be one of mobilenet_v2, .*, not 'vgg'$"),
        (
            {"architecture": "efficientnet_lite0", "channels": 2.0},
            "^channels: efficientnet_lite0 has one width only$",
        ),
        ({"architecture": "efficientnet_lite0", "height": 1}, "^x is too small"),
    ],
)
def test_what_cannot_be_is_refused_with_the_choices(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trained_convolutions(network(**fields))
