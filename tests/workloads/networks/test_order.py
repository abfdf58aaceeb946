"""Convolutions in the order in which they run, and the choice of the last of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from workloads.convolution import FilteredConv2d, filter_module
from workloads.networks import build
from workloads.networks.order import chosen_convolutions, convolutions_in_order
from workloads.spec.networks import NETWORKS

torch.set_num_threads(1)


class Crossed(nn.Module):
    """Defines its layers in another order than it runs them, one never, one twice."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(4, 2, 1)
        self.never = nn.Conv2d(4, 4, 1)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.again = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.again(self.norm(self.stem(x)))
        y: torch.Tensor = self.head(self.again(x))
        return y


EXAMPLE = torch.zeros(2, 3, 8, 8)


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def test_the_order_is_that_of_the_forward() -> None:
    assert names(convolutions_in_order(Crossed(), EXAMPLE)) == ["stem", "again", "head"]
    assert names(convolutions_in_order(nn.Conv2d(3, 2, 1), EXAMPLE)) == [""]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_of_a_network_runs(name: str) -> None:
    network = build(name)
    defined = {key for key, part in network.named_modules() if isinstance(part, nn.Conv2d)}
    in_order = names(convolutions_in_order(network, torch.zeros(1, 3, 32, 32)))
    assert len(in_order) == len(defined)
    assert set(in_order) == defined


def test_looking_changes_nothing() -> None:
    network = Crossed()
    network.again.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    convolutions_in_order(network, EXAMPLE + 1)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert [part.training for part in network.modules()] == [True, True, True, True, True, False]
    assert not any(part._forward_pre_hooks for part in network.modules())


def test_a_forward_that_fails_leaves_no_hook_behind() -> None:
    network = Crossed()
    with pytest.raises(RuntimeError):
        convolutions_in_order(network, torch.zeros(1, 5, 8, 8))
    assert network.training
    assert not any(part._forward_pre_hooks for part in network.modules())


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("all", ["stem", "again", "head"]),
        ("last:2", ["again", "head"]),
        ("last:3", ["stem", "again", "head"]),
        ("last:0", []),
        (["head", "stem"], ["stem", "head"]),
        ([], []),
    ],
)
def test_convolutions_are_chosen(choice: Any, wanted: list[str]) -> None:
    convolutions = convolutions_in_order(Crossed(), EXAMPLE)
    assert names(chosen_convolutions(convolutions, choice)) == wanted


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("stem", "names, not 'stem'"),
        ("last:", "names, not 'last:'"),
        ("last:-1", "names, not 'last:-1'"),
        ("last:4", "0 to 3, the number of convolutions, not 4"),
        (["never"], "no convolution is named 'never'; choose from 'stem', 'again', 'head'"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_with_the_choices(choice: Any, words: str) -> None:
    convolutions = convolutions_in_order(Crossed(), EXAMPLE)
    with pytest.raises(ValueError, match=f"^layers.*{words}"):
        chosen_convolutions(convolutions, choice)


def test_the_last_layers_are_filtered_as_they_run_where_an_example_is_given() -> None:
    for example, wanted in ((EXAMPLE, ["head", "again"]), (None, ["stem", "again"])):
        network = filter_module(Crossed(), 2, layers=2, example=example)
        filtered = [name for name, m in network.named_modules() if isinstance(m, FilteredConv2d)]
        assert filtered == wanted
    with pytest.raises(ValueError, match=r"^layers must be 0 to 3"):
        filter_module(Crossed(), 2, layers=4, example=EXAMPLE)


def test_the_last_four_of_resnet18_are_those_of_the_paper_and_their_shortcut() -> None:
    convolutions = convolutions_in_order(build("resnet18", width=0.125), torch.zeros(1, 3, 32, 32))
    assert names(chosen_convolutions(convolutions, "last:5")) == [
        "layer4.0.conv1",
        "layer4.0.conv2",
        "layer4.0.downsample.0",
        "layer4.1.conv1",
        "layer4.1.conv2",
    ]
