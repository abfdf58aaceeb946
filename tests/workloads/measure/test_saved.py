"""What autograd keeps: against the formula, and tensor by tensor."""

from __future__ import annotations

import pytest
import torch

from workloads.measure.layer import prepare
from workloads.measure.saved import saved_bytes, saved_tensors
from workloads.spec import costs
from workloads.spec.messages import Case, Layer

LAYERS = (
    Layer("plain", 4, 6, 8, 8),
    Layer("odd", 3, 5, 9, 7, stride=(2, 2)),
    Layer("depthwise", 8, 8, 10, 10, groups=8, bias=False),
    Layer("grouped-dilated", 8, 4, 12, 12, padding=(2, 2), dilation=(2, 2), groups=2),
    Layer("pointwise", 6, 3, 7, 7, (1, 1), (1, 1), (0, 0), bias=False),
    Layer("row", 4, 4, 6, 11, (1, 5), (1, 1), (0, 2)),
)
METHODS = (("exact", None), ("gradient_filter", 2), ("gradient_filter", 4))


def case(layer: Layer, method: str = "exact", patch_size: int | None = None) -> Case:
    return Case(layer, method, patch_size, "torch", "cpu", "float32", 2)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize(("method", "patch_size"), METHODS)
def test_saved_bytes_are_those_of_the_formula(
    layer: Layer, method: str, patch_size: int | None
) -> None:
    chosen = case(layer, method, patch_size)
    work = prepare(chosen, seed=1)
    assert saved_bytes(work.forward, work.parameters) == costs.saved_bytes(chosen)


def test_a_storage_that_is_saved_twice_counts_once() -> None:
    x = torch.ones(1000, requires_grad=True)
    assert saved_bytes(lambda: x * x, []) == 4000
    assert saved_bytes(lambda: x * x, [x]) == 0


def test_each_storage_is_kept_by_what_saved_it_first() -> None:
    x = torch.ones(10, 100, requires_grad=True)
    running = ["square"]

    def forward() -> torch.Tensor:
        square = x.square()
        running[0] = "exponential"
        exponential = square.exp()  # saves its result
        running[0] = "product"
        return exponential * x[0]  # a part of what the square has saved

    assert saved_tensors(forward, [], lambda: running[0]) == [
        ("square", (10, 100), 4000),
        ("exponential", (10, 100), 4000),
    ]


def test_torch_without_hooks_gives_none_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.autograd.graph, "saved_tensors_hooks")
    assert saved_bytes(lambda: None, []) is None
    assert saved_tensors(lambda: None, []) is None
