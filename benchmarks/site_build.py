"""How long a dashboard of many runs takes to build, and again after one more run.

    python benchmarks/site_build.py [--runs 10000] [--keep DIR]

The runs are synthetic (tests/support/synthetic_site.py): eight targets in turn, three workloads,
four methods. They lie in one folder as runs do, each with run.json and manifest but without
samples; their summaries are in the cache, as after a first look at each. So what is timed is
``gfbench publish`` as a process of its own, from an empty site, summaries at hand: reading them,
judging every history, writing every page. Not timed: computing the summary of a run from its
samples, which happens once per run (the last line measures it on this machine's own example), and
whole reports (``--reports 0``).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from make_run import make_run  # noqa: E402
from synthetic_site import Plot, write_runs  # noqa: E402

from reports.metrics.summary import summary_of  # noqa: E402
from reports.results.read import load_run  # noqa: E402


def publish(folder: Path) -> tuple[float, str]:
    """Run ``gfbench publish`` and return the seconds and what it said."""
    command = "from harness.cli import main; main()"
    options = ["--site", str(folder / "site"), "--cache", str(folder / "cache"), "--reports", "0"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", command, "publish", str(folder / "results"), *options],
        cwd=ROOT, text=True, capture_output=True, check=True,
    )  # fmt: skip
    return time.perf_counter() - began, done.stderr.strip()


def peak_bytes() -> int:
    """Return the largest memory that any child has had (Linux: in kilobytes)."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="a folder to leave runs and site in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        plot = Plot(runs=options.runs + 1)
        write_runs(plot, folder / "results", folder / "cache", range(options.runs))
        first_s, said = publish(folder)
        print(f"first build: {first_s:.1f} s ({said})", flush=True)
        write_runs(plot, folder / "results", folder / "cache", [options.runs])
        again_s, said = publish(folder)
        print(f"one more run: {again_s:.1f} s ({said})")
        nothing_s, said = publish(folder)
        print(f"nothing new: {nothing_s:.1f} s ({said})")
        print(f"peak memory: {peak_bytes() / 2**20:.0f} MiB")
        size = sum(path.stat().st_size for path in (folder / "site").rglob("*") if path.is_file())
        print(f"site: {size / 2**20:.0f} MiB")
        run = make_run(Path(scratch) / "example", rounds=8)
        began = time.perf_counter()
        summary_of(load_run(run))
        print(f"summary of one run of 9 cases and 8 rounds: {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
