"""Filtering the convolutions of any model, in place."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from workloads.convolution import FilteredConv2d, conv2d, filter_module


class Normed(nn.Conv2d):
    """A subclass that keeps nn.Conv2d's forward."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.note = "mine"


class Standardised(nn.Conv2d):
    """A subclass with a forward of its own."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


class Convolves(nn.Conv2d):
    """A subclass that changes the convolution beneath the forward."""

    def _conv_forward(self, *arguments: Any) -> torch.Tensor:
        y: torch.Tensor = super()._conv_forward(*arguments)
        return 2 * y


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding="same", groups=4), nn.ReLU()),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
    )


def weight_gradient(network: nn.Module, name: str) -> torch.Tensor:
    grad = dict(network.named_parameters())[name + ".weight"].grad
    assert grad is not None
    return grad


def filtered_names(module: nn.Module) -> list[str]:
    return [name for name, m in module.named_modules() if isinstance(m, FilteredConv2d)]


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (None, ["0", "3.0", "4"]),
        (["3.0", "0"], ["0", "3.0"]),
        (("4",), ["4"]),
        (lambda name, conv: conv.groups == 1 and name != "0", ["4"]),
        (2, ["3.0", "4"]),
        (3, ["0", "3.0", "4"]),
        (0, []),
    ],
)
def test_layers_are_chosen_by_name_predicate_or_number(layers: Any, names: list[str]) -> None:
    network = model()
    assert filter_module(network, 2, layers=layers) is network
    assert filtered_names(network) == names


def test_a_filtered_model_computes_the_same_and_learns_from_filtered_gradients() -> None:
    network, twin = model(), model()
    keys, parameters = list(network.state_dict()), list(network.parameters())
    filter_module(network, 2, layers=["0"])
    assert list(network.state_dict()) == keys
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    twin.load_state_dict(network.state_dict())
    x = torch.randn(2, 3, 12, 12)
    y = network(x)
    assert torch.equal(y, twin(x))
    y.sum().backward()
    first, plain = weight_gradient(network, "0"), weight_gradient(network, "4")
    assert torch.equal(first, first[:, :, :1, :1].expand_as(first))
    assert not torch.equal(plain, plain[:, :, :1, :1].expand_as(plain))


def test_a_module_computes_what_the_function_does() -> None:
    conv = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
    filter_module(conv, (2, 3))
    assert isinstance(conv, FilteredConv2d)
    x = torch.randn(2, 4, 9, 9)
    torch.autograd.backward(conv(x).square().sum())
    weight = conv.weight.detach().requires_grad_()
    y = conv2d(
        x,
        weight,
        conv.bias.detach() if conv.bias is not None else None,
        (2, 1),
        (1, 0),
        (1, 2),
        2,
        method="gradient_filter",
        patch_size=(2, 3),
    )
    torch.autograd.backward(y.square().sum())
    assert torch.equal(conv.weight.grad, weight.grad)  # type: ignore[arg-type]


def test_hooks_stay() -> None:
    conv, seen = nn.Conv2d(2, 2, 3, padding=1), []
    conv.register_forward_hook(lambda module, x, y: seen.append(y.shape))
    filter_module(conv, 2)(torch.zeros(1, 2, 8, 8))
    assert seen == [(1, 2, 8, 8)]


def test_filtering_again_changes_the_settings() -> None:
    network = filter_module(model(), 2)
    filter_module(network, (4, 3), layers=1, method="gradient_filter_published")
    first, last = network[0], network[4]  # type: ignore[index]
    assert (first.method, first.patch_size) == ("gradient_filter", 2)
    assert (last.method, last.patch_size) == ("gradient_filter_published", (4, 3))
    assert "patch_size=(4, 3)" in repr(network)
    filter_module(network, 2, method="exact")
    x = torch.randn(2, 3, 8, 8)
    network(x).sum().backward()
    twin = model()
    twin(x).sum().backward()
    assert torch.equal(weight_gradient(network, "0"), weight_gradient(twin, "0"))


def test_a_subclass_that_keeps_the_forward_stays_what_it_is() -> None:
    conv = filter_module(Normed(2, 2, 3, padding=1), 2)
    assert isinstance(conv, Normed)
    assert isinstance(conv, FilteredConv2d)
    assert conv.note == "mine"
    assert filter_module(conv, 4).patch_size == 4


@pytest.mark.parametrize("kind", [nn.Conv2d, Normed])
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_filtered_modules_can_be_copied_and_pickled(kind: Any, duplicate: Any) -> None:
    network = nn.Sequential(kind(2, 4, 3, padding=1), nn.ReLU())
    filter_module(network, 4, method="gradient_filter_published")
    twin = duplicate(network)
    conv = twin[0]
    assert type(conv) is type(network[0])
    assert conv.method == "gradient_filter_published"
    assert conv.patch_size == 4
    x = torch.randn(1, 2, 8, 8)
    assert torch.equal(twin(x), network(x))
    assert list(twin.state_dict()) == list(network.state_dict())


def test_a_filtered_model_survives_torch_save() -> None:
    buffer = io.BytesIO()
    torch.save(filter_module(model(), 2), buffer)
    buffer.seek(0)
    assert filtered_names(torch.load(buffer, weights_only=False)) == ["0", "3.0", "4"]


def lazy() -> nn.Module:
    return nn.LazyConv2d(4, 3)


def patched() -> nn.Module:
    conv = nn.Conv2d(2, 2, 3)
    conv.forward = lambda x: x  # type: ignore[method-assign,assignment]
    return conv


@pytest.mark.parametrize(
    "make", [lambda: Standardised(2, 2, 3), lambda: Convolves(2, 2, 3), lazy, patched]
)
def test_a_forward_of_its_own_is_refused_and_named(make: Any) -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Sequential(make()))
    with pytest.raises(ValueError, match=r"'1\.0'.*forward"):
        filter_module(network, 2)
    assert filtered_names(network) == []
    filter_module(network, 2, layers=["0"])
    assert filtered_names(network) == ["0"]


def test_a_padding_mode_other_than_zeros_is_refused_and_named() -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(ValueError, match=r"'0'.*reflect"):
        filter_module(network, 2)
    assert filtered_names(network) == []


def test_a_layer_that_the_method_cannot_do_is_refused_and_named() -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3))
    with pytest.raises(ValueError, match=r"'1'.*padding"):
        filter_module(network, 2, method="gradient_filter_published")
    assert filtered_names(network) == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("patch_size", {"patch_size": 0}),
        ("patch_size", {"patch_size": True}),
        ("method", {"method": "filter"}),
        ("kernel", {"kernel": "fast"}),
        ("layers", {"layers": ["nope"]}),
        ("layers", {"layers": ["1"]}),
        ("layers", {"layers": "0"}),
        ("layers", {"layers": 4}),
        ("layers", {"layers": -1}),
        ("layers", {"layers": True}),
        ("module", {"module": nn.Linear(2, 2)}),
    ],
)
def test_a_bad_argument_is_named(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{name}\\b"):
        filter_module(**{"module": model(), "patch_size": 2, **arguments})


def test_an_unknown_layer_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"'conv9'; choose from '0', '3\.0', '4'"):
        filter_module(model(), 2, layers=["conv9"])
