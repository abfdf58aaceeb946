"""pytest-benchmark's JSON: latencies; each block is a round.

Benchmarks are grouped by target, workload and phase, so that ``pytest-benchmark compare`` shows
methods and kernels side by side.
"""

from __future__ import annotations

import json
import statistics
from typing import Any

import numpy as np

from reports.exports.source import ExportSource, Windows
from reports.results.records import Run, TargetRun
from workloads.spec.messages import to_json


def to_pytest_benchmark(source: ExportSource) -> str:
    """Return the JSON that ``pytest --benchmark-json`` would write.

    Raises:
        ExportError: there is no latency.
    """
    header = source.run.header
    document = {
        "machine_info": _machines(source.run),
        "commit_info": _commit(source.run),
        "benchmarks": [_benchmark(windows) for windows in source.windows()],
        "datetime": header.started_at,
        "version": "5.1.0",  # of pytest-benchmark, whose fields these are
    }
    return json.dumps(document, allow_nan=False, indent=1) + "\n"


def _benchmark(windows: Windows) -> dict[str, Any]:
    row, case = windows.row, windows.case
    return {
        "group": windows.group,
        "name": windows.name,
        "fullname": windows.name,
        "params": {"case": case.key, "phase": row.phase},
        "param": f"{case.key}/{row.phase}",
        "extra_info": {
            "target": row.target,
            "platform": row.platform,
            "case": to_json(case),
            "status": row.status,
            "reason": row.reason,
        },
        "options": {
            "disable_gc": False,
            "timer": "perf_counter",
            "min_rounds": len(windows.blocks),
            "max_time": 0.0,
            "min_time": 0.0,
            "warmup": True,
        },
        "stats": _stats(windows),
    }


def _stats(windows: Windows) -> dict[str, Any]:
    """Return pytest-benchmark's statistics of the blocks' medians, in seconds.

    The standard deviation of a single round is 0, as in pytest-benchmark.
    """
    values = sorted(windows.values_s)
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    q1, median, q3 = (float(np.percentile(values, q)) for q in (25, 50, 75))
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    beyond_iqr = sum(not low <= value <= high for value in values)
    beyond_stddev = sum(abs(value - mean) > spread for value in values)
    return {
        "min": values[0],
        "max": values[-1],
        "mean": mean,
        "stddev": spread,
        "rounds": len(values),
        "median": median,
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond_iqr,
        "stddev_outliers": beyond_stddev,
        "outliers": f"{beyond_stddev};{beyond_iqr}",
        "ld15iqr": min((v for v in values if v >= low), default=values[0]),
        "hd15iqr": max((v for v in values if v <= high), default=values[-1]),
        "ops": 1 / mean,
        "total": sum(values),
        "data": list(windows.values_s),
        "iterations": min(len(t.times_s) * t.loops for _, t in windows.blocks),
    }


def _machines(run: Run) -> dict[str, Any]:
    """Return pytest-benchmark's facts of the machine; of several, by the target's name."""
    machines = {target.name: _machine(target) for target in run.targets}
    if len(machines) == 1:
        return next(iter(machines.values()))
    return {"node": ", ".join(machines), "targets": machines}


def _machine(target: TargetRun) -> dict[str, Any]:
    probe = target.probe
    if probe is None:
        return {"node": target.name}
    cpu = probe.cpu
    facts = {
        "node": target.name,
        "processor": cpu.model if cpu else "",
        "machine": probe.machine,
        "python_version": probe.python,
        "release": probe.kernel,
        "system": probe.os,
        "model": probe.model,
        "torch_version": probe.torch.version if probe.torch else "",
    }
    known: dict[str, Any] = {name: fact for name, fact in facts.items() if fact}
    if cpu is not None:
        known["cpu"] = {"brand_raw": cpu.model, "count": cpu.logical, "arch": probe.machine}
    return known


def _commit(run: Run) -> dict[str, Any]:
    git = run.header.tool.git
    if git is None:
        return {"id": "unversioned", "project": "gfbench", "dirty": False, "error": "no repository"}
    return {"id": git.revision, "project": "gfbench", "dirty": git.dirty}
