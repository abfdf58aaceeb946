"""Gates on this machine, for real: equal kernels that must not FAIL, a slower one that must.

    python benchmarks/gate_for_real.py [--equal 20] [--slower 10] [--margin 3] [--calibrate]

Each line is one `gfbench run --until-decided` of one small layer (gate_suite.yaml) on one core:
on a shared machine the last cache and the second core belong to others as well, and blocks that
need them scatter by a quarter; those of one core and its own caches by 2 %. First kernel
native against itself under a second name, then against slower_kernel.py, which does a tenth more
work. Wanted: no FAIL of equals; of the slower one FAIL, put down to the code, in at least nine of
ten, and never PASS. The exit code says whether that is so. Machine quiet: a quarter of an hour.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.experiments.noise_floor import aa_suite, calibrate_floors
from harness.fleet.run import start_run
from harness.fleet.until_decided import suite_for
from harness.payloads.user_kernels import parse
from harness.plan.suites import Overrides, load_suite
from reports.gate.verdict import Verdict
from reports.gate.words import percent
from reports.results.records import Rule
from targets.inventory import Target, local_target

FOLDER = Path(__file__).parent
SUITE = str(FOLDER / "gate_suite.yaml")
KERNELS = {"again": "native", "slower": str(FOLDER / "slower_kernel.py")}
CALIBRATION_ROUNDS = 12
FOUND = 0.9  # of the gates of the slower kernel


class Done(NamedTuple):
    """One gate: what it was of, what it said, how long it took."""

    new: str
    verdict: Verdict
    duration_s: float


class Quiet:
    """A watch of sessions that shows nothing."""

    def state(self, target: str, state: str) -> None:
        """See nothing."""

    def planned(self, target: str, blocks: int, done: int, estimate_s: float) -> None:
        """See nothing."""

    def block(self, target: str, record: Mapping[str, Any]) -> None:
        """See nothing."""


def main() -> int:
    """Run the gates, print a line for each and what they amount to; returns the exit code."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="gfbench-gates-") as scratch:
        folder = options.output or Path(scratch)
        target = replace(local_target(None), threads=1)
        if options.calibrate:
            _calibrate(target, folder)
        print("new     verdict       cause        change                         rounds  seconds")
        done = []
        for new, count in (("again", options.equal), ("slower", options.slower)):
            for seed in range(count):
                done.append(_gate(target, folder, new, options.margin / 100, seed))
                print(_line(done[-1]), flush=True)
    return _sum_up(done)


def _gate(target: Target, folder: Path, new: str, margin: float, seed: int) -> Done:
    """Measure one gate until it is decided."""
    names, own = parse(["native", f"{new}={KERNELS[new]}"])
    rule = Rule(base="kernel=native", new=f"kernel={new}", margin=margin)
    overrides = Overrides(kernels=names, own_kernels=[one.info for one in own])
    suite = suite_for(rule, load_suite(SUITE, overrides))
    start_s = time.monotonic()
    finished = start_run(
        [target],
        suite,
        inventory=None,
        seed=seed,
        directory=folder,
        argv=sys.argv,
        watch=Quiet(),
        own_kernels=own,
        rule=rule,
    )
    if finished.gate is None:
        raise SystemExit(f"no gate: {finished.outcomes[0].reason}")
    (verdict,) = finished.gate.verdicts
    return Done(new=new, verdict=verdict, duration_s=time.monotonic() - start_s)


def _calibrate(target: Target, folder: Path) -> None:
    suite, own = aa_suite(load_suite(SUITE, Overrides(rounds=CALIBRATION_ROUNDS)), "native")
    _, floors, problems = calibrate_floors(
        [target],
        suite,
        own,
        inventory=None,
        seed=0,
        directory=folder,
        argv=sys.argv,
        watch=Quiet(),
    )
    for problem in problems:
        raise SystemExit(problem)
    floor = floors[0].floor.of("latency", "backward")
    if floor is not None:
        print(f"noise floor of the backward: {percent(floor.margin)} in {floor.rounds} rounds")


def _line(done: Done) -> str:
    verdict = done.verdict
    change = verdict.reason
    if verdict.effect is not None:
        ends = (verdict.effect.ci_low, verdict.effect.ci_high)
        interval = ", ".join(percent((end or math.nan) - 1) for end in ends)
        change = f"{percent(verdict.effect.ratio - 1)} [{interval}]"
    return (
        f"{done.new:<7} {verdict.status:<13} {verdict.cause:<12} {change:<30} "
        f"{verdict.rounds:>6}  {done.duration_s:>7.0f}"
    )


def _sum_up(done: Sequence[Done]) -> int:
    """Print the counts; returns 0 where they are as they should be."""
    equal, slower = ([one.verdict for one in done if one.new == new] for new in KERNELS)
    for what, verdicts in (("equal", equal), ("10 % more work", slower)):
        counts = Counter(verdict.status for verdict in verdicts)
        words = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        print(f"{what}: {words or 'none'}")
    found = sum(one.status == "FAIL" and one.cause == "code" for one in slower)
    good = (
        all(one.status != "FAIL" for one in equal)
        and all(one.status != "PASS" for one in slower)
        and found >= math.floor(FOUND * len(slower))
    )
    print("as it should be" if good else "NOT as it should be")
    return 0 if good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--equal", type=int, default=20, help="gates of native against itself")
    parser.add_argument("--slower", type=int, default=10, help="gates of the slower kernel")
    parser.add_argument("--margin", type=float, default=3.0, help="in percent")
    parser.add_argument("--calibrate", action="store_true", help="measure the noise floor first")
    parser.add_argument("--output", type=Path, help="keep the runs here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
