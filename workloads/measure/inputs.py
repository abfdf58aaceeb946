"""Seeded inputs: white noise for timing, fields with a natural spectrum for fidelity.

Everything is drawn on the CPU and then moved, so that a seed gives the same numbers on every
device, and for the same torch version and thread count the same bits.
"""

import math
from typing import Any, Sequence

import torch


def normal(
    shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float32, device: Any = "cpu"
) -> torch.Tensor:
    """Return independent standard normal values."""
    return _draw(shape, seed, dtype).to(device)


def one_over_f(
    shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float32, device: Any = "cpu"
) -> torch.Tensor:
    """Return maps (N, C, H, W) of amplitude spectrum 1 / f, zero mean and variance 1.

    Each map is an independent random cosine series: coefficient (u, v) of the orthonormal DCT-II
    is normal with standard deviation 1 / f, f^2 = (u / H)^2 + (v / W)^2 in half cycles per pixel,
    and there is no constant term. "Variance 1" is that of the ensemble, averaged over the map.
    Built from two products with DCT bases, because torch 1.10 has no FFT on aarch64 CPUs.
    Natural images and the maps of trained networks have such spectra (Field, J. Opt. Soc. Am. A
    4, 2379, 1987).
    """
    height, width = shape[-2:]
    f_squared = _squares(height)[:, None] + _squares(width)
    f_squared[0, 0] = math.inf  # no constant term
    amplitude = f_squared.rsqrt()
    energy = float(amplitude.pow(2).sum())
    if energy > 0:  # a map of one pixel has only the constant term
        amplitude *= math.sqrt(height * width / energy)
    maps, amplitude = _draw(shape, seed, dtype), amplitude.to(dtype)
    rows, columns = _cosines(height).to(dtype), _cosines(width).to(dtype)
    for sample in maps:  # (C, H, W) each: a board lacks the memory for copies of a whole batch
        sample.copy_(torch.matmul(torch.matmul(rows.t(), sample * amplitude), columns))
    return maps.to(device)


class Changing:
    """Tensors that are changed in place, so that no two calls see the same contents.

    Each change gives a tensor (N, C, H, W) its first values times new random factors (H, W) between
    0.65 and 1.35. The factors differ from pixel to pixel, so that the results of an earlier call
    cannot be scaled to those of a later one. Addresses and version counters stay as they are.
    """

    def __init__(self, tensors: Sequence[torch.Tensor], seed: int) -> None:
        """Remember the tensors; their values stay until the first change."""
        self._generator = torch.Generator().manual_seed(seed % 2**63)
        self._tensors = list(tensors)
        self._factors = [torch.ones(tensor.shape[-2:]) for tensor in tensors]

    def change(self, wanted: Sequence[torch.Tensor]) -> None:
        """Change every element of these tensors."""
        wanted_ids = {id(tensor) for tensor in wanted}
        for index, tensor in enumerate(self._tensors):
            if id(tensor) not in wanted_ids:
                continue
            before = self._factors[index]
            after = torch.rand(before.shape, generator=self._generator).mul_(0.7).add_(0.65)
            tensor.data.mul_((after / before).to(tensor.device, tensor.dtype))
            self._factors[index] = after


def _draw(shape: Sequence[int], seed: int, dtype: torch.dtype) -> torch.Tensor:
    """Return independent standard normal values on the CPU."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    return torch.randn(tuple(shape), generator=generator, dtype=dtype)


def _squares(size: int) -> torch.Tensor:
    """Return the squared frequencies (u / size)^2 of one axis, (size,)."""
    return (torch.arange(size, dtype=torch.float64) / size) ** 2


def _cosines(size: int) -> torch.Tensor:
    """Return the orthonormal DCT-II basis (size, size), whose row u is the cosine u."""
    u = torch.arange(size, dtype=torch.float64)[:, None]
    pixel = torch.arange(size, dtype=torch.float64) + 0.5
    basis = torch.cos(math.pi * u * pixel / size) * math.sqrt(2.0 / size)
    basis[0] = math.sqrt(1.0 / size)
    return basis
