"""pyperf's JSON (format 1.0): a benchmark for each case and phase, a run for each block.

A run has one value, the median of its block: iterations of one process are not independent, but
pyperf's significance test takes each value as an independent sample. Warm-up values are raw.
pyperf knows the units second and byte, so memory is exported as well, but energy is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reports.exports.source import ExportSource, Windows, moment
from reports.results.records import BlockRecord, PhaseTiming, TargetRun

Metadata = dict[str, str | int | float]


def to_pyperf(source: ExportSource) -> str:
    """Return a benchmark suite that pyperf loads.

    Raises:
        ExportError: there is no latency.
    """
    benchmarks = [_latency(windows) for windows in source.windows()]
    benchmarks += list(_memory(source))
    run = source.run
    common = {"gfbench_version": run.header.tool.version, "gfbench_run_id": run.run_id}
    document = {"version": "1.0", "metadata": _known(common), "benchmarks": benchmarks}
    return json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n"


def _latency(windows: Windows) -> dict[str, Any]:
    return {
        "metadata": {
            "name": _one_line(windows.name),
            "unit": "second",
            **_machine(windows.target),
            **_known({"gfbench_case": windows.case.key, "gfbench_phase": windows.row.phase}),
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
    metadata = _known(
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


def _memory(source: ExportSource) -> Iterator[dict[str, Any]]:
    """Yield a benchmark of each case's peak memory (RSS of the process, in bytes)."""
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
            {"values": [peak], "metadata": _known({"date": _date(block.started_at)})}
            for block, peak in blocks
        ]
        yield {"metadata": {**metadata, **_machine(case.target)}, "runs": runs}


def _machine(target: TargetRun) -> Metadata:
    probe = target.probe
    if probe is None:
        return _known({"hostname": target.name})
    cpu = probe.cpu
    return _known(
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


def _known(facts: Mapping[str, str | int | None]) -> Metadata:
    """Return the facts that are known, in the form that pyperf accepts: text on one line."""
    metadata: Metadata = {}
    for key, value in facts.items():
        if isinstance(value, str):
            value = _one_line(value)
        if value is not None and value != "":
            metadata[key] = value
    return metadata


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _date(started_at: str) -> str:
    """Return a time in UTC as pyperf writes it; empty if the text is not a time."""
    started = moment(started_at)
    return f"{started:%Y-%m-%d %H:%M:%S.%f}" if started else ""
