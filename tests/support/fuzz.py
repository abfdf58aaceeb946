"""Fuzz kernel native for memory safety, numbers and races, in every build; ``make fuzz``.

    PYTHONPATH=<repository> python tests/support/fuzz.py --seconds 1200
    PYTHONPATH=<repository> python tests/support/fuzz.py --builds asan --seed 5 --only 17

The time is shared out over the builds, two of which run at a time. Prints seeds, how many
configurations went which way in which build, and the findings, each with the command that replays
it. Exits with 1 at a finding. A build that cannot run here is named with the reason.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from fuzz_builds import BUILDS, ROOT, SUPPORT, command_line, environment, refusal

KINDS = ("large", "networks", "images", "short")  # of configurations, besides those drawn
OBJECTS = ROOT / "build" / "fuzz"
AT_A_TIME = 2
PATIENCE_S = 400.0  # for one configuration, or a few; compiling included


class Share(NamedTuple):
    """A build with what it goes through and the part of the time that it gets."""

    build: str
    options: tuple[str, ...]
    part: float


SHARES = (
    Share("asan", (), 3),
    Share("asan", ("--networks",), 2),
    Share("asan", ("--large",), 1),
    Share("release", ("--networks",), 2),
    Share("release", ("--large",), 1),
    Share("avx512", (), 2),
    Share("avx2", (), 2),
    Share("sse", (), 2),
    Share("tsan", (), 2),
    Share("clang", (), 1),
    Share("msan", (), 1),
    Share("neon", (), 2),
)


class Outcome(NamedTuple):
    """What a run of the driver came to."""

    counts: dict[str, int]
    finding: str  # empty if there is none
    report: str  # what the process said of it


def run(build: str, options: tuple[str, ...], folder: Path = OBJECTS) -> Outcome:
    """Run the driver in one build and return what it came to.

    Args:
        build: its name.
        options: of the driver.
        folder: for compiled objects, kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        under_way = Path(scratch, "under-way")
        driver = SUPPORT / f"native_{'replay' if BUILDS[build].replayed_by else 'fuzz'}.py"
        command = [
            *command_line(BUILDS[build]),
            *[sys.executable, str(driver), "--build", build, "--under-way", str(under_way)],
            *options,
        ]
        ran = _ended(command, environment(BUILDS[build], folder), _limit(options))
        place = under_way.read_text() if under_way.exists() else "before the first one"
    record = _record(ran.stdout)
    if ran.returncode == 0 and record is not None:
        return Outcome(record["counts"], "", "")
    counts = record["counts"] if record else {}
    why = record["finding"] if record else _death(ran.returncode)
    again = [f"--builds {build}", *_kept(options), place.partition("\n")[0]]
    words = f"{build}: {why}\n{place.strip()}\nagain: {' '.join(again)}"
    return Outcome(counts, words, ran.stderr[-6000:])


def _ended(
    command: list[str], variables: dict[str, str], limit: float
) -> subprocess.CompletedProcess[str]:
    """Return what a program came to; threads that never meet again are ended."""
    try:
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        words = f"did not end within {limit:.0f} s"
        return subprocess.CompletedProcess(command, -signal.SIGKILL, "", words)


def main() -> int:
    """Share the time out over the builds and print what they came to."""
    options = _options()
    started = time.monotonic()
    work: list[tuple[str, Share]] = []
    for share in _shares(options):
        why_not = refusal(share.build)
        if why_not:
            print(f"{share.build}: not run, {why_not}", flush=True)
        else:
            work.append((" ".join([share.build, *share.options]), share))
    whole = sum(share.part for _, share in work)
    print(f"seed {options.seed}", flush=True)
    findings = 0
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        at_a_time = min(AT_A_TIME, len(work))
        seconds = [at_a_time * options.seconds * share.part / whole for _, share in work]
        runs = [
            pool.submit(run, share.build, (*share.options, *_passed_on(options, each)))
            for (_, share), each in zip(work, seconds, strict=True)
        ]
        for (words, _), running in zip(work, runs, strict=True):
            findings += _told(words, running.result())
    print(f"{findings} findings in {time.monotonic() - started:.0f} s", flush=True)
    return 1 if findings else 0


def _told(words: str, outcome: Outcome) -> int:
    total = sum(outcome.counts.values())
    print(f"{words}: {total} configurations", flush=True)
    for path, count in sorted(outcome.counts.items()):
        print(f"  {count:6} {path}", flush=True)
    if outcome.finding:
        print(f"FINDING in {outcome.finding}\n{outcome.report}", flush=True)
    return 1 if outcome.finding else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--builds", nargs="+", choices=BUILDS, default=[])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--configurations", type=int)
    parser.add_argument("--only", type=int)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--networks", action="store_true")
    parser.add_argument("--images", action="store_true", help="two networks once, whole")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--fault")
    return parser.parse_args()


def _shares(options: argparse.Namespace) -> list[Share]:
    """Return all shares, or just what is asked for."""
    own = tuple(f"--{name}" for name in KINDS if getattr(options, name))
    if not options.builds and not own and options.only is None:
        return list(SHARES)
    builds = options.builds or list(BUILDS)
    return [Share(build, own, 1) for build in builds]


def _passed_on(options: argparse.Namespace, seconds: float) -> tuple[str, ...]:
    passed = ["--seed", str(options.seed)]
    for name in ("only", "configurations", "fault"):
        if getattr(options, name) is not None:
            passed += [f"--{name}", str(getattr(options, name))]
    if options.only is None and options.configurations is None:
        passed += ["--seconds", str(seconds)]
    return tuple(passed)


def _kept(options: tuple[str, ...]) -> list[str]:
    """Return the options that a replay needs as well."""
    kept = [each for each in options if each in [f"--{name}" for name in KINDS]]
    if "--fault" in options:
        kept += ["--fault", shlex.quote(options[options.index("--fault") + 1])]
    return kept


def _limit(options: tuple[str, ...]) -> float:
    if "--seconds" not in options:
        return PATIENCE_S
    return float(options[options.index("--seconds") + 1]) + PATIENCE_S


def _record(output: str) -> dict[str, Any] | None:
    lines = output.strip().splitlines()
    try:
        record: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        return None
    return record


def _death(code: int) -> str:
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"ended with {code}"


if __name__ == "__main__":
    sys.exit(main())
