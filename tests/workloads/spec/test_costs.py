"""Formulas of bytes and operations against what torch keeps and what the paper prints."""

from __future__ import annotations

import random
from typing import Any

import pytest
from configurations import kept_window_configurations, published_configurations
from configurations import random_configurations as any_configurations
from oracle import Config
from payload_check import count_saved_bytes

from workloads.spec import costs
from workloads.spec.geometry import layer_geometry
from workloads.spec.layers import LAYERS
from workloads.spec.messages import Case, Layer, Network
from workloads.spec.methods import METHODS

PAPER = [layer for name, layer in LAYERS.items() if name.startswith("paper-")]


def case_of(layer: Layer, method: str, patch_size: Any, batch: int = 1, **fields: Any) -> Case:
    case = Case(layer, method, patch_size, "torch", "cpu", "float32", batch)
    return case._replace(**fields)


def layer_of(config: Config, bias: bool) -> Layer:
    return Layer(
        name="random",
        in_channels=config.x_shape[1],
        out_channels=config.weight_shape[0],
        height=config.x_shape[2],
        width=config.x_shape[3],
        kernel_size=(config.weight_shape[2], config.weight_shape[3]),
        stride=config.stride,
        padding=config.padding,
        dilation=config.dilation,
        groups=config.groups,
        bias=bias,
    )


def saved_cases() -> list[Case]:
    rng = random.Random(3)
    methods = {
        "exact": any_configurations(20, seed=3),
        "gradient_filter": [*any_configurations(40, seed=4), *kept_window_configurations(15, 5)],
        "gradient_filter_published": published_configurations(30, seed=6),
    }
    return [
        case_of(
            layer_of(config, rng.random() < 0.5),
            method,
            config.patch_size,
            config.x_shape[0],
            dtype=rng.choice(["float32", "float64"]),
        )
        for method, configs in methods.items()
        for config in configs
    ]


@pytest.mark.parametrize("case", saved_cases(), ids=str)
def test_saved_bytes_are_what_the_hooks_count(case: Case) -> None:
    assert count_saved_bytes(case) == costs.saved_bytes(case)


def test_saved_bytes_are_the_patches_share_of_the_input_and_the_window_sums() -> None:
    layer = LAYERS["quick-128ch-28x28"]
    exact = costs.saved_bytes(case_of(layer, "exact", None, 8))
    assert exact == 8 * 128 * 28 * 28 * 4
    assert costs.saved_bytes(case_of(layer, "gradient_filter", 4, 8)) == (
        exact * 7 * 7 // (28 * 28) + 128 * 128 * 4
    )


# ResNet-18 on CIFAR-10 at 224, the last n layers trained, Table 11 of Yang et al., CVPR 2023:
# million operations, the classifier (512 -> 10) and less than 0.1 % of other things included.
RESNET18 = [
    Layer("layer4.1.conv2", 512, 512, 7, 7),
    Layer("layer4.1.conv1", 512, 512, 7, 7),
    Layer("layer4.0.conv2", 512, 512, 7, 7),
    Layer("layer4.0.conv1", 256, 512, 14, 14, stride=(2, 2)),
]


@pytest.mark.parametrize(
    ("method", "patch_size", "printed"),
    [
        ("exact", None, [128.25e6, 487.68e6, 847.15e6, 1.14e9]),
        ("gradient_filter", 2, [8.18e6, 26.80e6, 45.45e6, 60.01e6]),
        ("gradient_filter", 4, [1.88e6, 7.93e6, 13.99e6, 19.12e6]),
        ("gradient_filter", 7, [303.10e3, 3.21e6, 6.12e6, 8.90e6]),
    ],
)
def test_the_papers_operations_are_reproduced(
    method: str, patch_size: int | None, printed: list[float]
) -> None:
    total = 0.0
    for layers, wanted in enumerate(printed, start=1):
        above = total  # all layers but the lowest also pass their gradient on
        case = case_of(RESNET18[layers - 1], method, patch_size)
        total = above + costs.paper_backward_flops(case)
        lowest = case_of(RESNET18[layers - 1], method, patch_size)
        counted = total - input_gradient_flops(lowest) + 512 * (3 * 10 - 1)
        assert counted == pytest.approx(wanted, rel=0.005)


def input_gradient_flops(case: Case) -> int:
    """Return the g_x share of the paper's count, which the lowest trained layer does not need."""
    geometry = layer_geometry(case.layer, case.patch_size or 1)
    c_out, c_in, k_h, k_w = geometry.weight_shape
    if case.method == "exact":
        return 2 * c_out * c_in * k_h * k_w * geometry.output_size[0] * geometry.output_size[1]
    patches = geometry.grid[0] * geometry.grid[1]
    return c_in * (2 * c_out - 1) * patches + c_out * c_in * (k_h * k_w - 1)


def test_operations_of_the_papers_largest_case_are_362_gflop_and_36_times_fewer_filtered() -> None:
    exact = costs.flops(case_of(PAPER[0], "exact", None, 32))
    assert exact.backward == pytest.approx(362.4e9, rel=1e-3)
    assert exact.forward == exact.backward / 2
    filtered = costs.flops(case_of(PAPER[0], "gradient_filter", 2, 32))
    assert exact.backward / filtered.backward == pytest.approx(36, rel=0.03)
    assert exact.forward < filtered.forward < 1.01 * exact.forward


def test_a_kept_window_costs_its_taps() -> None:
    layer = LAYERS["mobile-deeplab-dilation12"]
    kept = costs.flops(case_of(layer, "gradient_filter", 2))
    summed = costs.flops(case_of(layer, "gradient_filter", 5))
    grid_ratio = 32 * 32 / (13 * 13)
    assert kept.backward == pytest.approx(9 * grid_ratio * summed.backward, rel=0.02)
    published = costs.flops(case_of(layer, "gradient_filter_published", 2))
    assert published.backward == pytest.approx(kept.backward * 10 / 18, rel=0.02)


def test_the_pooled_gradients_of_a_kept_window_cost_its_taps_too() -> None:
    layer = LAYERS["mobile-deeplab-dilation12"]
    kept = costs.flops(case_of(layer, "gradient_filter", 2))
    assert costs.flops(case_of(layer, "gradient_filter_pooled", 2)) == kept


def test_costs_grow_with_the_batch() -> None:
    for method, patch_size in [("exact", None), ("gradient_filter", 2)]:
        one, eight = (case_of(PAPER[6], method, patch_size, batch) for batch in (1, 8))
        assert costs.paper_backward_flops(eight) == 8 * costs.paper_backward_flops(one)


def network_case(architecture: str, method: str = "exact", **fields: Any) -> Case:
    network = Network(architecture, architecture, 224, 224, 1000, **fields)
    patch_size = 2 if METHODS[method].has_patch_size else None
    return Case(network, method, patch_size, "torch", "cpu", "float32", 1)


@pytest.mark.parametrize(
    ("architecture", "million"),
    [("mobilenet_v2", 300), ("resnet18", 1814), ("resnet34", 3664), ("efficientnet_lite0", 385)],
)
def test_a_networks_forward_has_the_published_number_of_multiply_adds(
    architecture: str, million: float
) -> None:
    forward = costs.flops(network_case(architecture)).forward
    assert forward == pytest.approx(2 * million * 1e6, rel=0.01)


def test_a_networks_backward_is_twice_its_forward_but_for_what_nobody_needs() -> None:
    forward, backward = costs.flops(network_case("resnet18"))
    stem = costs.flops(costs.network_parts(network_case("resnet18"))[0].case)
    assert backward == 2 * forward - stem.forward  # g_x of the images
    last = costs.flops(network_case("resnet18", trained="last:1"))
    conv = costs.flops(costs.network_parts(network_case("resnet18"))[-1].case)
    assert last == (forward, conv.forward)  # g_w alone
    frozen_between = network_case("resnet18", trained=("layer4.1.conv1",))
    assert costs.flops(frozen_between).backward == 2 * conv.forward  # g_w, and the last g_x


def test_filtering_a_network_makes_its_backward_cheaper_and_checkpointing_dearer() -> None:
    exact, filtered, checkpointed, parts = (
        costs.flops(network_case("mobilenet_v2", method))
        for method in ("exact", "gradient_filter", "checkpoint", "micro_batches")
    )
    assert filtered.backward < exact.backward / 3
    assert checkpointed.backward == exact.backward + exact.forward
    assert parts == exact


def test_each_convolution_is_filtered_with_its_own_patch_size_and_frozen_ones_are_not() -> None:
    fields = {"trained": "last:2", "patch_sizes": (("features.18.0", 7),)}
    parts = costs.network_parts(network_case("mobilenet_v2", "gradient_filter", **fields))
    own = [(part.case.method, part.case.patch_size, part.is_reached) for part in parts[-3:]]
    assert own == [
        ("exact", None, False),
        ("gradient_filter", 2, True),
        ("gradient_filter", 7, True),
    ]
