"""A filtered network's gradients against the exact ones: recomputed apart, layer by layer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from network_data import varied
from torch import nn

from workloads.convolution import filter_module
from workloads.measure.network_fidelity import network_fidelity
from workloads.networks import build
from workloads.networks.batch_norm import set_batch_norm
from workloads.networks.order import chosen_convolutions, convolutions_in_order

torch.set_num_threads(1)

SIZE = 16
GRAD = torch.tensor([[0.5, -1.0, 0.25, 0.25], [-0.5, 0.5, 1.0, -1.0]])


def images(size: int = SIZE) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(5))


def network_of(name: str, width: float | None, size: int, choice: str) -> nn.Module:
    """Return a small exact network of which the chosen convolutions are trained."""
    network = set_batch_norm(varied(build(name, num_classes=4, width=width)))
    convolutions = convolutions_in_order(network, images(size))
    chosen = [key for key, _ in chosen_convolutions(convolutions, choice)]
    for key, conv in convolutions:
        conv.requires_grad_(key in chosen)
    return network


def filtered_twin(network: nn.Module, patch_size: int = 2, **options: Any) -> nn.Module:
    """Return a copy with its trained convolutions filtered."""
    trained = lambda name, conv: bool(conv.weight.requires_grad)  # noqa: E731
    return filter_module(copy.deepcopy(network), patch_size, layers=trained, **options)


def weight_gradients(network: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    trained = {name: part for name, part in network.named_parameters() if part.requires_grad}
    grads = torch.autograd.grad(network(x), list(trained.values()), GRAD)
    return dict(zip(trained, grads, strict=True))


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(F.cosine_similarity(first.flatten().double(), second.flatten().double(), dim=0))


def test_the_whole_is_that_of_all_filtered_weights_as_one_vector() -> None:
    exact = network_of("tiny", None, SIZE, "all")
    filtered = filtered_twin(exact)
    convolutions = ("conv1.weight", "conv2.weight", "conv3.weight")
    vectors = []
    for network in (filtered, exact):
        gradients = weight_gradients(network, images())
        vectors.append(torch.cat([gradients[name].flatten() for name in convolutions]))
    f, e = vectors
    found = network_fidelity(exact, filtered, images(), GRAD)["fidelity"]["captured"]
    assert found["cosine_gw"] == pytest.approx(cosine(f, e), abs=1e-6)
    assert found["scale_gw"] == pytest.approx(float(f @ e / (e @ e)), rel=1e-5)
    assert found["rel_error_gw"] == pytest.approx(float((f - e).norm() / e.norm()), rel=1e-5)
    assert found["rel_error_gw"] > 0.01


@pytest.mark.parametrize("kernel", ["torch", "native"])
def test_a_layer_is_compared_on_what_it_meets_in_the_exact_network(kernel: str) -> None:
    exact = network_of("tiny", None, SIZE, "all")
    filtered = filtered_twin(exact, kernel=kernel)
    found = network_fidelity(exact, filtered, images(), GRAD)["layer_fidelity"]
    assert [layer["name"] for layer in found] == ["conv1", "conv2", "conv3"]
    modules = dict(exact.named_children())
    x = images()
    maps = []  # the input and the output of each convolution, with their gradients
    for name, module in modules.items():
        if name.startswith("conv"):
            y = module(x)
            maps.append((x, y))
            x = y.clone()  # bn1 ... relu3 may work in place
        else:
            x = module(x)
    gradients = torch.autograd.grad(x, [y for _, y in maps], GRAD)
    for layer, (met, _), g in zip(found, maps, gradients, strict=True):
        pairs = []
        for network in (filtered, exact):
            conv = dict(network.named_children())[layer["name"]]
            assert isinstance(conv, nn.Conv2d)
            leaf = met.detach().requires_grad_()
            pairs.append(torch.autograd.grad(conv(leaf), (leaf, conv.weight), g))
        (filtered_x, filtered_w), (exact_x, exact_w) = pairs
        assert layer["cosine_gw"] == pytest.approx(cosine(filtered_w, exact_w), abs=1e-6)
        if layer["name"] == "conv1":
            assert layer["cosine_gx"] is None
        else:
            assert layer["cosine_gx"] == pytest.approx(cosine(filtered_x, exact_x), abs=1e-6)
    in_filtered, in_exact = (weight_gradients(n, images()) for n in (filtered, exact))
    for layer in found:
        key = layer["name"] + ".weight"
        wanted = cosine(in_filtered[key], in_exact[key])
        assert layer["cosine_gw_network"] == pytest.approx(wanted, abs=1e-6)
    assert found[-1]["cosine_gw_network"] == pytest.approx(found[-1]["cosine_gw"], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "width", "size"), [("mobilenet_v2", 0.25, 64), ("resnet18", 0.125, 64)]
)
def test_of_the_last_layers_the_first_has_no_gx_and_the_last_errs_alone(
    name: str, width: float, size: int
) -> None:
    exact = network_of(name, width, size, "last:4")
    wanted = weight_gradients(exact, images(size))
    found = network_fidelity(exact, filtered_twin(exact), images(size), GRAD)
    layers = found["layer_fidelity"]
    assert len(layers) == 4
    assert layers[0]["cosine_gx"] is None
    assert all(layer["cosine_gx"] is not None for layer in layers[-2:])
    assert layers[-1]["cosine_gw"] == pytest.approx(layers[-1]["cosine_gw_network"], abs=1e-6)
    after = weight_gradients(exact, images(size))
    assert all(torch.equal(after[key], grad) for key, grad in wanted.items())
    assert not any(module._forward_hooks for module in exact.modules())


def test_a_network_that_is_not_filtered_is_perfect() -> None:
    exact = network_of("resnet18", 0.125, 32, "all")
    found = network_fidelity(exact, filtered_twin(exact, method="exact"), images(32), GRAD)
    assert found["fidelity"]["captured"] == pytest.approx(
        {"cosine_gw": 1.0, "scale_gw": 1.0, "rel_error_gw": 0.0}
    )
    assert len(found["layer_fidelity"]) == 20
    for layer in found["layer_fidelity"]:
        assert layer["cosine_gw"] == pytest.approx(1)
        assert layer["cosine_gw_network"] == pytest.approx(1)
    bare = network_fidelity(exact, copy.deepcopy(exact), images(32), GRAD)
    assert bare["layer_fidelity"] == []


def test_activations_that_work_in_place_on_a_convolutions_output_do_no_harm() -> None:
    torch.manual_seed(1)
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    found, wanted = (
        network_fidelity(network, filtered_twin(network), images(), GRAD)
        for network in (
            nn.Sequential(
                first, nn.ReLU(inplace), second, nn.ReLU6(inplace), nn.AvgPool2d(SIZE), nn.Flatten()
            )
            for inplace in (True, False)
        )
    )
    assert found == wanted


def test_one_that_runs_twice_stands_once_where_it_runs_first() -> None:
    torch.manual_seed(1)
    shared, other = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
    exact = nn.Sequential(other, nn.Conv2d(4, 3, 1), shared, shared, other)
    exact.add_module("5", nn.Flatten())
    grad = torch.ones(2, 4 * SIZE * SIZE)
    found = network_fidelity(exact, filtered_twin(exact), images(), grad)["layer_fidelity"]
    assert [layer["name"] for layer in found] == ["0", "1", "2"]
    assert found[0]["cosine_gx"] is None  # of its first run


def test_networks_that_train_different_parameters_are_refused() -> None:
    exact = network_of("tiny", None, SIZE, "all")
    with pytest.raises(ValueError, match="same parameters"):
        network_fidelity(exact, network_of("tiny", None, SIZE, "last:1"), images(), GRAD)
