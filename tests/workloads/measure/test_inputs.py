"""Seeded inputs: the same numbers every time, the spectrum that is promised."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from workloads.measure.inputs import normal, one_over_f

Draw = Callable[..., torch.Tensor]
DRAWS: list[Draw] = [normal, one_over_f]


@pytest.mark.parametrize("draw", DRAWS)
def test_a_seed_gives_the_same_numbers_and_another_seed_others(draw: Draw) -> None:
    shape = (2, 3, 8, 9)
    assert torch.equal(draw(shape, 1), draw(shape, 1))
    assert not torch.equal(draw(shape, 1), draw(shape, 2))
    state = torch.random.get_rng_state()
    draw(shape, 1)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("seed", [0, -1, 2**63 + 5])
def test_any_integer_is_a_seed(draw: Draw, seed: int) -> None:
    assert draw((1, 1, 4, 4), seed).shape == (1, 1, 4, 4)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("size", [(14, 14), (30, 40), (1, 9)])
def test_the_variance_is_one(draw: Draw, size: tuple[int, int]) -> None:
    maps = draw((40, 50, *size), 3, torch.float64)
    assert float(maps.var()) == pytest.approx(1, rel=0.05)
    assert float(maps.mean()) == pytest.approx(0, abs=0.02)


def test_the_amplitude_falls_as_one_over_f() -> None:
    size = 32
    maps = one_over_f((400, 4, size, size), 5, torch.float64)
    position = (torch.arange(size, dtype=torch.float64) + 0.5) * math.pi / size
    energy = {}
    for u, v in [(0, 1), (1, 0), (2, 0), (3, 4), (0, 8), (12, 16)]:
        wave = torch.cos(u * position)[:, None] * torch.cos(v * position)
        coefficient = (maps * (wave / wave.norm())).sum((2, 3))
        energy[(u, v)] = float(coefficient.pow(2).mean()) * (u * u + v * v)
    mean = sum(energy.values()) / len(energy)
    assert list(energy.values()) == pytest.approx([mean] * len(energy), rel=0.15)


def test_a_map_of_one_pixel_is_zero_because_there_is_no_constant_term() -> None:
    assert torch.equal(one_over_f((2, 2, 1, 1), 1), torch.zeros(2, 2, 1, 1))


def test_dtypes_are_as_asked() -> None:
    for draw in DRAWS:
        assert draw((1, 1, 3, 3), 1).dtype == torch.float32
        assert draw((1, 1, 3, 3), 1, torch.float64).dtype == torch.float64
