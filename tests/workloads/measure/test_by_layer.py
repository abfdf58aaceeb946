"""Where a step goes: against a clock that the modules themselves advance, and against totals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fake_clock import FakeClock
from network_data import varied
from torch import fx, nn
from torch.utils.checkpoint import checkpoint

from workloads.convolution import filter_module
from workloads.measure import by_layer as by_layer_module
from workloads.measure.by_layer import by_layer
from workloads.measure.saved import saved_bytes
from workloads.networks import build
from workloads.networks.batch_norm import set_batch_norm
from workloads.networks.order import chosen_convolutions, convolutions_in_order

torch.set_num_threads(1)

REPEATS = 2
SIZES = {"tiny": (None, 8), "mobilenet_v2": (0.25, 32), "resnet18": (0.125, 32)}


class Slow(torch.autograd.Function):
    """The identity, which takes seconds of a fake clock in both directions."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, clock: FakeClock, forward_s: float, backward_s: float
    ) -> torch.Tensor:
        clock.sleep(forward_s)
        ctx.clock, ctx.backward_s = clock, backward_s
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        ctx.clock.sleep(ctx.backward_s)
        return grad, None, None, None


class Part(nn.Module):
    """A module that takes so long."""

    def __init__(self, clock: FakeClock, forward_s: float, backward_s: float) -> None:
        super().__init__()
        self.arguments = (clock, forward_s, backward_s)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = Slow.apply(x, *self.arguments)  # type: ignore[no-untyped-call]
        return y


class Residual(nn.Module):
    """Two parts and an activation in place, which runs twice; the sum takes time as well."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.first = Part(clock, 1, 10)
        self.second = Part(clock, 2, 20)
        self.activation = nn.Sequential(Part(clock, 3, 30), nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.activation(self.first(x)))
        y = Slow.apply(x + y, self.clock, 4, 40)  # type: ignore[no-untyped-call]
        result: torch.Tensor = self.activation(y)
        return result


def residual_network(clock: FakeClock) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), Residual(clock), nn.Flatten())


class LayerTracer(fx.Tracer):
    """Makes a graph that calls every module without parts of its own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not list(m.children())


def network_of(
    name: str, choice: str = "all", *, frozen: bool = True, kernel: str | None = None
) -> nn.Module:
    """Return a small network of which the chosen convolutions are trained, and filtered."""
    width, size = SIZES[name]
    network = set_batch_norm(varied(build(name, num_classes=4, width=width)), frozen=frozen)
    convolutions = convolutions_in_order(network, torch.zeros(1, 3, size, size))
    chosen = [key for key, _ in chosen_convolutions(convolutions, choice)]
    for key, conv in convolutions:
        conv.requires_grad_(key in chosen)
    if kernel is not None:
        filter_module(network, 2, layers=chosen, kernel=kernel)
    return network


def trained(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def images(name: str) -> torch.Tensor:
    size = SIZES[name][1]
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(5))


def measured(name: str, network: nn.Module) -> dict[str, Any]:
    return by_layer(network, images(name), torch.ones(2, 4), trained(network), REPEATS)


def test_every_moment_belongs_to_the_module_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr(by_layer_module, "CLOCK", clock)
    network = residual_network(clock)
    found = by_layer(network, torch.ones(2, 3, 5, 5), torch.ones(2, 100), trained(network), 3)
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert [(name, layer["kind"]) for name, layer in layers.items()] == [
        ("(network)", "Sequential (own)"),
        ("0", "Conv2d"),
        ("1", "Residual (own)"),
        ("1.first", "Part"),
        ("1.activation", "Sequential (own)"),
        ("1.activation.0", "Part"),
        ("1.activation.1", "ReLU"),
        ("1.second", "Part"),
        ("2", "Flatten"),
    ]
    seconds = {
        name: (layer["forward_s"], layer["backward_s"])
        for name, layer in layers.items()
        if layer["forward_s"] or layer["backward_s"]
    }
    assert seconds == {
        "1": (4, 40),
        "1.first": (1, 10),
        "1.activation.0": (6, 60),
        "1.second": (2, 20),
    }
    assert (found["forward_s"], found["backward_s"]) == (13, 130)


class Checkpointed(nn.Module):
    """A part that keeps its input alone, and is computed again in the backward."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = checkpoint(self.part, x, use_reentrant=False)
        return y


def test_what_a_checkpoint_computes_again_is_time_of_the_backward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(by_layer_module, "CLOCK", clock)
    part = nn.Sequential(Part(clock, 1, 10), nn.Sigmoid(), Part(clock, 2, 20), nn.Sigmoid())
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Checkpointed(part), nn.Flatten())
    found = by_layer(network, torch.ones(2, 3, 5, 5), torch.ones(2, 100), trained(network), 1)
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert (layers["1.part.0"]["forward_s"], layers["1.part.0"]["backward_s"]) == (1, 11)
    assert (layers["1.part.2"]["forward_s"], layers["1.part.2"]["backward_s"]) == (2, 22)
    assert (found["forward_s"], found["backward_s"]) == (3, 33)
    assert layers["1.part.1"]["saved_bytes"] == 0


@pytest.mark.parametrize("kernel", [None, "torch", "native"])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("choice", ["all", "last:2"])
@pytest.mark.parametrize("name", list(SIZES))
def test_bytes_and_seconds_by_module_add_up(
    name: str, choice: str, frozen: bool, kernel: str | None
) -> None:
    network = network_of(name, choice, frozen=frozen, kernel=kernel)
    found = measured(name, network)
    layers, saved = found["layers"], found["saved"]
    total = saved_bytes(lambda: network(images(name)), list(network.parameters()))
    assert total == found["saved_bytes"] == sum(tensor["bytes"] for tensor in saved)
    for layer in layers:
        kept = [tensor["bytes"] for tensor in saved if tensor["kept_by"] == layer["name"]]
        assert layer["saved_bytes"] == sum(kept)
    for phase in ("forward_s", "backward_s"):
        assert found[phase] == pytest.approx(sum(layer[phase] for layer in layers))
    assert len({layer["name"] for layer in layers}) == len(layers)


def test_only_modules_behind_which_something_is_trained_have_a_backward() -> None:
    network = network_of("resnet18", "last:2")
    layers = {layer["name"]: layer for layer in measured("resnet18", network)["layers"]}
    assert layers["layer4.1.conv1"]["backward_s"] > 0
    assert layers["layer4.1.conv1"]["forward_s"] > 0
    frozen = ("layer1", "layer2", "layer3", "layer4.0")
    before = [name for name in layers if name.startswith(frozen)]
    assert len(before) > 10
    assert all(layers[name]["backward_s"] == 0 for name in before)
    assert all(layers[name]["saved_bytes"] == 0 for name in before)


def test_a_tensor_is_kept_by_the_module_that_saves_it() -> None:
    found = measured("tiny", network_of("tiny"))
    saved = [(tensor["kept_by"], tensor["kind"], tensor["shape"]) for tensor in found["saved"]]
    maps = [entry for entry in saved if len(entry[2]) == 4]
    assert maps == [
        ("conv1", "Conv2d", [2, 3, 8, 8]),
        ("bn1", "FrozenBatchNorm2d", [2, 8, 8, 8]),
        ("relu1", "ReLU", [2, 8, 8, 8]),  # and so not kept once more by conv2
        ("bn2", "FrozenBatchNorm2d", [2, 16, 4, 4]),
        ("relu2", "ReLU", [2, 16, 4, 4]),
        ("bn3", "FrozenBatchNorm2d", [2, 32, 4, 4]),
        ("relu3", "ReLU", [2, 32, 4, 4]),
    ]
    filtered = measured("tiny", network_of("tiny", kernel="torch"))
    kinds = {tensor["kept_by"]: tensor["kind"] for tensor in filtered["saved"]}
    assert kinds["conv2"] == "FilteredConv2d"


@pytest.mark.parametrize("name", list(SIZES))
def test_gradients_are_the_same_and_no_hook_stays(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of(name, kernel="torch")
    wanted = trained(network)
    expected = torch.autograd.grad(network(images(name)), wanted, torch.ones(2, 4))
    grad, seen = torch.autograd.grad, []

    def watched(*arguments: Any) -> Any:
        seen.append(grad(*arguments))
        return seen[-1]

    monkeypatch.setattr(torch.autograd, "grad", watched)
    measured(name, network)
    assert len(seen) > REPEATS
    for gradients in seen:
        assert all(map(torch.equal, gradients, expected))
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_hooks_go_where_the_network_fails() -> None:
    network = network_of("tiny")
    with pytest.raises(RuntimeError):
        by_layer(network, torch.ones(2, 1, 8, 8), torch.ones(2, 4), trained(network), 1)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_traced_network_is_told_apart_by_module_too() -> None:
    network = network_of("resnet18", frozen=True)
    traced = fx.GraphModule(network, LayerTracer().trace(network))
    whole, parts = measured("resnet18", network), measured("resnet18", traced)
    own = [layer["name"] for layer in whole["layers"] if layer["kind"].endswith("(own)")]
    names = [layer["name"] for layer in whole["layers"] if layer["name"] not in own]
    assert [layer["name"] for layer in parts["layers"]] == ["(network)", *names]
    assert parts["layers"][0]["kind"].endswith("(own)")
    assert parts["saved"] == whole["saved"]
    working = [layer["name"] for layer in parts["layers"] if layer["backward_s"]]
    assert working == ["(network)", *names]


def test_torch_without_hooks_for_saved_tensors_gives_seconds_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = network_of("tiny")
    monkeypatch.delattr(torch.autograd.graph, "saved_tensors_hooks")
    found = measured("tiny", network)
    assert found["saved"] == []
    assert found["saved_bytes"] is None
    assert found["layers"][1]["saved_bytes"] is None
    assert found["forward_s"] > 0
