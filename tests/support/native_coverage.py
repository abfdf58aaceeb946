"""Tell which lines of kernel native's C the fuzz reaches, in the builds of all vectors together.

    PYTHONPATH=<repository> python tests/support/native_coverage.py --seconds 60

Prints the lines that no build reaches, and the share of those that one does. gcov counts; lines
of a header count once, whoever includes it. Exits with 1 below ``LEAST_PERCENT``.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz import run
from fuzz_builds import NATIVE, refusal

VECTORS = ("avx512", "avx2", "sse")
LEAST_PERCENT = 95.0
Counts = dict[str, dict[int, int]]  # of a file's lines


def counted(build: str, options: tuple[str, ...]) -> Counts:
    """Return how often a run of the driver reaches each line.

    Raises:
        RuntimeError: the run has a finding.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "counts")
        folder.mkdir()
        outcome = run(build, (*options, "--coverage", str(folder)), Path(scratch, "objects"))
        if outcome.finding:
            raise RuntimeError(f"{outcome.finding}\n{outcome.report}")
        counts: Counts = collections.defaultdict(lambda: collections.defaultdict(int))
        for path in folder.glob("*.gcda"):
            command = ["gcov", "--json-format", "--stdout", str(path)]
            asked = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
            for file in json.loads(asked.stdout)["files"]:
                lines = counts[Path(file["file"]).name]
                for line in file["lines"]:
                    lines[line["line_number"]] += line["count"]
    return counts


def main() -> int:
    """Run the driver in every build, print what is not reached and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each build")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    counts: Counts = collections.defaultdict(lambda: collections.defaultdict(int))
    for build in VECTORS:
        if refusal(build):
            print(f"{build}: not run, {refusal(build)}")
            continue
        found = counted(build, ("--seconds", str(options.seconds), "--seed", str(options.seed)))
        for name, lines in found.items():
            for line, count in lines.items():
                counts[name][line] += count
    return _told(counts)


def _told(counts: Counts) -> int:
    reached = total = 0
    for name in sorted(name for name in counts if (NATIVE / name).exists()):
        lines = counts[name]
        text = (NATIVE / name).read_text().splitlines()
        total += len(lines)
        reached += sum(count > 0 for count in lines.values())
        for line in sorted(line for line, count in lines.items() if count == 0):
            print(f"{name}:{line}: {text[line - 1].strip()}")
    percent = 100.0 * reached / total if total else 0.0
    print(f"{reached} of {total} lines, {percent:.1f} %")
    return 0 if percent >= LEAST_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
