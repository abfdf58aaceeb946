"""Where patches lie, and which arguments are refused."""

from __future__ import annotations

from typing import Any

import pytest
from configurations import random_configurations
from oracle import Config

from workloads.spec.geometry import (
    Geometry,
    Patches,
    conv_geometry,
    layer_geometry,
    published_refusal,
)
from workloads.spec.messages import Layer


def geometry_of(config: Config) -> Geometry:
    return conv_geometry(
        config.x_shape,
        config.weight_shape,
        config.stride,
        config.padding,
        config.dilation,
        config.groups,
        config.patch_size,
    )


def positions_of_run(patches: Patches, run: int) -> list[int]:
    """Return the positions that the lanes give to one run."""
    found = []
    for runs, positions in patches.lanes():
        where = list(range(positions.start, positions.stop, positions.step))
        found += [where[i - runs.start] for i in range(runs.start, runs.stop) if i == run]
    return sorted(found)


@pytest.mark.parametrize("config", list(random_configurations(60, seed=1)), ids=str)
def test_lanes_hold_exactly_the_positions_of_the_ranges(config: Config) -> None:
    geometry = geometry_of(config)
    centred = geometry.centred_output_patches
    for patches in (*geometry.input_patches, *geometry.output_patches, *centred):
        for run, (first, last) in enumerate(patches.ranges()):
            assert positions_of_run(patches, run) == list(range(first, last))


def test_input_patches_nest_across_strides_with_same_padding() -> None:
    for size in range(1, 40):
        for stride in (1, 2, 3):
            for r in range(1, 9):
                geometry = conv_geometry((1, 1, size, size), (1, 1, 3, 3), stride, 1, 1, 1, r)
                assert geometry.grid[0] == -(-size // (r * stride))
                ranges = geometry.input_patches[0].ranges()
                assert [first for first, _ in ranges] == list(range(0, size, r * stride))
                assert ranges[-1][1] == size


def test_inputs_that_no_window_centre_reaches_are_in_no_patch() -> None:
    geometry = conv_geometry((1, 1, 10, 10), (1, 1, 3, 3), patch_size=3)
    assert geometry.offset == (1, 1)
    assert geometry.input_patches[0].ranges() == [(1, 4), (4, 7), (7, 9)]


def test_same_padding_of_an_even_kernel_leaves_the_extra_row_at_the_end_as_torch_does() -> None:
    geometry = conv_geometry((1, 1, 9, 9), (1, 1, 4, 2), padding="same")
    assert geometry.padding == ((1, 2), (0, 1))
    assert geometry.output_size == (9, 9)
    assert geometry.offset == (0, 0)


def test_published_patches_are_centred_on_the_map() -> None:
    geometry = conv_geometry((1, 1, 7, 7), (1, 1, 3, 3), padding=1, patch_size=2)
    assert geometry.centred_output_patches[0].ranges() == [(0, 1), (1, 3), (3, 5), (5, 7)]


@pytest.mark.parametrize(
    ("dilation", "stride", "patch_size", "kernel", "padding", "kept"),
    [
        (4, 1, 2, 3, 4, True),
        (4, 1, 1, 3, 4, True),
        (1, 1, 1, 3, 1, False),
        (4, 2, 2, 3, 4, False),
        (4, 1, 3, 3, 4, False),
        (2, 1, 2, 4, 3, False),
        (4, 1, 2, 3, 3, False),
        ((4, 1), 1, (2, 1), 3, (4, 1), False),
        ((4, 6), 1, (2, 3), 3, (4, 6), True),
    ],
)
def test_the_dilated_window_is_kept_only_where_its_taps_meet_whole_patches(
    dilation: Any, stride: int, patch_size: Any, kernel: int, padding: Any, kept: bool
) -> None:
    geometry = conv_geometry(
        (1, 2, 24, 24), (2, 2, kernel, kernel), stride, padding, dilation, 1, patch_size
    )
    assert geometry.keeps_window is kept


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("x", {"x_shape": (4, 8, 8)}),
        ("x", {"x_shape": (1, 4, 1, 8)}),
        ("weight", {"weight_shape": (4, 4, 3)}),
        ("weight", {"weight_shape": (4, 3, 3, 3)}),
        ("weight", {"weight_shape": (4, 4, 3, 0)}),
        ("stride", {"stride": 0}),
        ("stride", {"stride": (1, 2, 3)}),
        ("stride", {"stride": 1.0}),
        ("padding", {"padding": -1}),
        ("padding", {"padding": "reflect"}),
        ("padding", {"padding": "same", "stride": 2}),
        ("padding", {"padding": True}),
        ("dilation", {"dilation": (1, 0)}),
        ("groups", {"groups": 0}),
        ("groups", {"groups": 3}),
        ("groups", {"groups": (2, 2)}),
        ("patch_size", {"patch_size": 0}),
        ("patch_size", {"patch_size": -2}),
        ("patch_size", {"patch_size": True}),
        ("patch_size", {"patch_size": 2.0}),
        ("patch_size", {"patch_size": None}),
        ("patch_size", {"patch_size": "2"}),
        ("patch_size", {"patch_size": (2, True)}),
        ("patch_size", {"patch_size": (2, 2, 2)}),
    ],
)
def test_a_bad_argument_is_named(name: str, arguments: dict[str, Any]) -> None:
    shapes: dict[str, Any] = {"x_shape": (1, 4, 8, 8), "weight_shape": (4, 4, 3, 3)}
    conv_geometry(**shapes, patch_size=(2, 1))  # what is cached must not excuse (2, True)
    with pytest.raises(ValueError, match=f"^{name}\\b"):
        conv_geometry(**{**shapes, **arguments})


def test_the_published_operator_says_what_it_cannot_do() -> None:
    def reason(weight: tuple[int, ...], **arguments: Any) -> str | None:
        return published_refusal(conv_geometry((1, 4, 8, 8), weight, **arguments))

    assert reason((4, 4, 3, 3), padding=1, stride=2) is None
    assert reason((4, 1, 5, 5), padding=2, groups=4) is None
    assert "odd" in str(reason((4, 4, 2, 2), padding="same"))
    assert "padding" in str(reason((4, 4, 3, 3)))
    assert "groups" in str(reason((4, 2, 3, 3), padding=1, groups=2))
    assert "groups" in str(reason((8, 1, 3, 3), padding=1, groups=4))


def test_a_layer_without_patch_size_has_patches_of_one() -> None:
    layer = Layer("l", 4, 8, 9, 7, stride=(2, 1))
    geometry = layer_geometry(layer, None, batch=3)
    assert geometry.x_shape == (3, 4, 9, 7)
    assert geometry.grid == geometry.output_size == (5, 7)
