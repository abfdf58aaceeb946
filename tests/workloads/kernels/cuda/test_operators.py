"""Kernel "cuda" on the processor: its source compiled by cc, against the slow oracle."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from configurations import kept_window_configurations, random_configurations
from cuda_emulator import (
    LAYOUTS,
    Emulator,
    Memory,
    gradient_errors,
    in_place_of_a_gpu,
    large_configurations,
)
from interpreters import old_python
from oracle import Config

from workloads.convolution import conv2d
from workloads.kernels import KERNELS
from workloads.kernels.cuda import passes as cuda_passes
from workloads.kernels.cuda.operators import OPERATORS
from workloads.spec.geometry import Patches, conv_geometry

REPOSITORY = Path(__file__).resolve().parents[4]
RANDOM = list(random_configurations(260, seed=107))
KEPT = list(kept_window_configurations(60, seed=108))
LARGE = [config for config in large_configurations() for _ in range(5)]
CASES = list(enumerate([*RANDOM, *KEPT, *LARGE]))

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator(torch.float64)


@pytest.fixture
def on_a_gpu(emulator: Emulator) -> Iterator[Emulator]:
    emulator.launches.clear()
    with in_place_of_a_gpu(emulator, 8):
        yield emulator


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# against the slow loop -----------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "config"), CASES, ids=str)
def test_gradients_equal_the_slow_loop_and_nothing_else_is_written(
    variant: int, config: Config, emulator: Emulator
) -> None:
    errors = gradient_errors(config, emulator, torch.float64, variant)
    assert max(errors.values()) < 1e-10, errors


def test_gradients_in_float32_are_as_exact_as_float32() -> None:
    single = Emulator(torch.float32)
    for variant, config in CASES[::3]:
        errors = gradient_errors(config, single, torch.float32, variant)
        assert max(errors.values()) < 1e-5, (config, errors)


def test_gradients_in_half_are_as_exact_as_half() -> None:
    half = Emulator(torch.float16)
    for variant, config in CASES[::3]:
        errors = gradient_errors(config, half, torch.float16, variant)
        assert max(errors.values()) < 8e-3, (config, errors)


def test_the_passes_leave_nothing_undefined(capfd: pytest.CaptureFixture[str]) -> None:
    checked = Emulator(torch.float64, ("-fsanitize=undefined",))
    for variant, config in CASES[::4]:
        gradient_errors(config, checked, torch.float64, variant)
    assert "runtime error" not in capfd.readouterr().err


def test_the_numerics_hold_on_python_3_6_and_torch_1_10() -> None:
    done = subprocess.run(
        [str(old_python()), str(REPOSITORY / "tests" / "support" / "cuda_emulator.py")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["failures"] == []
    assert summary["checked"] >= 80
    assert summary["torch"].startswith("1.10")


def test_a_wrong_write_and_a_missing_one_are_noticed() -> None:
    # The guard of the tests above, guarded: a pass told one column too many, or one too few.
    emulator = Emulator(torch.float64)
    for width, broken in ((6, 0), (7, 1)):
        memory = Memory()
        maps = memory.empty((1, 1, 1, 6), torch.float64)
        with in_place_of_a_gpu(emulator, 1):
            wrong = maps.as_strided((1, 1, 1, width), (6, 6, 6, 1))
            axes = (Patches(0, 1, 1, 1), Patches(0, width, 1, width))
            cuda_passes.expand(normal(1, 1, 1, 1), axes, wrong)
        assert memory.broken() == broken
    maps = Memory().empty((1, 1, 1, 6), torch.float64)
    with in_place_of_a_gpu(emulator, 1):
        axes = (Patches(0, 1, 1, 1), Patches(0, 5, 1, 5))
        cuda_passes.expand(normal(1, 1, 1, 1), axes, maps[..., :5])
    assert torch.isnan(maps).sum() == 1


# what is asked, and in which order it lies ---------------------------------------------------


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("needs", list(itertools.product([False, True], repeat=3)))
def test_only_what_is_needed_is_computed(
    needs: tuple[bool, bool, bool], groups: int, on_a_gpu: Emulator
) -> None:
    x, w = normal(2, 4, 6, 6), normal(4, 4 // groups, 3, 3, seed=1)
    geometry = conv_geometry(x.shape, w.shape, padding=1, groups=groups)
    save, gradients = OPERATORS["gradient_filter"]
    saved = save(x, w, geometry, needs[0], needs[1])
    assert (saved[1] is not None, saved[0] is not None) == (needs[0], needs[1])
    grads = gradients(normal(2, 4, 6, 6, seed=2), *saved, geometry, needs)
    assert tuple(grad is not None for grad in grads) == needs


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_the_input_gradient_lies_as_that_of_the_output_does(
    layout: torch.memory_format, groups: int, on_a_gpu: Emulator
) -> None:
    x, w = normal(2, 6, 8, 8).requires_grad_(), normal(6, 6 // groups, 3, 3).requires_grad_()
    y = conv2d(x, w, padding=1, groups=groups, method="gradient_filter", kernel="cuda")
    g = normal(*y.shape).contiguous(memory_format=layout)
    grad_x, grad_w = torch.autograd.grad(y, (x, w), g)
    assert grad_x.is_contiguous(memory_format=layout)
    assert grad_w.is_contiguous()


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_both_products_take_the_grids_as_they_lie(
    layout: str, groups: int, on_a_gpu: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointers: list[set[int]] = []
    grids: list[int | None] = []

    def noting(multiply: Any) -> Any:
        def product(left: torch.Tensor, right: torch.Tensor) -> Any:
            pointers.append({left.data_ptr(), right.data_ptr()})
            return multiply(left, right)

        return product

    for name in ("mm", "bmm"):
        monkeypatch.setattr(torch, name, noting(getattr(torch, name)))
    pool = cuda_passes.pool

    def noted(maps: torch.Tensor, axes: Any, cells: Any, *rest: Any, **named: Any) -> Any:
        grids.append(None if cells is None else cells.data_ptr())
        return pool(maps, axes, cells, *rest, **named)

    monkeypatch.setattr(cuda_passes, "pool", noted)
    x, w = Memory().hold(normal(2, 6, 8, 8), layout), normal(6, 6 // groups, 3, 3)
    g = Memory().hold(normal(2, 6, 8, 8), layout)
    y = conv2d(
        x.requires_grad_(),
        w.requires_grad_(),
        padding=1,
        groups=groups,
        method="gradient_filter",
        kernel="cuda",
    )
    torch.autograd.grad(y, (x, w), g)
    x_sum, window, grad = grids
    if groups == 6:
        assert not pointers  # depthwise: no product at all
    else:
        assert pointers == [{grad, x_sum}, {grad, window}]


def test_a_step_takes_five_launches(on_a_gpu: Emulator) -> None:
    x, w = normal(2, 4, 6, 6).requires_grad_(), normal(4, 4, 3, 3).requires_grad_()
    y = conv2d(x, w, padding=1, method="gradient_filter", kernel="cuda")
    assert [name for name, _ in on_a_gpu.launches] == ["gfb_pool_2", "gfb_pool_0"]
    torch.autograd.grad(y, (x, w), normal(*y.shape))
    names = [name for name, _ in on_a_gpu.launches[2:]]
    assert names == ["gfb_pool_2", "gfb_expand_0", "gfb_expand_2"]


def test_an_expanded_gradient_is_read_without_a_copy(on_a_gpu: Emulator) -> None:
    x, w = normal(2, 3, 7, 5).requires_grad_(), normal(4, 3, 3, 3).requires_grad_()
    grads = []
    for kernel in ("cuda", "torch"):
        y = conv2d(x, w, padding=1, method="gradient_filter", kernel=kernel)
        grads.append(torch.autograd.grad(y.sum(), (x, w)))
    for got, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


# where it can run ----------------------------------------------------------------------------


def test_it_says_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    available = KERNELS["cuda"].available
    gpu = torch.device("cuda", 0)
    assert "not on cpu" in str(available(torch.device("cpu"), torch.float32))
    assert "not torch.bfloat16" in str(available(gpu, torch.bfloat16))
    monkeypatch.setattr(cuda_passes, "_reasons", {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in (gpu, torch.device("cuda")):
        reason = available(device, torch.float32)
        assert reason == "kernel cuda: torch sees no CUDA device"
    monkeypatch.setattr(cuda_passes, "unavailable", lambda *arguments: "no NVRTC")
    assert available(gpu, torch.float32) == "kernel cuda: no NVRTC"
    monkeypatch.setattr(cuda_passes, "unavailable", lambda *arguments: None)
    assert available(gpu, torch.float32) is None


def test_asking_for_it_on_the_cpu_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="kernel cuda runs on CUDA devices, not on cpu"):
        conv2d(normal(1, 1, 4, 4), normal(1, 1, 3, 3), method="gradient_filter", kernel="cuda")


def test_halves_are_read_and_rounded_as_torch_does() -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    every = bits.view(torch.float16)
    every = every[torch.isfinite(every)]
    other = every.roll(12345)
    sums = torch.empty_like(every).view(1, 1, 1, -1)
    pairs = torch.stack([every, other], dim=1).view(1, 1, 1, -1)
    with in_place_of_a_gpu(Emulator(torch.float16), 4):
        number = every.numel()
        axes = (Patches(0, 1, 1, 1), Patches(0, 2, number, 2 * number))
        cuda_passes.pool(pairs, axes, sums)
    assert torch.equal(sums.flatten(), (every.float() + other.float()).half())
