"""Every exact baseline against stock torch: logits, gradients, and what is kept."""

from __future__ import annotations

import copy

import pytest
import torch
from exact_steps import (
    WIDTHS,
    Step,
    assert_same_step,
    frozen_network,
    images,
    train_convolutions,
    trained,
    whole_batch,
)
from torch import nn

from workloads.measure.saved import saved_bytes
from workloads.networks.baselines import BASELINES
from workloads.networks.batch_norm import set_batch_norm
from workloads.networks.checkpointed import checkpointed
from workloads.networks.fused import fused
from workloads.networks.fused_convolution import FusedConv2d

torch.set_num_threads(1)

MODULES = ("torch", "torch-channels-last", "folded", "fused")  # compiling takes a test of its own
WAYS = (*MODULES, "checkpointed")


def step_of(way: str, network: nn.Module) -> Step:
    parameters = trained(network)
    return whole_batch(module_of(way, network), parameters)


def module_of(way: str, network: nn.Module) -> nn.Module:
    if way == "checkpointed":
        return checkpointed(network, images(next(network.parameters()).dtype)[:1])
    return BASELINES[way].make(network)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("choice", ["all", "last:2"])
@pytest.mark.parametrize("name", WIDTHS)
def test_gradients_are_those_of_stock_torch(name: str, choice: str, way: str) -> None:
    network = frozen_network(name, choice)
    stock = copy.deepcopy(network)
    step, wanted = step_of(way, network), whole_batch(stock, trained(stock))
    assert_same_step(step, wanted, images(), 1e-9)
    with torch.no_grad():
        for parameter in (*trained(network), *trained(stock)):
            parameter.mul_(1.25)
    assert_same_step(step, wanted, images(), 1e-9)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WIDTHS)
def test_logits_are_those_of_stock_torch_with_gradients_and_without(name: str, way: str) -> None:
    network = frozen_network(name)
    wanted = copy.deepcopy(network)(images())
    module = module_of(way, network)
    assert torch.allclose(module(images()), wanted, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(module(images()), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("way", ["fused", "checkpointed"])
@pytest.mark.parametrize("name", WIDTHS)
def test_onednns_fused_operations_in_float32_compute_the_same(name: str, way: str) -> None:
    network = frozen_network(name, dtype=torch.float32)
    stock = copy.deepcopy(network).double()
    x = images(torch.float32)
    gradient = torch.ones(len(x), 4)
    got = step_of(way, network)(x, gradient)
    wanted = whole_batch(stock, trained(stock))(x.double(), gradient.double())
    for one, true in zip(got, wanted, strict=True):
        assert (one - true).abs().max() <= 1e-4 * true.abs().max()


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_each_baseline_keeps_less_than_the_one_before(name: str) -> None:
    kept = []
    for way in ("torch-channels-last", "folded", "fused", "checkpointed"):
        network = frozen_network(name, dtype=torch.float32)
        kept.append(bytes_kept(module_of(way, network), images(torch.float32, 64)))
    # A small ResNet's folded weights, which `folded` keeps, weigh more than its few maps.
    assert kept[0] > kept[2] > kept[3]
    assert kept[1] > kept[2]


def bytes_kept(module: nn.Module, x: torch.Tensor) -> int:
    constants = [*module.parameters(), *module.buffers()]
    kept = saved_bytes(lambda: module(x), constants)
    assert kept is not None
    return kept


@pytest.mark.parametrize("way", WAYS[2:])
def test_a_batch_norm_that_is_trained_is_refused_by_name(way: str) -> None:
    network = set_batch_norm(frozen_network("tiny"), frozen=False)
    with pytest.raises(ValueError, match=r"^network: BatchNorm 'bn1' "):
        step_of(way, network)


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("way", WAYS[2:])
def test_a_network_that_cannot_be_traced_is_refused(way: str) -> None:
    with pytest.raises(ValueError, match=r"^network: torch\.fx cannot trace it: "):
        step_of(way, nn.Sequential(nn.Conv2d(3, 4, 3), Branches()))


class Unusual(nn.Module):
    """What networks of other people have: a bias, sums in a row, one layer twice, a first norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(3)
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.BatchNorm2d(8)
        self.twice = nn.Conv2d(8, 8, 1)
        self.same = nn.Conv2d(8, 8, 3, padding="same", bias=False)
        self.bare = nn.Conv2d(8, 8, (1, 3), padding=(0, 1), dilation=1)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm1(self.conv1(self.first_norm(x))))
        y = x + self.norm2(self.conv2(x))  # a sum that no activation follows
        z = nn.functional.relu6(self.bare(y) + x)  # a sum and ReLU6
        z = self.relu(self.twice(self.twice(z)) + self.same(z)) * 0.5
        logits: torch.Tensor = self.fc((z + y).mean((2, 3)))
        return logits


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("way", WAYS)
def test_an_unusual_network_has_the_same_gradients(way: str, dtype: torch.dtype) -> None:
    torch.manual_seed(8)
    network = set_batch_norm(Unusual()).to(dtype)
    stock = copy.deepcopy(network)
    wanted = whole_batch(stock, trained(stock))
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    assert_same_step(step_of(way, network), wanted, images(dtype), tolerance)


@pytest.mark.parametrize("frozen", ["conv1.bias", "conv2.weight", "bare.weight", "conv1.weight"])
@pytest.mark.parametrize("way", ["folded", "fused", "checkpointed"])
def test_any_parameter_may_be_frozen_alone(way: str, frozen: str) -> None:
    network = set_batch_norm(Unusual()).double()
    dict(network.named_parameters())[frozen].requires_grad_(False)
    stock = copy.deepcopy(network)
    wanted = whole_batch(stock, trained(stock))
    assert_same_step(step_of(way, network), wanted, images(), 1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_images_get_their_gradient_too(way: str) -> None:
    network = frozen_network("mobilenet_v2", "last:2")
    stock = copy.deepcopy(network)
    grads = []
    for module in (module_of(way, network), stock):
        x = images().requires_grad_()
        grads.append(torch.autograd.grad(module(x).square().sum(), x)[0])
    assert torch.allclose(grads[0], grads[1], rtol=1e-9, atol=1e-12 * float(grads[1].abs().max()))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_a_second_backward_on_the_same_graph_computes_the_same(name: str, way: str) -> None:
    network = frozen_network(name)
    logits = module_of(way, network)(images()).sum()
    first, second = (
        torch.autograd.grad(logits, trained(network), retain_graph=True) for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_a_checkpointed_part_that_is_frozen_keeps_nothing_of_its_inside() -> None:
    network = frozen_network("mobilenet_v2")
    all_trained = bytes_kept(checkpointed(network, images()), images())
    for part in list(network.modules())[10:]:
        if isinstance(part, nn.Conv2d):
            part.requires_grad_(False)
    assert bytes_kept(checkpointed(network, images()), images()) == all_trained


def test_fused_keeps_each_map_once() -> None:
    module, x = fused(frozen_network("mobilenet_v2")), images(torch.float64, 64)
    maps = [x]
    for layer in module.modules():
        if isinstance(layer, FusedConv2d):
            layer.register_forward_hook(lambda layer, inputs, y: maps.append(y))
    with torch.no_grad():
        module(x)
    pooled = maps[-1].mean((2, 3))  # what the classifier keeps
    once = sum(tensor.nbytes for tensor in (*maps, pooled))
    assert bytes_kept(module, x) == once


def test_what_is_frozen_keeps_nothing() -> None:
    network = frozen_network("mobilenet_v2", "last:1")
    network.get_submodule("classifier").requires_grad_(False)
    last = 3 * (80 + 1280) * 8  # x and y of the last convolution, 80 -> 1280 channels
    assert bytes_kept(fused(network), images()) == last
    train_convolutions(network, "last:0")
    module = fused(network)
    assert bytes_kept(module, images()) == 0
    assert not module(images()).requires_grad
    assert not checkpointed(network, images())(images()).requires_grad


def test_maps_of_two_shapes_cannot_be_summed_in_one() -> None:
    class Broadcast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total: torch.Tensor = self.conv(x) + x.mean((2, 3), keepdim=True)
            return total

    with pytest.raises(ValueError, match=r"^network: maps \(3, 3, 32, 32\) and \(3, 3, 1, 1\) are"):
        fused(Broadcast().double())(images())


def test_a_layer_with_dropout_cannot_run_twice() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"^network: dropout '1' is active"):
        checkpointed(network, images())
