"""How long a query over a store of many runs takes, first and again, and after compaction.

python benchmarks/store_query.py [--runs 10000] [--s3]

Makes a store of synthetic runs (their summaries; the raw folders are not asked by a query), then
times a group-by through ``store_cache.load`` and ``query`` in fresh processes, as the command
line would, on a disk or on moto's S3 server on loopback.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from make_run import FakeTarget, make_run  # noqa: E402

from reports.results.read import load_run  # noqa: E402
from reports.store import store  # noqa: E402
from reports.store.files import StoreFiles  # noqa: E402
from reports.store.tables import Summaries, of_table, summaries_of, to_parquet  # noqa: E402

SQL = """
SELECT target, method, patch_size, count(*) AS n, median(value) AS speedup, max(started_at) AS last
FROM rows WHERE metric = 'speedup' AND phase = 'step' AND status = 'ok'
GROUP BY ALL ORDER BY ALL
"""
COMMAND = "from harness.cli import main; main()"
TARGETS = ("nano-1", "nano-2", "orin", "pi5", "pi4", "xavier", "tx2", "x86")


def main() -> None:
    """Build the store, then print a line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--s3", action="store_true", help="on moto's server instead of a disk")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"file://{folder}/store"
        if options.s3:
            from s3_server import BUCKET, running_s3

            logging.getLogger("werkzeug").setLevel(logging.ERROR)
            os.environ.update(stack.enter_context(running_s3()))
            url = f"s3://{BUCKET}/gfbench"
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        rows = fill(url, options.runs, folder)
        print(f"{options.runs} runs, {rows} rows, {url.partition(':')[0]}")
        measure("first query, not compacted", url)
        measure("again, from the cache", url)
        fill(url, 1, folder, first=options.runs)
        measure("after one more run", url)
        began = time.perf_counter()
        store.compact(url)
        print(f"{time.perf_counter() - began:6.2f} s  compaction")
        measure("first query after compaction", url)
        for _ in range(3):
            measure("again", url)


def fill(url: str, count: int, folder: Path, *, first: int = 0) -> int:
    """Push the summaries of synthetic runs; return their number of rows."""
    files, rows = StoreFiles(url), 0
    patterns = {name: pattern(name, folder) for name in TARGETS}
    for number in range(first, first + count):
        name = TARGETS[number % len(TARGETS)]
        part = renamed(patterns[name], number)
        run = part.runs[0]
        files.write(f"{store.SUMMARY}/{run.run_id}.{run.digest}.parquet", to_parquet(part))
        rows += run.rows
    return rows


def pattern(target: str, folder: Path) -> Summaries:
    """Return the figures of one run of three layers on a target."""
    place = folder / "patterns" / target
    if not place.exists():
        make_run(place, targets=[FakeTarget(name=target)], seed=len(target), run_id="r")
    return summaries_of(load_run(place / "r"), digest="0" * 32)


def renamed(part: Summaries, number: int) -> Summaries:
    """Return the figures as those of another run, at another time."""
    import pyarrow as pa

    hour = f"{2000 + number // 8760:04d}-01-01T00:00:00Z"
    run = replace(
        part.runs[0], run_id=f"run-{number:06d}", digest=f"{number:032x}", started_at=hour
    )
    rows = part.rows
    for name in ("run_id", "digest", "started_at"):
        values = pa.array([getattr(run, name)] * len(rows)).dictionary_encode()
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
    return of_table((run,), rows)


def measure(what: str, url: str) -> None:
    """Time one query in a process of its own."""
    began, cpu = time.perf_counter(), os.times()
    command = [sys.executable, "-c", COMMAND, "query", SQL, "--store", url, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    whole, after = time.perf_counter() - began, os.times()
    cpu_s = after.children_user + after.children_system - cpu.children_user - cpu.children_system
    groups = done.stdout.count('"target"')
    print(f"{whole:6.2f} s ({cpu_s:.2f} s of processor)  {what}, {groups} groups", flush=True)


if __name__ == "__main__":
    main()
