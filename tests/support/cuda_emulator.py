# ruff: noqa: UP006, UP031, UP035, UP045, B905  (Python 3.6 has no list[int] and no zip(strict=))
"""A stand-in for a GPU: the CUDA source compiled for the processor, memory with guards around it.

    PYTHONPATH=<repository> python tests/support/cuda_emulator.py

checks kernel "cuda" against the slow oracle and prints one JSON line, {"checked": n, "worst":
error, "torch": version, "failures": [...]}. Python 3.6 syntax, and torch from 1.10 on.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Dict, Iterator, List, Optional, Tuple

import oracle
import torch
from configurations import kept_window_configurations, random_configurations

from workloads.convolution import conv2d
from workloads.kernels import KERNELS
from workloads.kernels.cuda import passes as cuda_passes
from workloads.spec.kernels import CUDA_SOURCE

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "..", "..", "workloads", CUDA_SOURCE)
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared")
GUARD = 64  # elements before and after each tensor, not to be written, and NaN if read
PROCESSORS = (1, 16, 640)  # of one block each: from one walk over a plane to many blocks for it
LAYOUTS = ("nchw", "nhwc", "steps")  # NCHW, NHWC, and neither


class Emulator:
    """What cuda_driver.Module is, on the processor: kernels that run before launch returns."""

    def __init__(self, dtype: torch.dtype, flags: Tuple[str, ...] = ()) -> None:
        self._library = ctypes.CDLL(build(dtype, flags))
        self.launches: List[Tuple[str, Tuple[int, int]]] = []

    def launch(self, name: str, params: ctypes.Structure, grid: Tuple[int, int]) -> None:
        """Run all blocks of a kernel."""
        self.launches.append((name, grid))
        getattr(self._library, name)(ctypes.byref(params), *grid)


def build(dtype: torch.dtype, flags: Tuple[str, ...] = ()) -> str:
    """Compile the CUDA source with cc and return the library's path; once per source."""
    folder = os.path.join(tempfile.gettempdir(), "gfbench-cuda-emulator-%d" % os.getuid())
    os.makedirs(folder, mode=0o700, exist_ok=True)
    digest = hashlib.sha256(repr((FLAGS, flags, dtype)).encode("ascii"))
    for path in (SOURCE, os.path.join(HERE, "cuda_host.h")):
        with open(path, "rb") as file:
            digest.update(file.read())
    library = os.path.join(folder, digest.hexdigest()[:16] + ".so")
    if not os.path.exists(library):
        made = tempfile.mkdtemp(dir=folder) + "/made.so"
        define = "-D" + cuda_passes.TYPES[dtype]
        command = ["cc", *FLAGS, *flags, define, "-I", HERE, "-x", "c", SOURCE, "-o", made, "-lm"]
        subprocess.check_call(command)
        os.rename(made, library)
    return library


# memory --------------------------------------------------------------------------------------


class Memory:
    """Tensors that lie between guards and start as NaN, so that nothing is written by chance."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._buffers: List[torch.Tensor] = []

    def empty(self, shape: Any, dtype: Any = None, **options: Any) -> torch.Tensor:
        """Do what torch.empty does."""
        shape = tuple(shape)
        if options.get("memory_format") == torch.channels_last:
            n, c, h, w = shape
            return self.empty((n, h, w, c), dtype).permute(0, 3, 1, 2)
        number = 1
        for size in shape:
            number *= size
        buffer = torch.full((number + 2 * GUARD,), float("nan"), dtype=dtype, device=self._device)
        self._buffers.append(buffer)
        return buffer[GUARD : GUARD + number].view(shape)

    def hold(self, tensor: torch.Tensor, layout: str) -> torch.Tensor:
        """Return a copy of maps (N, C, H, W) between guards, in a layout."""
        n, c, h, w = tensor.shape
        if layout == "nhwc":
            held = self.empty((n, h, w, c), tensor.dtype).permute(0, 3, 1, 2)
        elif layout == "steps":  # every second row and third column of larger maps, upside down
            held = self.empty((c, n, 2 * h, 3 * w), tensor.dtype).transpose(0, 1)[:, :, 1::2, ::3]
        else:
            held = self.empty((n, c, h, w), tensor.dtype)
        return held.copy_(tensor)

    def broken(self) -> int:
        """Return how many buffers were written outside of their tensors."""
        guards = [(b[:GUARD], b[-GUARD:]) for b in self._buffers]
        return sum(not bool(torch.isnan(torch.cat(pair)).all()) for pair in guards)

    @contextlib.contextmanager
    def serves(self) -> Iterator[None]:
        """Give out this memory to whoever calls torch.empty or new_empty."""
        empty, new_empty = torch.empty, torch.Tensor.new_empty

        def like(tensor: torch.Tensor, shape: Any) -> torch.Tensor:
            return self.empty(shape, tensor.dtype)

        torch.empty, torch.Tensor.new_empty = self.empty, like  # type: ignore[assignment]
        try:
            yield
        finally:
            torch.empty, torch.Tensor.new_empty = empty, new_empty  # type: ignore[method-assign]


def large_configurations() -> List[oracle.Config]:
    """Return convolutions of maps so large that a thread walks many patches, across their rows."""
    return [
        oracle.Config((n, 2 * groups, *size), (c, 2, 3, 3), s, (2, 1), (1, 1), groups, r)
        for n, groups, c in ((1, 1, 3), (2, 2, 2))
        for size, s, r in (
            ((61, 47), (1, 1), (2, 2)),
            ((75, 58), (2, 1), (2, 3)),
            ((50, 83), (1, 1), (1, 4)),
        )
    ]


@contextlib.contextmanager
def in_place_of_a_gpu(emulator: Emulator, processors: int) -> Iterator[None]:
    """Let kernel "cuda" run on the CPU, by the emulator."""
    kernel, module = KERNELS["cuda"], cuda_passes._module
    blocks = cuda_passes.BLOCKS_PER_PROCESSOR

    def emulated(maps: torch.Tensor) -> Tuple[Any, int]:
        return emulator, processors

    KERNELS["cuda"] = kernel._replace(available=lambda device, dtype: None)
    cuda_passes._module, cuda_passes.BLOCKS_PER_PROCESSOR = emulated, 1
    try:
        yield
    finally:
        KERNELS["cuda"], cuda_passes._module = kernel, module
        cuda_passes.BLOCKS_PER_PROCESSOR = blocks


# the check -----------------------------------------------------------------------------------


def gradient_errors(
    config: oracle.Config, emulator: Optional[Emulator], dtype: torch.dtype, variant: int
) -> Dict[str, float]:
    """Return the error of g_x, g_w and g_b against the float64 oracle, relative to its largest.

    Without an emulator on a GPU, which is to be there then.
    ``variant`` picks the layouts of x, w and dL/dy and the number of multiprocessors. The number
    of buffers that were written outside of their bounds is called ``broken``.
    """
    generator = torch.Generator().manual_seed(variant)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    device = "cuda" if emulator is None else "cpu"
    memory = Memory(device)
    x_layout, g_layout = LAYOUTS[variant % 3], LAYOUTS[variant // 3 % 3]
    x = memory.hold(draw(*config.x_shape), x_layout).requires_grad_()
    w = memory.hold(draw(*config.weight_shape), LAYOUTS[variant // 2 % 2]).requires_grad_()
    b = draw(config.weight_shape[0]).to(device).requires_grad_()
    arguments = oracle.conv_arguments(config)
    processors = PROCESSORS[(variant + variant // 9) % len(PROCESSORS)]
    with contextlib.ExitStack() as stack:
        if emulator is not None:
            stack.enter_context(in_place_of_a_gpu(emulator, processors))
        stack.enter_context(memory.serves())
        y = conv2d(
            x,
            w,
            b,
            method="gradient_filter",
            patch_size=config.patch_size,
            kernel="cuda",
            **arguments,
        )
        g = memory.hold(draw(*y.shape), g_layout)
        got = torch.autograd.grad(y, (x, w, b), g)
    x, w, g = (tensor.detach().double().cpu() for tensor in (x, w, g))
    wanted = oracle.filtered_gradients(x, w, g, config)
    errors = {name: _error(a, e) for name, a, e in zip(("g_x", "g_w", "g_b"), got, wanted)}
    errors["broken"] = float(memory.broken())
    return errors


def _error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    assert got.shape == wanted.shape
    largest = float(wanted.abs().max())
    error = float((got.double().cpu() - wanted).abs().max())
    return error / largest if largest else error


def main() -> int:
    """Run the check, print the summary and return the exit code."""
    torch.set_num_threads(1)
    emulator = Emulator(torch.float64)
    failures: List[str] = []
    worst, checked = 0.0, 0
    configs = [*random_configurations(60, seed=21), *kept_window_configurations(20, seed=22)]
    configs += large_configurations()
    for variant, config in enumerate(configs):
        errors = gradient_errors(config, emulator, torch.float64, variant)
        checked, worst = checked + 1, max(worst, *errors.values())
        if not max(errors.values()) < 1e-10:
            failures.append("%d %s: %s" % (variant, config, errors))
    summary = {
        "checked": checked,
        "worst": worst,
        "torch": torch.__version__,
        "failures": failures,
    }
    print(json.dumps(summary))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
