"""pyperf's JSON (format 1.0): one benchmark per case and phase, one run per block.

A run has one value, its block's median: iterations of one process are not independent, and
pyperf's own test takes every value for a sample. Warm-ups are the raw ones. pyperf knows seconds
and bytes, so memory is there too, energy is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reports.exports.source import Source, Windows, moment
from reports.results.records import BlockRecord, PhaseTiming, TargetRun

Metadata = dict[str, str | int | float]


def to_pyperf(source: Source) -> str:
    """Return a benchmark suite that pyperf loads.

    Raises:
        ExportProblem: there is no latency.
    """
    benchmarks = [_latency(windows) for windows in source.windows()]
    benchmarks += list(_memory(source))
    run = source.run
    common = {"gfbench_version": run.header.tool.version, "gfbench_run_id": run.run_id}
    document = {"version": "1.0", "metadata": _told(common), "benchmarks": benchmarks}
    return json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n"


def _latency(windows: Windows) -> dict[str, Any]:
    return {
        "metadata": {
            "name": _one_line(windows.name),
            "unit": "second",
            **_machine(windows.target),
            **_told({"gfbench_case": windows.case.key, "gfbench_phase": windows.row.phase}),
        },
        "runs": [_run(block, timing) for block, timing in windows.blocks],
    }


def _run(block: BlockRecord, timing: PhaseTiming) -> dict[str, Any]:
    run: dict[str, Any] = {"values": [timing.median_s]}
    if timing.warmup_s:
        run["warmups"] = [[timing.loops, value_s] for value_s in timing.warmup_s]
    run["metadata"] = _block_metadata(block, timing)
    return run


def _block_metadata(block: BlockRecord, timing: PhaseTiming) -> Metadata:
    metadata = _told(
        {
            "loops": timing.loops,
            "date": _date(block.started_at),
            "gfbench_round": block.round,
            "gfbench_slot": block.slot,
            "gfbench_iterations": len(timing.times_s) * timing.loops,
            "gfbench_pid": block.pid,
            "gfbench_threads": block.threads,
        }
    )
    if timing.window_s is not None:
        metadata["duration"] = timing.window_s[1] - timing.window_s[0]
    before = block.state_before
    if before is not None and before.load_1m is not None and before.load_1m >= 0:
        metadata["load_avg_1min"] = before.load_1m
    return metadata


def _memory(source: Source) -> Iterator[dict[str, Any]]:
    """Yield the peak memory of the process of every case, in bytes."""
    for case in source.cases():
        blocks = [
            (block, block.memory.peak_rss_bytes)
            for block in case.target.blocks_of(case.case, "memory")
            if block.status == "ok" and block.memory and block.memory.peak_rss_bytes
        ]
        if not blocks:
            continue
        metadata = {"name": _one_line(f"{case.name}/peak_rss"), "unit": "byte"}
        runs = [
            {"values": [peak], "metadata": _told({"date": _date(block.started_at)})}
            for block, peak in blocks
        ]
        yield {"metadata": {**metadata, **_machine(case.target)}, "runs": runs}


def _machine(target: TargetRun) -> Metadata:
    probe = target.probe
    if probe is None:
        return _told({"hostname": target.name})
    cpu = probe.cpu
    return _told(
        {
            "hostname": target.name,
            "platform": f"{probe.os} {probe.kernel} {probe.machine}",
            "python_version": probe.python,
            "cpu_model_name": cpu.model if cpu else "",
            "cpu_count": cpu.logical if cpu else None,
            "gfbench_model": probe.model,
            "gfbench_torch_version": probe.torch.version if probe.torch else "",
        }
    )


def _told(facts: Mapping[str, str | int | None]) -> Metadata:
    """Return what is known, as pyperf takes it: no empty text, no line breaks."""
    lines = {key: _one_line(v) if isinstance(v, str) else v for key, v in facts.items()}
    return {key: value for key, value in lines.items() if value is not None and value != ""}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _date(started_at: str) -> str:
    """Return pyperf's form of a time in UTC; empty where it is none."""
    started = moment(started_at)
    return f"{started:%Y-%m-%d %H:%M:%S.%f}" if started else ""
