"""Gates on energy, on boards in virtual time: the true joules are known, sensors look as they do.

    PYTHONPATH=tests/support:. python tests/support/energy_gate_simulation.py [experiments]

An experiment is a whole run of ``gfbench run --until-decided --metric energy``: blocks of 10 s of
iterations, one after the other, whose lengths have the noise of ``gate_simulation``; one power
curve for all; the readings of one sensor over all of it, written and read as a run's own trace;
energies, uncertainties, margins and looks by the code that judges real runs.
"""

from __future__ import annotations

import gzip
import io
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from gate_simulation import BASE, NEW, Outcomes, block_logs, decide, run_of
from power_curves import CURVES, LEAD_S, FloatArray, Load, Sensor, look, make_curve, window_for

from reports.gate.verdict import Verdict
from reports.results.power import Trace
from reports.results.read import POWER_TRACE
from reports.results.records import BlockRecord, PhaseTiming, Run
from reports.stats.intervals import Floats
from reports.stats.sequential import LOOKS, VERIFICATION_ROUNDS

SENSORS = {
    "averaging sensor, 10 Hz": Sensor(kind="average", rate_hz=10.0),
    "sensor of instants, 50 Hz": Sensor(kind="held", rate_hz=50.0, period_error=0.003),
    "energy counter, 10 Hz": Sensor(kind="counter", rate_hz=10.0),
}
MARGIN = 0.03
ITERATION_S = (0.02, 0.15)  # of the base; uniform in the logarithm
JITTER = 0.012  # of an iteration
GAP_S = 3.0  # between blocks: a process ends, the next one starts


def energy_gate(
    random: np.random.Generator, sensor: Sensor, effect: float, margin: float, folder: Path
) -> Verdict:
    """Measure and judge one experiment; ``effect`` is on the joules of an iteration."""
    rounds = LOOKS[-1] + VERIFICATION_ROUNDS
    logs, first = block_logs(random, rounds, effect)
    iteration_s = float(np.exp(random.uniform(*np.log(ITERATION_S))))
    records, load = _blocks(random, sensor, iteration_s * np.exp(logs), first)
    trace, rails = look(load, sensor, random)
    _write(trace, folder / POWER_TRACE)
    idle = ((1.0, LEAD_S - 2.0),)

    def run(rounds: int, verification: bool) -> Run:
        whole = run_of(records, rounds, verification)
        (target,) = whole.targets
        return replace(whole, targets=(replace(target, folder=folder, power=rails, idle=idle),))

    return decide(run, metric="energy", margin=margin)


def experiments(
    count: int, *, sensor: Sensor, effect: float, margin: float = MARGIN, seed: int
) -> Outcomes:
    """Return how so many gates end at a true effect."""
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory(prefix="gfbench-energy-gates-") as folder:
        return Outcomes.of(
            [energy_gate(random, sensor, effect, margin, Path(folder)) for _ in range(count)]
        )


def _blocks(
    random: np.random.Generator, sensor: Sensor, iterations_s: Floats, first: Floats
) -> tuple[list[BlockRecord], Load]:
    """Return the blocks of all rounds in order, and the load that they are."""
    records: list[BlockRecord] = []
    starts: list[FloatArray] = []
    ends: list[FloatArray] = []
    begin_s, window_s = LEAD_S, window_for(sensor)
    pauses = sensor.kind in ("on read", "held")  # as real runs have for what shows instants
    for round_, new_first in enumerate(first):
        for slot in (0, 1):
            place = int(slot != new_first)  # 1: the new case
            length_s = float(iterations_s[round_, place])
            count = int(np.ceil(window_s / length_s)) + 1
            durations_s = length_s * np.clip(random.normal(1, JITTER, count), 0.5, 1.5)
            pauses_s = random.uniform(0, length_s, count) if pauses else np.zeros(count)
            starts_s = begin_s + np.concatenate([[0.0], np.cumsum(durations_s + pauses_s)[:-1]])
            starts.append(starts_s)
            ends.append(starts_s + durations_s)
            window = (begin_s, float(ends[-1][-1]))
            timing = PhaseTiming(
                times_s=tuple(durations_s.tolist()),
                window_s=window,
                starts_s=tuple(starts_s.tolist()) if pauses else (),
            )
            records.append(
                BlockRecord(
                    order=2 * round_ + slot,
                    round=round_,
                    slot=slot,
                    kind="timing",
                    case=(BASE, NEW)[place],
                    status="ok",
                    window_s=window,
                    timing={"step": timing},
                )
            )
            begin_s = window[1] + GAP_S
    curve = make_curve(str(random.choice(CURVES)), random)
    return records, Load(curve=curve, starts_s=np.concatenate(starts), ends_s=np.concatenate(ends))


def _write(trace: Trace, path: Path) -> None:
    text = io.StringIO()
    text.write("t_s,sensor,raw\n")
    for channel, (times_s, values) in trace.items():
        for t_s, value in zip(times_s, values, strict=True):
            text.write(f"{t_s:.6f},{channel},{value:.9g}\n")
    path.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=1))


def main() -> None:
    """Print the table of verdicts by sensor and true effect."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    begin_s = time.perf_counter()
    print(f"{count} experiments a row, margin {MARGIN:.0%}\n")
    print("| sensor | true effect | PASS | FAIL | INCONCLUSIVE | INVALID | rounds of a FAIL |")
    print("|---|---|---|---|---|---|---|")
    for name, sensor in SENSORS.items():
        for seed, effect in enumerate((0.0, 0.1)):
            found = experiments(count, sensor=sensor, effect=effect, seed=seed)
            statuses = ("PASS", "FAIL", "INCONCLUSIVE", "INVALID")
            shares = " | ".join(f"{found.share(one):.1%}" for one in statuses)
            rounds = f"{found.median_rounds:.0f}" if found.rounds else "-"
            print(f"| {name} | {effect:+.0%} | {shares} | {rounds} |", flush=True)
    print(f"\n{time.perf_counter() - begin_s:.0f} s")


if __name__ == "__main__":
    main()
