"""Run kernel native on drawn convolutions while all its memory is watched.

One process, one build: ``fuzz.py`` starts it, with the sanitizer that the build needs. Kernel
native's own Python calls C, so that what is handed over is what users hand over. Results are held
against kernel torch in float64. What is under way is written to a file, which tells what a
process died of.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import itertools
import json
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import faults
import torch
from fuzz_builds import BUILDS, Build, count_lines, use
from fuzz_configurations import (
    Configuration,
    drawn,
    image_configurations,
    network_configurations,
    short_configurations,
)
from guarded_memory import GuardedMemory, Memory, PlainMemory

from workloads.kernels.native import operators as native
from workloads.kernels.native import passes
from workloads.kernels.torch_ops import operators as torch_ops

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}
NAMES = ("g_x", "g_w", "g_b")
Gradients = tuple[torch.Tensor | None, ...]


class Finding(Exception):
    """A wrong gradient or a touched pattern; the message says which."""


def checked(configuration: Configuration, memory: Memory, seed: int) -> str:
    """Go through a backward twice and return the way that it took.

    Raises:
        Finding: something is wrong.
    """
    paths: list[str] = []
    tensors = _tensors(configuration, memory, seed)
    kept = [tensor.clone() for tensor in tensors]
    with torch.no_grad(), _gone_through(configuration, paths), memory.handing_out():
        found = [_gradients(native, configuration, tensors) for _ in range(2)]
    complaints = memory.complaints()
    if complaints:
        raise Finding("; ".join(sorted(set(complaints))))
    if not all(torch.equal(*pair) for pair in zip(tensors, kept, strict=True)):
        raise Finding("an input was changed")
    with torch.no_grad():
        wanted = _gradients(torch_ops, configuration, [each.double() for each in kept])
    for got in found:
        _compare(got, wanted, TOLERANCES[configuration.torch_dtype])
    return paths[0] if paths else "only g_b"


def main() -> int:
    """Go through configurations until time or numbers run out; print how many of each way."""
    options = options_of()
    faulthandler.enable()
    build = BUILDS[options.build]
    use(build)
    if options.coverage:
        count_lines(options.coverage)
    faults.make(options.fault)
    counts: collections.Counter[str] = collections.Counter()
    started = time.monotonic()
    for number, configuration in configurations(options):
        if options.seconds is not None and time.monotonic() - started > options.seconds:
            break
        under_way = f"--seed {options.seed} --only {number}"
        if options.under_way:
            options.under_way.write_text(f"{under_way}\n{configuration}\n")
        memory = _memory(build, options.seed, number)
        try:
            counts[checked(configuration, memory, number)] += 1
        except Exception as error:  # whatever it is, it is a finding
            traceback.print_exc()
            print(json.dumps({"finding": f"{type(error).__name__}: {error}", "counts": counts}))
            return 1
    print(json.dumps({"counts": counts, "seconds": round(time.monotonic() - started, 1)}))
    return 0


def options_of() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", choices=BUILDS, default="avx512")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--configurations", type=int)
    parser.add_argument("--only", type=int)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--networks", action="store_true")
    parser.add_argument("--images", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--fault", choices=faults.FAULTS)
    parser.add_argument("--coverage", type=Path, help="a folder for gcov's files")
    parser.add_argument("--under-way", type=Path)
    return parser.parse_args()


def configurations(options: argparse.Namespace) -> Iterator[tuple[int, Configuration]]:
    """Yield the configurations that are asked for, numbered."""
    if options.short:
        every: Iterator[tuple[int, Configuration]] = enumerate(short_configurations())
    elif options.images:
        every = enumerate(image_configurations())
    elif options.networks:
        every = enumerate(network_configurations(options.seed))
    else:
        every = ((n, drawn(options.seed, n, large=options.large)) for n in itertools.count())
    if options.only is not None:
        return itertools.islice(every, options.only, options.only + 1)
    return itertools.islice(every, options.configurations)


def _memory(build: Build, seed: int, number: int) -> Memory:
    return PlainMemory() if build.sanitizer else GuardedMemory(random.Random(f"{seed} {number}"))


# how it is gone through ------------------------------------------------------------------------


@contextlib.contextmanager
def _gone_through(configuration: Configuration, paths: list[str]) -> Iterator[None]:
    """Let the kernel go the way that was drawn, and note it in ``paths``."""
    passes.__dict__["_kept"].__dict__.clear()
    native.prepared_call.cache_clear()
    torch.set_num_threads(configuration.threads)
    cache_bytes = 0 if configuration.streaming else 2**50
    with contextlib.ExitStack() as stack:
        for module, name, value in (
            (passes, "last_cache_bytes", lambda: cache_bytes),
            (passes, "KEPT_WORKSPACE_BYTES", 2**40 if configuration.keeps else 0),
            (passes, "prepare", _prepared(passes.prepare, configuration, paths)),
            (passes, "pool", _noted(passes.pool, configuration, paths)),
            (native, "IMAGE_CHUNK_BYTES", configuration.chunk_bytes),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        yield


def _prepared(
    prepare: Callable[..., passes.Call], configuration: Configuration, paths: list[str]
) -> Callable[..., passes.Call]:
    def prepared(
        schedule: passes.Schedule, x_shape: Any, weight_shape: Any, axes: Any, *rest: Any
    ) -> passes.Call:
        if configuration.chunk is not None:
            rows = x_shape[0] * axes[0][0].number
            chunk_rows = max(1, round(configuration.chunk * rows))
            accumulators = 0
            if schedule.function == "gfb_filtered":
                accumulators = configuration.accumulators
                if accumulators == 0:  # threads work together: one chunk
                    chunk_rows = rows
            schedule = schedule._replace(chunk_rows=chunk_rows, accumulators=accumulators)
        paths.insert(0, _words(schedule, configuration.streaming))
        return prepare(schedule, x_shape, weight_shape, axes, *rest)

    return prepared


def _words(schedule: passes.Schedule, streaming: bool) -> str:
    words = [schedule.function, "nchw" if schedule.nchw else "nhwc"]
    if schedule.function == "gfb_filtered":
        words.append("apart" if schedule.accumulators else "together")
    if streaming:
        words.append("streaming")
    return ", ".join(words)


def _noted(
    pool: Callable[..., None], configuration: Configuration, paths: list[str]
) -> Callable[..., None]:
    def noted(maps: passes.Maps, *arguments: Any) -> None:
        words = ["pooled" if configuration.pooled else "by image chunks"]
        words.append("nchw" if maps.nchw else "nhwc")
        if configuration.streaming:
            words.append("streaming")
        paths.append(", ".join(words))
        pool(maps, *arguments)

    return noted


def _gradients(kernel: Any, configuration: Configuration, tensors: list[torch.Tensor]) -> Gradients:
    x, weight, grad = tensors
    geometry, needs = configuration.geometry(), configuration.needs
    if configuration.pooled:
        saved = (kernel.save_pooled if kernel is native else kernel.save)(
            x, weight, geometry, needs[0], needs[1]
        )
        return tuple(kernel.gradients_pooled(grad, *saved, geometry, needs))
    saved = kernel.save(x, weight, geometry, needs[0], needs[1])
    return tuple(kernel.gradients(grad, *saved, geometry, needs))


# tensors ---------------------------------------------------------------------------------------


def _tensors(configuration: Configuration, memory: Memory, seed: int) -> list[torch.Tensor]:
    """Return x, w and the gradient of y as they are drawn to lie."""
    generator = torch.Generator().manual_seed(seed)
    rng = random.Random(seed)
    geometry, dtype = configuration.geometry(), configuration.torch_dtype
    images, outputs = configuration.x_shape[0], configuration.weight_shape[0]
    grad_shape = (images, outputs, *geometry.output_size)
    made = []
    for shape, layout in (
        (configuration.x_shape, configuration.x_layout),
        (configuration.weight_shape, rng.choice(["nchw", configuration.x_layout])),
        (grad_shape, configuration.grad_layout),
    ):
        values = torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)
        made.append(_laid(values, layout, memory, rng))
    return made


def _laid(values: torch.Tensor, layout: str, memory: Memory, rng: random.Random) -> torch.Tensor:
    shape = values.shape
    if layout == "expanded":
        one = values[:1, :1, :1, :1]
        return memory.placed(one, copied=True).expand(shape)
    gaps = (rng.choice([0, 1, 7]), rng.choice([0, 3]), rng.choice([0, 5]))
    if not layout.endswith("others"):
        gaps = (0, 0, 0)
    strides = _strides(shape, layout, gaps)
    span = 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    flat = torch.full((span,), float("nan"), dtype=values.dtype)
    lying = flat.as_strided(shape, strides)
    lying.copy_(values)
    return memory.placed(lying, copied=True)


def _strides(shape: torch.Size, layout: str, gaps: tuple[int, int, int]) -> tuple[int, ...]:
    """Return strides with gaps after the numbers of a row, after rows and after images."""
    _, channels, height, width = shape
    dense, rows, images = gaps
    if layout.startswith("nchw"):
        row = width + dense
        plane = height * row + rows
        return channels * plane + images, plane, row, 1
    if layout == "transposed":
        return channels * height * width, height * width, 1, height
    pixel = channels + dense
    row = width * pixel + rows
    return height * row + images, 1, row, pixel


def _compare(got: Gradients, wanted: Gradients, tolerance: float) -> None:
    for name, ours, theirs in zip(NAMES, got, wanted, strict=True):
        if ours is None or theirs is None:
            if ours is not theirs:
                raise Finding(f"{name} is {'missing' if ours is None else 'not asked for'}")
            continue
        if ours.shape != theirs.shape:
            raise Finding(f"{name} has shape {tuple(ours.shape)}, not {tuple(theirs.shape)}")
        error = float((ours.double() - theirs).abs().max() / max(1.0, float(theirs.abs().max())))
        if not error <= tolerance:  # NaN is no pass
            raise Finding(f"{name} errs by {error:.1e}")


if __name__ == "__main__":
    sys.exit(main())
