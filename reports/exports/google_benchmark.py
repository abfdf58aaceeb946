"""Google Benchmark's JSON: each block is a repetition.

Its readers require ``cpu_time``, which is not measured here: it repeats ``real_time``, and the
context says so.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from reports.exports.source import ExportSource, Windows

NANO = 1e9
AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
    "stddev": statistics.stdev,
}


def to_google_benchmark(source: ExportSource) -> str:
    """Return the JSON of ``--benchmark_format=json``, repetitions first, then aggregates.

    Raises:
        ExportError: there is no latency.
    """
    benchmarks: list[dict[str, Any]] = []
    for index, windows in enumerate(source.windows()):
        benchmarks += _repetitions(windows, index)
        benchmarks += _aggregates(windows, index)
    document = {"context": _context(source), "benchmarks": benchmarks}
    return json.dumps(document, allow_nan=False, indent=1) + "\n"


def _context(source: ExportSource) -> dict[str, Any]:
    run = source.run
    context: dict[str, Any] = {
        "date": run.header.started_at,
        "host_name": ", ".join(target.name for target in run.targets),
        "executable": f"gfbench {run.header.tool.version}".strip(),
        "json_schema_version": 1,
        "library_build_type": "release",
        "caches": [],
        "gfbench_run_id": run.run_id,
        "gfbench_note": "cpu_time repeats real_time: the time of the CPU is not measured",
    }
    probes = [target.probe for target in run.targets if target.probe]
    if len(run.targets) == len(probes) == 1 and probes[0].cpu is not None:
        cpu = probes[0].cpu
        facts = {"num_cpus": cpu.logical, "mhz_per_cpu": cpu.max_mhz}
        context.update((name, fact) for name, fact in facts.items() if fact is not None)
    return context


def _shared(windows: Windows, index: int) -> dict[str, Any]:
    return {
        "family_index": index,
        "per_family_instance_index": 0,
        "run_name": windows.name,
        "repetitions": len(windows.blocks),
        "threads": 1,
        "time_unit": "ns",
    }


def _repetitions(windows: Windows, index: int) -> list[dict[str, Any]]:
    repetitions = []
    for repetition, (_, timing) in enumerate(windows.blocks):
        real_time_ns = NANO * windows.values_s[repetition]
        repetitions.append(
            {
                "name": windows.name,
                **_shared(windows, index),
                "run_type": "iteration",
                "repetition_index": repetition,
                "iterations": len(timing.times_s) * timing.loops,
                "real_time": real_time_ns,
                "cpu_time": real_time_ns,
            }
        )
    return repetitions


def _aggregates(windows: Windows, index: int) -> list[dict[str, Any]]:
    if len(windows.blocks) < 2:
        return []
    aggregates = []
    for name, compute in AGGREGATES.items():
        real_time_ns = NANO * compute(windows.values_s)
        aggregates.append(
            {
                "name": f"{windows.name}_{name}",
                **_shared(windows, index),
                "run_type": "aggregate",
                "aggregate_name": name,
                "aggregate_unit": "time",
                "iterations": len(windows.blocks),
                "real_time": real_time_ns,
                "cpu_time": real_time_ns,
            }
        )
    return aggregates
