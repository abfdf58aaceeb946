"""Measure the noise floor of a machine: one kernel under two names, in rounds as of any run.

An A/A run is an ordinary run, kept below ``calibration`` in the folder of results. Its pairs are
stored by machine. The floor is estimated from the pairs of all days with the same conditions; pairs
with other conditions are kept, and count again once the machine has those conditions again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import PlanError
from harness.fleet.run import Finished, start_run
from harness.fleet.session import Watch
from harness.payloads.user_kernels import UserKernel, parse
from harness.plan.suites import Suite
from reports.calibration import noise_floor
from reports.calibration.machine import FOLDER, floor_path, machine_fingerprint
from reports.calibration.noise_floor import (
    FEWEST_ROUNDS,
    AARound,
    MetricFloor,
    NoiseFloor,
    staleness,
)
from reports.gate.evidence import blocks_by_round, figures
from reports.metrics.table import judged_by, judged_metrics
from reports.results.read import ResultError, load_run
from reports.results.records import Probe, Run, TargetRun
from reports.results.write import StorageError, write_json_atomic
from targets.inventory import Inventory, Target
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE, DEFAULT

AGAIN = "again"
Series = tuple[AARound, ...]


@dataclass(frozen=True, kw_only=True)
class CalibratedFloor:
    """What is known of one machine's noise, and where it is kept.

    ``runs`` runs on ``days`` days were combined; ``apart`` more are kept but not used, as their
    conditions or windows differ. ``changes`` say what has changed since the last stored floor.
    """

    target: str
    path: Path
    floor: NoiseFloor
    runs: int
    days: int
    apart: int
    changes: tuple[str, ...] = ()


def aa_suite(suite: Suite, kernel: str) -> tuple[Suite, tuple[UserKernel, ...]]:
    """Return the suite with one filtered kernel under two names and nothing else.

    Raises:
        PlanError: the kernel does not exist, or has no filtered backward.
    """
    names, own = parse([kernel, f"{AGAIN}={kernel}"])
    methods = tuple(name for name in suite.methods if name != BASELINE) or (DEFAULT,)
    chosen = replace(
        suite,
        methods=methods[:1],
        patch_sizes=suite.patch_sizes[:1],
        kernels=names,
        own_kernels=tuple(kernel.info for kernel in own),
        fidelity_rounds=0,
        roofline=False,
    )
    if methods[0] not in chosen.kernel(kernel).methods:
        raise PlanError(f"--kernel {kernel}: it does not implement {methods[0]}")
    return chosen, own


def calibrate_floors(
    targets: Sequence[Target],
    suite: Suite,
    own_kernels: Sequence[UserKernel],
    *,
    inventory: Inventory | None,
    seed: int,
    directory: Path,
    argv: Sequence[str],
    watch: Watch,
) -> tuple[Finished, tuple[CalibratedFloor, ...], tuple[str, ...]]:
    """Measure the A/A suite on targets and keep what it shows below ``directory``.

    Returns the run, the floors, and for each target without one why that is.

    Raises:
        GfbenchError: as of any run.
        reports.results.write.StorageError: a folder cannot be written.
    """
    finished = start_run(
        targets,
        suite,
        inventory=inventory,
        seed=seed,
        directory=directory / FOLDER,
        argv=argv,
        watch=watch,
        own_kernels=own_kernels,
    )
    run = load_run(finished.folder)
    floors, problems = [], []
    for target in run.targets:
        try:
            floors.append(keep_floor(run, target, directory))
        except (ValueError, ResultError) as error:
            problems.append(f"{target.name}: no noise floor: {error}")
    return finished, tuple(floors), tuple(problems)


def keep_floor(run: Run, target: TargetRun, directory: Path) -> CalibratedFloor:
    """Add an A/A run to a machine's stored calibrations; estimate the floor from those that fit.

    Raises:
        ValueError: the run has too few pairs.
        reports.results.read.ResultError: what is stored is broken.
        reports.results.write.StorageError: the file cannot be written.
    """
    fingerprint = machine_fingerprint(target.probe or Probe())
    path = floor_path(directory, fingerprint)
    new = _entry(run, target)
    if not new["series"]:
        raise ValueError(f"at least {FEWEST_ROUNDS} complete rounds are needed")
    before = noise_floor.load(path)
    stored = _history(path) if before else []
    earlier = [entry for entry in stored if entry["run_id"] != run.run_id]
    history = [*earlier, new]
    alike = [entry for entry in history if _basis(entry) == _basis(new)]
    sentinel_logs: list[float] = []
    for entry in alike:
        sentinel_logs += entry["sentinel"]
    sentinel_spread = None
    if len(sentinel_logs) > 1:
        sentinel_spread = float(np.std(sentinel_logs, ddof=1))
    floor = NoiseFloor(
        target=target.name,
        fingerprint=fingerprint,
        measured_at=run.header.started_at,
        floors=_floors(alike),
        conditions=new["conditions"],
        sentinel_spread=sentinel_spread,
    )
    _make_folder(path.parent)
    write_json_atomic(path, {**noise_floor.to_json(floor), "calibrations": history})
    days = {str(entry["measured_at"])[:10] for entry in alike}
    return CalibratedFloor(
        target=target.name,
        path=path,
        floor=floor,
        runs=len(alike),
        days=len(days),
        apart=len(history) - len(alike),
        changes=staleness(before, conditions=new["conditions"]) if before else (),
    )


def _entry(run: Run, target: TargetRun) -> dict[str, Any]:
    """Return what is kept of one A/A run: every pair, raw."""
    series = []
    for base, new in _pairs(target):
        for metric, phase in _judged_phases():
            rounds = _rounds(target, base, new, metric, phase)
            if len(rounds) >= FEWEST_ROUNDS:
                raw = [[pair.a, pair.b, pair.a_first] for pair in rounds]
                series.append({"metric": metric, "phase": phase, "case": base.key, "rounds": raw})
    plan = run.header.plan
    return {
        "run_id": run.run_id,
        "measured_at": run.header.started_at,
        "suite": run.header.suite.name,
        "conditions": noise_floor.conditions_of(target),
        "design": {"min_window_s": plan.min_window_s, "isolation": plan.isolation},
        "sentinel": _sentinel_logs(target),
        "series": series,
    }


def _pairs(target: TargetRun) -> Iterator[tuple[Case, Case]]:
    cases = dict.fromkeys(block.case for block in target.blocks)
    for case in cases:
        again = case._replace(kernel=AGAIN)
        if case != again and again in cases:
            yield case, again


def _judged_phases() -> Iterator[tuple[str, str]]:
    """Yield every metric that a gate judges, with each of its phases."""
    for name, metric in judged_metrics().items():
        for phase in metric.phases:
            yield name, phase


def _rounds(target: TargetRun, base: Case, new: Case, metric: str, phase: str) -> Series:
    """Return the rounds in which both have a figure; the earlier block is the one planned first."""
    a, b = figures(target, base, metric, phase), figures(target, new, metric, phase)
    kind = judged_by(metric).block_kind
    a_blocks, b_blocks = blocks_by_round(target, base, kind), blocks_by_round(target, new, kind)
    rounds = []
    for round_ in sorted(a.keys() & b.keys()):
        a_first = a_blocks[round_].order < b_blocks[round_].order
        rounds.append(AARound(a=a[round_], b=b[round_], a_first=a_first))
    return tuple(rounds)


def _floors(calibrations: Iterable[Mapping[str, Any]]) -> tuple[MetricFloor, ...]:
    """Return the floor of each metric and phase: that of the workload with the most scatter."""
    joined: dict[tuple[str, str, str], list[AARound]] = {}
    for entry in calibrations:
        for series in entry["series"]:
            rounds = joined.setdefault((series["metric"], series["phase"], series["case"]), [])
            rounds += [AARound(a=a, b=b, a_first=first) for a, b, first in series["rounds"]]
    return noise_floor.worst(
        noise_floor.metric_floor(metric, phase, rounds)
        for (metric, phase, _), rounds in joined.items()
    )


def _sentinel_logs(target: TargetRun) -> list[float]:
    timings = (block.timing.get("step") for block in target.sentinels if block.status == "ok")
    return [math.log(timing.median_s) for timing in timings if timing and timing.median_s]


def _basis(entry: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what two calibrations must have in common for their pairs to be pooled."""
    return entry.get("conditions"), entry.get("design")


def _history(path: Path) -> list[dict[str, Any]]:
    """Return the calibrations in a stored file that is known to be whole."""
    document = json.loads(path.read_text(encoding="utf-8"))
    entries = document.get("calibrations")
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(path, error) from error
