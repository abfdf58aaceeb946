"""Case from the field G1-geometries: convolutions whose backward breaks others."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from workloads.convolution import conv2d
from workloads.kernels import KERNELS

PATCH_SIZES = (1, 2, 3, 4, 7)
FILTER, PUBLISHED = "gradient_filter", "gradient_filter_published"
NATIVE_TOLERANCES = ((torch.float32, 1e-4), (torch.float64, 1e-10))


class Geometry(NamedTuple):
    """One convolution: channels in and out, map, window, and the arguments of conv2d."""

    channels: tuple[int, int]
    size: tuple[int, int]
    window: tuple[int, int]
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1


GEOMETRIES = [
    Geometry((3, 4), (6, 6), (3, 3), 2),
    Geometry((3, 4), (32, 32), (5, 5), 2),
    Geometry((3, 8), (224, 224), (16, 16), 16),
    Geometry((2, 2), (5, 5), (3, 3), 1, 0, 2),
    Geometry((2, 2), (5, 5), (3, 3), 1, 2, 2),
    Geometry((3, 8), (33, 47), (7, 7), 2, 3),
    Geometry((4, 4), (9, 30), (1, 7), 1, (0, 3)),
    Geometry((4, 4), (30, 9), (7, 1), 1, (3, 0)),
    Geometry((4, 6), (13, 17), (3, 5), (2, 1), (1, 2), (1, 2), 2),
    Geometry((8, 8), (15, 15), (3, 3), 2, 1, 1, 8),
    Geometry((6, 6), (7, 7), (7, 7), 1, 0, 1, 3),
    Geometry((4, 4), (1, 1), (1, 1)),
    Geometry((4, 4), (1, 1), (3, 3), 1, 1),
    Geometry((1, 1), (4, 4), (2, 2), 2),
    Geometry((4, 8), (7, 7), (1, 1), 2),
    Geometry((3, 4), (10, 10), (4, 4), 3, "valid"),
    Geometry((3, 4), (11, 11), (4, 4), 1, "same"),
    Geometry((16, 16), (5, 40), (3, 3), (1, 4), 1, 1, 16),
]
Results = tuple[torch.Tensor, ...]  # y, g_x, g_w, g_b


def results(
    geometry: Geometry, dtype: torch.dtype, *, method: str, kernel: str = "torch", patch_size: int
) -> Results:
    """Return what a kernel computes; the same inputs for all, drawn in float64."""
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    c_in, c_out = geometry.channels
    x = drawn(2, c_in, *geometry.size).requires_grad_()
    weight = drawn(c_out, c_in // geometry.groups, *geometry.window).requires_grad_()
    bias = drawn(c_out).requires_grad_()
    arguments = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    if method == "reference":
        y = torch.nn.functional.conv2d(x, weight, bias, *arguments)
    else:
        y = conv2d(x, weight, bias, *arguments, method=method, kernel=kernel, patch_size=patch_size)
    gradients = torch.autograd.grad(y, (x, weight, bias), drawn(*y.shape))
    return (y.detach(), *gradients)


def error_of(got: Results, wanted: Results) -> float:
    """Return the largest error, each relative to the largest element."""
    assert [tensor.shape for tensor in got] == [tensor.shape for tensor in wanted]
    return max(
        float((one.double() - other).abs().max() / other.abs().max())
        for one, other in zip(got, wanted, strict=True)
    )


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_g1_exact_is_autograd_in_both_layouts(geometry: Geometry) -> None:
    wanted = results(geometry, torch.float64, method="reference", patch_size=1)
    for kernel in ("torch", "torch-channels-last"):
        got = results(geometry, torch.float32, method="exact", kernel=kernel, patch_size=1)
        assert error_of(got, wanted) < 1e-4


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_g1_the_filter_works_and_kernel_native_agrees_with_torch(geometry: Geometry) -> None:
    exact = results(geometry, torch.float64, method="reference", patch_size=1)
    why_not = KERNELS["native"].available(torch.device("cpu"), torch.float32)
    for patch_size in PATCH_SIZES:
        wanted = results(geometry, torch.float64, method=FILTER, patch_size=patch_size)
        assert error_of(without_filter(wanted), without_filter(exact)) < 1e-9
        for dtype, tolerance in NATIVE_TOLERANCES if why_not is None else ():
            got = results(geometry, dtype, method=FILTER, kernel="native", patch_size=patch_size)
            assert error_of(got, wanted) < tolerance
    if why_not is not None:
        pytest.skip(f"kernel native was not tried: {why_not}")


def test_g1_the_published_operator_works_or_refuses_with_the_reason() -> None:
    worked, refused = [], []
    for geometry in GEOMETRIES:
        exact = results(geometry, torch.float64, method="reference", patch_size=1)
        for patch_size in PATCH_SIZES:
            try:
                got = results(geometry, torch.float64, method=PUBLISHED, patch_size=patch_size)
            except ValueError as refusal:
                refused.append(str(refusal))
                continue
            worked.append(error_of(without_filter(got), without_filter(exact)))
            assert [one.shape for one in got] == [one.shape for one in exact]
    assert max(worked) < 1e-9
    assert len(worked) == 9 * len(PATCH_SIZES)
    assert all("the published operator needs" in reason for reason in refused), refused


def without_filter(all_results: Results) -> Results:
    """Return what every method computes exactly: y and g_b."""
    y, _, _, grad_bias = all_results
    return y, grad_bias
