"""Paper mode: what published programs timed, labelled as what it is, beside the full form."""

from __future__ import annotations

import pytest
import torch

from workloads.convolution import conv2d, filter_module
from workloads.kernels import find
from workloads.measure.block import Settings, run_block
from workloads.measure.layer import prepare
from workloads.spec.messages import Block, Case, Layer

LAYER = Layer("small", 4, 6, 8, 8)
POOLED = "gradient_filter_pooled"


def case_of(layer: Layer, method: str, kernel: str = "torch") -> Case:
    return Case(layer, method, 2, kernel, "cpu", "float64", 2)


@pytest.mark.parametrize("bias", [True, False])
def test_the_full_gradients_are_the_pooled_ones_spread_out(bias: bool) -> None:
    layer = LAYER._replace(bias=bias)
    pooled = prepare(case_of(layer, POOLED), 5)
    full = prepare(case_of(layer, "gradient_filter"), 5)
    values, product, pooled_bias = pooled.backward()
    grad_x, grad_w, *grad_b = full.backward()
    assert values.shape == (2, 4, 4, 4)
    assert product.shape == (6, 4, 1, 1)
    spread = values.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(spread, grad_x, rtol=1e-12)
    assert torch.allclose(product.expand(6, 4, 3, 3), grad_w, rtol=1e-12)
    assert (pooled_bias is None) is not bias
    if bias:
        assert torch.allclose(pooled_bias, grad_b[0], rtol=1e-12)
    again = pooled.step()
    assert all(torch.equal(a, b) for a, b in zip(again[:2], (values, product), strict=True))


@pytest.mark.parametrize(
    "layer",
    [
        LAYER,
        Layer("odd", 3, 5, 7, 9, bias=False),
        Layer("depthwise", 4, 4, 8, 9, groups=4),
        Layer("grouped, stride 2", 4, 6, 9, 8, (3, 3), (2, 2), (1, 1), (1, 1), 2),
        Layer("dilated", 2, 3, 8, 8, (3, 3), (1, 1), (2, 2), (2, 2)),
    ],
    ids=lambda layer: layer.name,
)
def test_native_computes_the_same_pooled_gradients(layer: Layer) -> None:
    ours = prepare(case_of(layer, POOLED, "native"), 5).backward()
    wanted = prepare(case_of(layer, POOLED), 5).backward()
    for one, other in zip(ours, wanted, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, rtol=1e-10, atol=1e-12)
        assert one is None or one.shape == other.shape


def test_a_kept_window_keeps_its_taps() -> None:
    layer = Layer("dilated", 2, 3, 8, 8, (3, 3), (1, 1), (2, 2), (2, 2))
    _, product, _ = prepare(case_of(layer, POOLED), 5).backward()
    _, grad_w, _ = prepare(case_of(layer, "gradient_filter"), 5).backward()
    assert torch.allclose(product, grad_w, rtol=1e-12)


def test_it_is_timed_like_any_other_case() -> None:
    record = run_block(Block(0, 0, 0, "timing", case_of(LAYER, POOLED), 1), 1, Settings(0.01))
    assert record["status"] == "ok", record
    assert all(record["timing"][phase]["times_s"] for phase in ("forward", "backward", "step"))


def test_nobody_can_train_with_it() -> None:
    x, weight = torch.randn(1, 2, 4, 4), torch.randn(2, 2, 3, 3)
    with pytest.raises(ValueError, match="gradient_filter_pooled is for timing only"):
        conv2d(x, weight, padding=1, method=POOLED)
    with pytest.raises(ValueError, match="for timing only"):
        filter_module(torch.nn.Conv2d(2, 2, 3), 2, method=POOLED)
    assert POOLED in find("torch").operators
