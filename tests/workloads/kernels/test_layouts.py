"""Kernels whose name ends in -channels-last are measured and checked on tensors in that layout."""

from __future__ import annotations

import pytest
import torch

from workloads.measure import fidelity
from workloads.measure.block import Settings, run_block
from workloads.measure.layer import prepare
from workloads.spec.kernels import KERNELS, twins
from workloads.spec.messages import Block, Case, Layer

LAYER = Layer("small", 4, 6, 8, 8, bias=True)
DEPTHWISE = Layer("depthwise", 4, 4, 8, 9, groups=4)
LAST = sorted(
    name
    for name, kernel in KERNELS.items()
    if kernel.layout == "channels-last" and "layer" in kernel.workloads
)


def case_of(layer: Layer, kernel: str, method: str = "gradient_filter") -> Case:
    return Case(layer, method, 2, kernel, "cpu", "float64", 2)


@pytest.mark.parametrize("layer", [LAYER, DEPTHWISE], ids=lambda layer: layer.name)
@pytest.mark.parametrize("kernel", LAST)
def test_work_and_gradients_are_in_channels_last(kernel: str, layer: Layer) -> None:
    work = prepare(case_of(layer, kernel), 3)
    plain = prepare(case_of(layer, twins(kernel)[0]), 3)
    assert work.forward().is_contiguous(memory_format=torch.channels_last)
    assert not work.forward().is_contiguous()
    found, wanted = work.backward(), plain.backward()
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert not found[0].is_contiguous()
    assert wanted[0].is_contiguous()
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", LAST)
def test_fidelity_and_check_see_the_layout(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def conv2d(x: torch.Tensor, weight: torch.Tensor, *rest: object, **named: object) -> None:
        seen.append((x.stride(), weight.stride()))
        raise ArithmeticError("seen")

    monkeypatch.setattr(fidelity, "conv2d", conv2d)
    with pytest.raises(ArithmeticError, match="seen"):
        fidelity.layer_fidelity(case_of(LAYER, kernel), 1)
    assert seen == [((256, 1, 32, 4), (36, 1, 12, 4))]
    monkeypatch.undo()
    record = run_block(Block(0, 0, 0, "check", case_of(LAYER, kernel), 1), 1, Settings(0.01))
    assert record["status"] == "ok", record["reason"]


def test_twins_are_the_same_code_in_the_other_layout() -> None:
    assert twins("native") == ("native-channels-last",)
    assert twins("torch-channels-last") == ("torch",)
    assert twins("cuda") == ()
