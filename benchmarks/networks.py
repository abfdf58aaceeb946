"""Compare training steps of a whole network, exact and filtered: ratios within one process.

    python benchmarks/networks.py [--network mobilenet_v2] [--size 224] [--batch 16]
        [--layers all|last:4] [--kernels native] [--patch-sizes 2 4] [--rounds 15] [--clock cpu]

Each round takes one step of every contender, in a new random order: torch's own network in NCHW
and in channels-last, and the network with filtered convolutions, for each kernel, patch size and
layout. A step is forward, loss and backward; the optimizer's part is the same for all and left
out. Every BatchNorm is frozen; with ``--layers last:n`` everything but the last n convolutions and
the classifier is. All contenders have the same weights, images, threads and allocator settings.

Figures are medians over rounds, and ratios of steps within a round, to the exact layout whose
median is smaller: the Hodges-Lehmann estimate with its 95 % interval. Above 1 the filtered step is
the slower one. "saved" is what autograd keeps for the backward. On a machine that others use as
well, ``--clock cpu --threads 1`` counts the processor time of a single thread instead.

Not a gfbench run: no fresh processes, no sensors; for work on kernels.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from reports.stats.intervals import paired_ratio
from workloads.convolution import filter_module
from workloads.measure import memory
from workloads.measure.saved import saved_bytes
from workloads.networks import build
from workloads.networks.batch_norm import set_batch_norm
from workloads.networks.order import chosen_convolutions, convolutions_in_order

LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
EXAMPLE_SIZE = 64  # of the image that shows in which order convolutions run


@dataclass(frozen=True)
class Contender:
    """One way to train the network, and the seconds of its rounds."""

    name: str
    network: nn.Module
    images: torch.Tensor  # (N, 3, H, W)
    labels: torch.Tensor  # (N,)
    forward_s: list[float] = field(default_factory=list)
    backward_s: list[float] = field(default_factory=list)

    @property
    def step_s(self) -> list[float]:
        """Return the seconds of each round's step."""
        return [sum(parts) for parts in zip(self.forward_s, self.backward_s, strict=True)]

    def loss(self) -> torch.Tensor:
        """Return the loss of the images, with its graph."""
        return F.cross_entropy(self.network(self.images), self.labels)

    def step(self, clock: Callable[[], float]) -> tuple[float, float]:
        """Take one step and return the seconds of its forward and of its backward."""
        self.network.zero_grad(set_to_none=True)
        begin = clock()
        loss = self.loss()
        between = clock()
        torch.autograd.backward(loss)
        return between - begin, clock() - between


def main() -> None:
    """Measure the contenders and print a line for each."""
    options = _options()
    torch.set_num_threads(options.threads)
    memory.keep_freed_memory()
    exact, filtered = _contenders(options)
    _measure([*exact, *filtered], options.rounds, CLOCKS[options.clock])
    print(
        f"torch {torch.__version__}, {options.threads} threads, {options.network},"
        f" batch {options.batch}, {options.size} x {options.size}, layers {options.layers}"
    )
    print("load average {:.2f} {:.2f} {:.2f}".format(*os.getloadavg()))
    fastest = min(exact, key=lambda contender: statistics.median(contender.step_s))
    for contender in (*exact, *filtered):
        _report(contender, fastest)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--layers", default="all", help="all, or last:4 for the last four")
    parser.add_argument("--kernels", nargs="+", default=["native"])
    parser.add_argument("--patch-sizes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random.seed(options.seed)
    torch.manual_seed(options.seed)
    return options


def _contenders(options: argparse.Namespace) -> tuple[list[Contender], list[Contender]]:
    """Return the exact contenders, one per layout, and the filtered ones."""
    images = torch.randn(options.batch, 3, options.size, options.size)
    labels = torch.randint(0, 10, (options.batch,))
    exact, filtered = [], []
    for layout, memory_format in LAYOUTS.items():
        laid_out = images.contiguous(memory_format=memory_format)
        network = _network(options).to(memory_format=memory_format)  # type: ignore[call-overload]
        exact.append(Contender(f"exact {layout}", network, laid_out, labels))
        for kernel in options.kernels:
            for patch_size in options.patch_sizes:
                network = _network(options, kernel, patch_size)
                network = network.to(memory_format=memory_format)  # type: ignore[call-overload]
                name = f"{kernel} r={patch_size} {layout}"
                filtered.append(Contender(name, network, laid_out, labels))
    return exact, filtered


def _network(
    options: argparse.Namespace, kernel: str | None = None, patch_size: int | None = None
) -> nn.Module:
    """Return the network, its chosen convolutions filtered by a kernel if one is named."""
    network = set_batch_norm(build(options.network, num_classes=10, seed=options.seed))
    example = torch.zeros(1, 3, EXAMPLE_SIZE, EXAMPLE_SIZE)
    chosen = chosen_convolutions(convolutions_in_order(network, example), options.layers)
    if options.layers != "all":
        network.requires_grad_(False)
        for _, conv in chosen:
            conv.requires_grad_(True)
        for part in network.modules():
            if isinstance(part, nn.Linear):
                part.requires_grad_(True)
    if kernel is None:
        return network
    return filter_module(network, patch_size, layers=[name for name, _ in chosen], kernel=kernel)


def _measure(contenders: list[Contender], rounds: int, clock: Callable[[], float]) -> None:
    """Take a step of each contender a round, in random order; the first round warms up."""
    for number in range(rounds + 1):
        for contender in random.sample(contenders, len(contenders)):
            forward_s, backward_s = contender.step(clock)
            if number:
                contender.forward_s.append(forward_s)
                contender.backward_s.append(backward_s)


def _report(contender: Contender, fastest: Contender) -> None:
    """Print the medians of one contender, and its steps over those of the fastest exact one."""
    phases = (contender.forward_s, contender.backward_s, contender.step_s)
    medians = "".join(f"{1e3 * statistics.median(times):9.1f}" for times in phases)
    saved = saved_bytes(contender.loss, list(contender.network.parameters()))
    ratio = paired_ratio(fastest.step_s, contender.step_s)
    interval = ""
    if ratio.ci_low is not None:
        interval = f" [{ratio.ci_low:.3f}, {ratio.ci_high:.3f}]"
    print(
        f"{contender.name:26} forward, backward, step{medians} ms"
        f"  step {ratio.ratio:.3f}{interval} of {fastest.name}"
        f"  saved {(saved or 0) / 2**20:.1f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    main()
