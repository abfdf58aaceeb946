"""Gates on made-up boards whose true effect is known: how often is the verdict right?

    PYTHONPATH=. python tests/support/gate_simulation.py [experiments]

Every experiment is a run in memory, judged by ``reports.gate.judge.judge`` and extended as
``gfbench run --until-decided`` extends it: looks after 8, 12, 16 and 20 rounds, a verification
batch of 8 before a FAIL. A block's logarithm is the sum of what boards were seen to do:

    process     what a fresh process happens to get, sd 1 %
    iterations  the median of a block's iterations, sd 0.2 % (50 of sd 1.2 %, spikes aside)
    drift       an Ornstein-Uhlenbeck process, sd 2 %, forgetting within ten blocks
    heat        a ramp to 3 %, most of it within the first fifteen blocks
    slot        0.6 % for the later block of a pair

and base and new are in random order in each round.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from reports.gate.judge import judge
from reports.gate.verdict import Verdict
from reports.results.records import (
    BlockRecord,
    PhaseTiming,
    Run,
    RunHeader,
    RunPlan,
    SessionRecord,
    TargetRun,
)
from reports.stats.intervals import Floats, wilcoxon_interval
from reports.stats.sequential import LOOKS, VERIFICATION_ROUNDS
from workloads.spec.messages import Case, Layer

MOST_ROUNDS = LOOKS[-1]
COVERAGE_ROUNDS = (7, 8, 12, 20)
EXPERIMENTS = 2000
MARGIN = 0.02
EFFECTS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1)  # of the table
TIMING_S = 1e-3
BASE = Case(Layer("layer", 16, 16, 14, 14), "gradient_filter", 2, "native", "cpu", "float32", 1)
NEW = BASE._replace(kernel="again")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What moves a block's logarithm besides the code."""

    process: float = 0.01
    iterations: float = 0.002
    drift: float = 0.02
    drift_blocks: float = 10.0
    heat: float = 0.03
    heat_blocks: float = 15.0
    slot: float = 0.006


NOISE = Noise()


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """How the gates of many experiments ended; ``rounds`` are those of the FAILs."""

    statuses: tuple[str, ...]
    rounds: tuple[int, ...]
    verified: int

    def share(self, status: str) -> float:
        return self.statuses.count(status) / len(self.statuses)

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> Outcomes:
        """Return how these gates ended."""
        return cls(
            statuses=tuple(verdict.status for verdict in verdicts),
            rounds=tuple(verdict.rounds for verdict in verdicts if verdict.status == "FAIL"),
            verified=sum(verdict.verification is not None for verdict in verdicts),
        )

    @property
    def median_rounds(self) -> float:
        return float(np.median(self.rounds)) if self.rounds else math.nan


def block_logs(
    random: np.random.Generator, rounds: int, effect: float, noise: Noise = NOISE
) -> tuple[Floats, Floats]:
    """Return the logarithms (rounds, 2) of base and new, and which of them was the earlier one."""
    blocks = 2 * rounds
    remembered = math.exp(-1 / noise.drift_blocks)
    steps = random.normal(0, noise.drift * math.sqrt(1 - remembered**2), blocks)
    steps[0] = random.normal(0, noise.drift)
    drift = np.empty(blocks)
    level = 0.0
    for place, step in enumerate(steps):
        level = drift[place] = remembered * level + step
    time = np.arange(blocks)
    logs = drift + noise.heat * (1 - np.exp(-time / noise.heat_blocks))
    logs += random.normal(0, math.hypot(noise.process, noise.iterations), blocks)
    logs += noise.slot * (time % 2)
    first = random.integers(2, size=rounds)  # 0: base, 1: new
    ordered = logs.reshape(rounds, 2)
    chosen = np.where(first[:, None] == 0, ordered, ordered[:, ::-1])
    return chosen + np.array([0.0, math.log1p(effect)]), first.astype(float)


def log_ratios(random: np.random.Generator, rounds: int, effect: float = 0.0) -> Floats:
    """Return the logarithms of new / base of so many rounds."""
    logs, _ = block_logs(random, rounds, effect)
    difference: Floats = logs[:, 1] - logs[:, 0]
    return difference


def gate_of(random: np.random.Generator, effect: float, margin: float) -> Verdict:
    """Measure and judge one experiment as ``run --until-decided`` would."""
    logs, first = block_logs(random, MOST_ROUNDS + VERIFICATION_ROUNDS, effect)
    records = list(_records(logs, first))
    return decide(partial(run_of, records), metric="latency", margin=margin)


def decide(run: Callable[[int, bool], Run], *, metric: str, margin: float) -> Verdict:
    """Judge ``run(rounds, verification batch or not)`` as often as it takes."""
    rounds, verification = LOOKS[0], False
    while True:
        (verdict,) = judge(
            run(rounds, verification),
            base="kernel=native",
            new="kernel=again",
            metrics=(metric,),
            margin=margin,
            phases=("step",),
        ).verdicts
        if verdict.verify and not verification:
            verification = True
        elif verdict.status == "INCONCLUSIVE" and verdict.more_rounds:
            rounds += verdict.more_rounds
        else:
            return verdict


def run_of(records: list[BlockRecord], rounds: int, verification: bool) -> Run:
    """Return the run that has so many rounds, and the verification batch if there was one."""
    batch = [block for block in records if block.round >= MOST_ROUNDS] if verification else []
    target = TargetRun(
        name="board",
        folder=Path("/"),
        session=SessionRecord(status="ok", cases=(BASE, NEW)),
        probe=None,
        blocks=tuple(block for block in records if block.round < rounds),
        verification=tuple(replace(block, verification=True) for block in batch),
        power=None,
    )
    header = RunHeader(
        schema="gfbench/1", run_id="simulated", plan=RunPlan(cases=(BASE, NEW), phases=("step",))
    )
    return Run(path=Path("/"), header=header, targets=(target,))


def experiments(count: int, *, effect: float, margin: float, seed: int) -> Outcomes:
    """Return how so many gates end at a true effect."""
    random = np.random.default_rng(seed)
    return Outcomes.of([gate_of(random, effect, margin) for _ in range(count)])


def coverage(count: int, rounds: int, *, level: float = 0.95, seed: int) -> float:
    """Return how often the interval of so many rounds holds the true effect (here 3 %)."""
    random = np.random.default_rng([seed, rounds])
    effect = 0.03
    held = 0
    for _ in range(count):
        interval = wilcoxon_interval(log_ratios(random, rounds, effect).tolist(), level)
        assert interval is not None
        held += interval[0] <= math.log1p(effect) <= interval[1]
    return held / count


def _records(logs: Floats, first: Floats) -> Iterator[BlockRecord]:
    for round_, (values, new_first) in enumerate(zip(logs, first, strict=True)):
        for place, case in enumerate((BASE, NEW)):
            slot = int(place != new_first)
            time_s = TIMING_S * math.exp(values[place])
            yield BlockRecord(
                order=2 * round_ + slot,
                round=round_,
                slot=slot,
                kind="timing",
                case=case,
                status="ok",
                window_s=(20.0 * round_ + 10 * slot, 20.0 * round_ + 10 * slot + 9),
                timing={"step": PhaseTiming(times_s=(time_s,), window_s=(0.0, 1.0))},
            )


def main() -> None:
    """Print the table of verdicts by true effect, and that of coverages."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else EXPERIMENTS
    begin_s = time.perf_counter()
    print(f"{count} experiments a row, margin {MARGIN:.0%}, seeds 1 to {len(EFFECTS)}\n")
    print("| true effect | PASS | FAIL | INCONCLUSIVE | median rounds of a FAIL |")
    print("|---|---|---|---|---|")
    for seed, effect in enumerate(EFFECTS, start=1):
        found = experiments(count, effect=effect, margin=MARGIN, seed=seed)
        shares = (f"{found.share(one):.2%}" for one in ("PASS", "FAIL", "INCONCLUSIVE"))
        rounds = f"{found.median_rounds:.0f}" if found.rounds else "-"
        print(f"| {effect:+.0%} | {' | '.join(shares)} | {rounds} |")
    print("\n| rounds | the 95 % interval covers | the 97.5 % interval covers |")
    print("|---|---|---|")
    for rounds_ in COVERAGE_ROUNDS:
        held = (f"{coverage(2 * count, rounds_, level=x, seed=1):.1%}" for x in (0.95, 0.975))
        print(f"| {rounds_} | {' | '.join(held)} |")
    print(f"\n{time.perf_counter() - begin_s:.0f} s")


if __name__ == "__main__":
    main()
