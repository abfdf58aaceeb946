"""The floor under a case: least bytes and products, and the rates that are measured for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from workloads.measure import roofline
from workloads.spec import costs
from workloads.spec.layers import LAYERS
from workloads.spec.messages import Case

LAYER = LAYERS["quick-64ch-56x56"]
X = 8 * 64 * 56 * 56 * 4  # bytes of x, and of y
WEIGHT = 64 * 64 * 9 * 4
RATES = costs.Rates(
    threads=2,
    bandwidths=(costs.Bandwidth(2**20, 8e9, 4e9, 6e9), costs.Bandwidth(2**28, 2e9, 1e9, 2e9)),
    flops_per_s=1e9,
)


def case_of(method: str, patch_size: int | None, layer: Any = LAYER) -> Case:
    return Case(layer, method, patch_size, "native", "cpu", "float32", 8)


def test_an_exact_layer_moves_each_tensor_once() -> None:
    products = 2 * 8 * 64 * 64 * 9 * 56 * 56
    case = case_of("exact", None)
    assert costs.traffic(case, "forward") == (X + WEIGHT, X, products)
    assert costs.traffic(case, "backward") == (2 * X + WEIGHT, X + WEIGHT, 2 * products)


def test_a_filtered_backward_reads_what_was_saved_and_writes_whole_gradients() -> None:
    case = case_of("gradient_filter", 2)
    saved = X // 4 + WEIGHT // 9
    products = 4 * 8 * 64 * 64 * 28 * 28
    assert costs.traffic(case, "backward") == (X + saved, X + WEIGHT, products)
    forward = costs.traffic(case, "forward")
    assert forward.written_bytes == X + saved
    step = costs.traffic(case, "step")
    assert step.flops == forward.flops + products


def test_a_kept_window_multiplies_for_every_tap() -> None:
    layer = LAYERS["mobile-deeplab-dilation12"]
    kept = costs.traffic(case_of("gradient_filter", 2, layer), "backward")
    assert kept.flops == 2 * 9 * 2 * 8 * 128 * 512 * 32 * 32


@pytest.mark.parametrize("touched", [2**10, 2**20, 2**24, 2**28, 2**34])
def test_the_floor_is_between_those_of_the_nearest_working_sets(touched: int) -> None:
    read, write = costs._bandwidths_at(touched, RATES)
    assert 2e9 <= read <= 8e9
    assert write == pytest.approx(read / 2)
    if touched <= 2**20:
        assert read == 8e9
    if touched == 2**24:
        assert read == pytest.approx(5e9)
    if touched >= 2**28:
        assert read == 2e9


def test_the_floor_adds_memory_and_products() -> None:
    case = case_of("gradient_filter", 2)
    least = costs.traffic(case, "backward")
    read, write = costs._bandwidths_at(least.read_bytes + least.written_bytes, RATES)
    expected = least.read_bytes / read + least.written_bytes / write + least.flops / 1e9
    assert costs.floor_s(case, "backward", RATES) == pytest.approx(expected)


@pytest.mark.parametrize("with_compiler", [True, False])
def test_the_rates_of_this_machine_are_plausible(
    with_compiler: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_compiler:
        monkeypatch.setattr(roofline, "_library", lambda: None)
    rates = roofline.measure(working_sets=(2**20, 2**25), repeats=3)
    assert rates.threads == torch.get_num_threads()
    assert [bandwidth.working_set_bytes for bandwidth in rates.bandwidths] == [2**20, 2**25]
    for bandwidth in rates.bandwidths:
        for rate in bandwidth[1:]:
            assert 1e7 < rate < 1e13  # a loop that is left out would seem faster
    assert 1e7 < rates.flops_per_s < 1e14
