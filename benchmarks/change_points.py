"""What the change-point detection finds, and what it raises for nothing.

Prints the table of docs/dashboard.md:

    python benchmarks/change_points.py [--series 2000] [--seed 1]

Noise of standard deviation 1: normal; heavy-tailed (Student t, 4 degrees of freedom); spiky (3 %
of the runs get an exponential extra of 5 times the noise); drifting (first-order autocorrelation
0.3). Power: a step of 3 starts after so many quiet runs, and an alarm is up by the second run
after the first. Alarms: raised anew per 1,000 quiet runs, over series of 1,000.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from reports.stats.change_points import Floats, analyse, tail_alarms

HISTORIES = (10, 20, 30, 50, 100, 300)
STEP = 3.0
QUIET_RUNS = 1000


def normal(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return independent normal noise."""
    return random.standard_normal(shape)


def heavy(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return Student's t noise, scaled to standard deviation 1."""
    return random.standard_t(4, shape) / np.sqrt(2.0)


def spiky(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return normal noise with rare one-sided spikes, as interference makes them."""
    noise = random.standard_normal(shape)
    noise += (random.random(shape) < 0.03) * random.exponential(5.0, shape)
    return noise / np.sqrt(1.0 + 0.03 * 50.0 - (0.03 * 5.0) ** 2)


def drifting(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return noise that remembers 30 % of the run before."""
    noise = random.standard_normal(shape)
    for run in range(1, shape[1]):
        noise[:, run] = 0.3 * noise[:, run - 1] + np.sqrt(1 - 0.3**2) * noise[:, run]
    return noise


NOISES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "normal": normal,
    "heavy-tailed": heavy,
    "spiky": spiky,
    "drifting": drifting,
}


def found(noise: str, before: int, series: int, seed: int) -> float:
    """Return the share of steps that raise an alarm within two runs."""
    points = NOISES[noise](np.random.default_rng(seed), (series, before + 3))
    points[:, before:] += STEP
    alarms = [tail_alarms(points[:, :end], magnitude=0.0) > 0 for end in (before + 2, before + 3)]
    return float(np.mean(np.logical_or(*alarms)))


def raised(noise: str, series: int, seed: int) -> float:
    """Return the alarms that come up per 1,000 quiet runs."""
    points = NOISES[noise](np.random.default_rng(seed), (series, QUIET_RUNS))
    ends = range(12, QUIET_RUNS + 1)
    up = np.stack([tail_alarms(points[:, :end], magnitude=0.0) > 0 for end in ends], axis=1)
    anew = np.count_nonzero(up[:, 0]) + np.count_nonzero(up[:, 1:] & ~up[:, :-1])
    return 1000.0 * anew / up.size


def settled(noise: str, series: int, seed: int) -> tuple[float, float]:
    """Return the share of steps settled within two runs of their place, and the false per 1,000."""
    points = NOISES[noise](np.random.default_rng(seed), (series, 100))
    false = sum(step.settled for row in points for step in analyse(row, magnitude=0.0).shifts)
    points[:, 60:] += STEP
    close = 0
    for row in points:
        places = [step.at for step in analyse(row, magnitude=0.0).shifts if step.settled]
        close += any(abs(at - 60) <= 2 for at in places)
    return close / series, 1000.0 * false / points.size


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    head = [f"after {before}" for before in HISTORIES]
    print(
        "| noise |", " | ".join(head), "| alarms per 1,000 | settled in place | false per 1,000 |"
    )
    print("|" + "---|" * (len(head) + 4))
    for noise in NOISES:
        power = [found(noise, before, options.series, options.seed) for before in HISTORIES]
        alarms = raised(noise, max(50, options.series // 10), options.seed)
        place, false = settled(noise, max(100, options.series // 5), options.seed)
        cells = [f"{100 * share:.1f} %" for share in power]
        print(
            f"| {noise} |",
            " | ".join(cells),
            f"| {alarms:.2f} | {100 * place:.1f} % | {false:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
