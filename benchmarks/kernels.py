"""Compare the kernels on catalogue layers: ratios within one process, interleaved, and the floor.

    python benchmarks/kernels.py [--layers paper-] [--batch 8] [--patch-sizes 2 4] [--rounds 15]

Each round runs every contender once, in a new random order: exact in NCHW and in channels-last
(the faster is the baseline), the torch kernel and the native one, with the same allocator
settings and threads. Inputs change before each iteration as in gfbench's own runs; with ``--still``
they do not, and lie in the caches as the last iteration has left them. Figures are medians over
rounds of ratios within a round, with the quartiles in brackets. The floor is that of
``workloads.spec.costs.floor_s`` with this run's own rates. Not a gfbench run: no fresh processes,
no sensors; for work on kernels.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from workloads.measure import memory, roofline
from workloads.measure.layer import Work, prepare
from workloads.measure.timing import Iteration
from workloads.spec import costs
from workloads.spec.layers import LAYERS
from workloads.spec.messages import Case, Layer

UNCOUNTED, LEAST_S = 2, 0.002  # the last contender's data are out of the caches by then


class Times(NamedTuple):
    """Seconds of each round, by contender."""

    forward: dict[str, list[float]]
    backward: dict[str, list[float]]


def main() -> None:
    """Measure the chosen layers, print a line for each case and the geometric means."""
    options = _options()
    torch.set_num_threads(options.threads)
    memory.keep_freed_memory()
    print(f"torch {torch.__version__}, {options.threads} threads, batch {options.batch}")
    print("load average {:.2f} {:.2f} {:.2f}".format(*os.getloadavg()))
    rates = roofline.measure()
    for bandwidth in rates.bandwidths:
        size, *figures = bandwidth
        print(f"  {size / 2**20:4.0f} MiB: read %.1f write %.1f copy %.1f GB/s" % _giga(figures))
    print(f"  products {rates.flops_per_s / 1e9:.0f} GFLOP/s")
    results: dict[int, list[tuple[float, float, float]]] = {r: [] for r in options.patch_sizes}
    for layer in LAYERS.values():
        if layer.name.startswith(options.layers):
            contenders = _contenders(layer, options)
            times = _measure(contenders, options.rounds, changed=not options.still)
            for r in options.patch_sizes:
                results[r].append(_report(layer, r, options.batch, times, rates))
    for r, rows in results.items():
        speedup, ratio, floor = (_geometric_mean(column) for column in zip(*rows, strict=True))
        print(
            f"geometric means, r = {r}: {speedup:.1f}x over exact, {ratio:.2f}x over torch,"
            f" {floor:.2f} of the floor"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", default="paper-", help="prefix of the layers' names")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch-sizes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--still", action="store_true", help="inputs stay as they are, cached")
    options = parser.parse_args()
    random.seed(options.seed)
    torch.manual_seed(options.seed)
    return options


def _contenders(layer: Layer, options: argparse.Namespace) -> dict[str, Work]:
    exact = Case(layer, "exact", None, "torch", "cpu", "float32", options.batch)
    cases = {"nchw": exact, "channels-last": exact._replace(kernel="torch-channels-last")}
    for r in options.patch_sizes:
        for kernel in ("torch", "native"):
            filtered = exact._replace(method="gradient_filter", patch_size=r, kernel=kernel)
            cases[f"{kernel}-{r}"] = filtered
    return {name: prepare(case, options.seed) for name, case in cases.items()}


def _measure(contenders: dict[str, Work], rounds: int, *, changed: bool) -> Times:
    """Time each contender once a round; the first round warms up."""
    times = Times({name: [] for name in contenders}, {name: [] for name in contenders})
    order = list(contenders)
    for number in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            work = contenders[name]
            forward_s = _time(work.iteration("forward"), changed=changed)
            backward_s = _time(work.iteration("backward"), changed=changed)
            if number:
                times.forward[name].append(forward_s)
                times.backward[name].append(backward_s)
    return times


def _time(iteration: Iteration, *, changed: bool) -> float:
    """Return the median of iterations that take 2 ms together, after two that do not count."""
    taken: list[float] = []
    while sum(taken[UNCOUNTED:]) < LEAST_S:
        if changed:
            iteration.change()
        start = time.perf_counter()
        iteration.run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[UNCOUNTED:])


def _report(
    layer: Layer, r: int, batch: int, times: Times, rates: costs.Rates
) -> tuple[float, float, float]:
    """Print one case; return its speedup, the ratio to the torch kernel and the floor's share."""
    layouts = ("nchw", "channels-last")
    best = min(layouts, key=lambda name: statistics.median(times.backward[name]))
    native, torch_s = times.backward[f"native-{r}"], times.backward[f"torch-{r}"]
    speedups = _ratios(times.backward[best], native)
    against_torch = _ratios(torch_s, native)
    overheads = [
        100 * (ratio - 1) for ratio in _ratios(times.forward[f"native-{r}"], times.forward["nchw"])
    ]
    case = Case(layer, "gradient_filter", r, "native", "cpu", "float32", batch)
    floor = costs.floor_s(case, "backward", rates) / statistics.median(native)
    print(
        f"{layer.name:32} r={r} {1e3 * statistics.median(native):8.3f} ms"
        f"  speedup {_spread(speedups)} over {best}"
        f"  torch {_spread(against_torch)}  forward {_spread(overheads)} %  floor {floor:.2f}",
        flush=True,
    )
    return statistics.median(speedups), statistics.median(against_torch), floor


def _ratios(top: Sequence[float], bottom: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(top, bottom, strict=True)]


def _spread(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _giga(figures: Sequence[float]) -> tuple[float, ...]:
    return tuple(figure / 1e9 for figure in figures)


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


if __name__ == "__main__":
    main()
