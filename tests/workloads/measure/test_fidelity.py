"""Cosine, scale and error against values known by hand, and the two ensembles of a layer."""

from __future__ import annotations

import math

import pytest
import torch

from workloads.measure.fidelity import Fidelity, compare, layer_fidelity, natural_weight
from workloads.spec.layers import LAYERS
from workloads.spec.messages import Case, Layer

SIX = {"cosine_gx", "scale_gx", "rel_error_gx", "cosine_gw", "scale_gw", "rel_error_gw"}


def case_of(layer: Layer, method: str = "gradient_filter", patch_size: int | None = 2) -> Case:
    return Case(layer, method, patch_size, "torch", "cpu", "float32", 1)


def test_compare_gives_the_figures_of_a_hand_computed_example() -> None:
    found = compare(torch.tensor([3.0, 4.0]), torch.tensor([2.0, 0.0]))
    assert found == pytest.approx((0.6, 1.5, math.sqrt(17) / 2))


def test_equal_tensors_are_perfect_and_a_multiple_differs_in_scale_only() -> None:
    exact = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert compare(exact, exact) == pytest.approx((1, 1, 0))
    assert compare(4 * exact, exact) == pytest.approx((1, 4, 3))
    assert compare(-exact, exact) == pytest.approx((-1, -1, 2))


def test_what_is_undefined_is_none() -> None:
    zero, one = torch.zeros(4), torch.ones(4)
    assert compare(one, zero) == Fidelity(None, None, None)
    assert compare(zero, one) == Fidelity(None, 0.0, 1.0)
    assert compare(torch.tensor([float("nan")] * 4), one) == Fidelity(None, None, None)
    assert compare(torch.empty(0), torch.empty(0)) == Fidelity(None, None, None)


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        compare(torch.zeros(2, 3), torch.zeros(3, 2))


def test_float32_is_accumulated_in_float64_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    f, e = torch.randn(2, 50_001, generator=generator) * 1e4 + 1e5
    f64, e64 = f.double(), e.double()
    wanted = float(f64 @ e64 / (f64.norm() * e64.norm()))
    whole = compare(f, e)
    assert whole.cosine == pytest.approx(wanted, abs=1e-12)
    monkeypatch.setattr("workloads.measure.fidelity._CHUNK", 1000)
    assert compare(f.view(3, -1).t(), e.view(3, -1).t()) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("name", ["quick-64ch-56x56", "quick-128ch-28x28", "quick-256ch-14x14"])
def test_a_3x3_layer_is_faithful_on_natural_spectra_and_hardly_on_white_noise(name: str) -> None:
    found = layer_fidelity(case_of(LAYERS[name]), 1)
    natural, white = found["one_over_f"], found["white_noise"]
    assert set(natural) == set(white) == SIX
    assert white["cosine_gx"] == pytest.approx(0.23, abs=0.03)
    assert white["cosine_gw"] == pytest.approx(0.23, abs=0.03)
    assert natural["cosine_gw"] is not None
    assert natural["cosine_gw"] > 0.9
    assert natural["cosine_gx"] is not None
    assert 0.75 < natural["cosine_gx"] < 0.9  # trained kernels are only somewhat low-pass
    assert natural["scale_gw"] == pytest.approx(1.05, abs=0.07)


def test_exact_is_perfect_and_published_is_4_times_too_large_at_stride_2() -> None:
    layer = LAYERS["mobile-resnet18-stride2"]
    for figures in layer_fidelity(case_of(layer, "exact", None), 1).values():
        assert figures == pytest.approx(
            {name: 0.0 if name.startswith("rel") else 1.0 for name in SIX}
        )
    ours = layer_fidelity(case_of(layer), 1)["one_over_f"]["scale_gw"]
    published = layer_fidelity(case_of(layer, "gradient_filter_published"), 1)["one_over_f"]
    assert ours is not None
    assert published["scale_gw"] is not None
    assert published["scale_gw"] / ours == pytest.approx(4, rel=0.1)


def test_a_seed_gives_the_same_fidelity() -> None:
    case = case_of(LAYERS["mobile-mcunet-depthwise-7x7"])
    assert layer_fidelity(case, 5) == layer_fidelity(case, 5)
    assert layer_fidelity(case, 5) != layer_fidelity(case, 6)


def test_natural_weights_have_the_energy_ratio_of_trained_resnets() -> None:
    weight = natural_weight((128, 128, 3, 3), 1, torch.float64)
    energy = torch.fft.fft2(weight).abs().pow(2).flatten(2)
    ratio = energy[:, :, 0] / energy[:, :, 1:].max(dim=2).values
    assert float(ratio.mean()) == pytest.approx(1.462, rel=0.05)
    assert float(weight.var()) == pytest.approx(1, rel=0.02)
