"""Kernel "cuda" on a real GPU: skipped where there is none, everything else is tested elsewhere."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from configurations import kept_window_configurations, random_configurations
from cuda_emulator import gradient_errors, large_configurations

from workloads.convolution import conv2d
from workloads.kernels import KERNELS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")

CONFIGS = [
    *random_configurations(260, seed=107),
    *kept_window_configurations(60, seed=108),
    *large_configurations(),
]
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 8e-3}


@pytest.fixture(autouse=True)
def plain_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_the_kernel_can_be_had(dtype: torch.dtype) -> None:
    assert KERNELS["cuda"].available(torch.device("cuda"), dtype) is None


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_gradients_equal_the_slow_loop_and_nothing_else_is_written(dtype: torch.dtype) -> None:
    wrong = {}
    for variant, config in enumerate(CONFIGS):
        errors = gradient_errors(config, None, dtype, variant)
        if not max(errors.values()) < TOLERANCES[dtype]:
            wrong[variant] = (config, errors)
    assert not wrong


def gradients(kernel: str) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    x, w = (
        torch.randn(shape, generator=generator).cuda().requires_grad_()
        for shape in ((8, 64, 56, 56), (64, 64, 3, 3))
    )
    y = conv2d(x, w, padding=1, method="gradient_filter", kernel=kernel)
    return torch.autograd.grad(y, (x, w), torch.randn(y.shape, generator=generator).cuda())


def assert_close(got: Any, wanted: Any) -> None:
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * float(b.abs().max()))


def test_it_follows_torch_to_another_stream_and_thread() -> None:
    wanted, found = gradients("torch"), []
    torch.cuda.synchronize()

    def work() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
            found.append(gradients("cuda"))
            torch.cuda.current_stream().synchronize()

    thread = threading.Thread(target=work)  # which has no current context yet
    thread.start()
    thread.join()
    assert_close(found[0], wanted)


def test_every_run_gives_the_same_bits() -> None:
    for a, b in zip(gradients("cuda"), gradients("cuda"), strict=True):
        assert torch.equal(a, b)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one device")
def test_a_second_device_gets_its_own_module() -> None:
    wanted = [grad.cpu() for grad in gradients("cuda")]
    with torch.cuda.device(1):
        assert_close([grad.cpu() for grad in gradients("cuda")], wanted)
