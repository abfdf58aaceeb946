"""A run from its request to its finished result folder: plan, fleet, report, manifest."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import UsageError, gravest
from harness.fleet.header import new_header, read_header, revisions_json
from harness.fleet.outcome import Outcome, now_utc
from harness.fleet.parallel import run_fleet
from harness.fleet.session import Request, Watch
from harness.fleet.until_decided import Decided, until_decided
from harness.payloads import payload as payloads
from harness.payloads import revisions as revised
from harness.payloads.revisions import Revision
from harness.payloads.user_kernels import UserKernel, from_run, packed, recorded
from harness.plan.suites import Suite
from reports.calibration.noise_floor import keep_floors
from reports.gate.recorded import judge_run
from reports.gate.rule import rule_to_json
from reports.gate.verdict import Gate
from reports.page.render import write_report
from reports.results.manifest import write_manifest
from reports.results.read import REPORT, RUN, ResultError, load_header, load_run
from reports.results.records import Rule, Run
from reports.results.write import (
    StorageError,
    create_run,
    write_bytes_atomic,
    write_json_atomic,
)
from targets.inventory import Inventory, Target

INTERRUPTED = 130
COOL_DOWN_S = 30.0  # after rounds in which a board throttled
MOST_REASONS = 5  # on the terminal
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a command about a run has to show."""

    folder: Path
    report: Path | None
    outcomes: tuple[Outcome, ...]
    gate: Gate | None = None  # where the run was measured to decide something
    invalid: tuple[str, ...] = ()  # which blocks' figures cannot be, and why

    @property
    def exit_code(self) -> int:
        """The run's exit code: the gravest of its targets' and of the gate's."""
        gate = self.gate.exit_code if self.gate else 0
        invalid = 3 if self.invalid else 0
        return gravest([*(outcome.exit_code for outcome in self.outcomes), gate, invalid])


def start_run(
    targets: Sequence[Target],
    suite: Suite,
    *,
    inventory: Inventory | None,
    seed: int,
    directory: Path,
    argv: Sequence[str],
    watch: Watch,
    detach: bool = False,
    own_kernels: Sequence[UserKernel] = (),
    revisions: Sequence[Revision] = (),
    rule: Rule | None = None,
) -> Finished:
    """Measure a suite on targets into a new run folder below ``directory``.

    With ``revisions`` the suite names the cases' revisions, each measured by its own payload.
    With a ``rule`` the run is judged, and more rounds than the suite's follow until it is decided
    if the rule says so.

    Raises:
        PayloadError: the payload cannot be packed.
        reports.results.write.StorageError: the folder cannot be written.
    """
    payload = payloads.pack(extra=packed(own_kernels))
    header = new_header(targets, suite, seed, argv, payload, own_kernels)
    if revisions:
        header |= revisions_json(suite, revisions)
    if rule is not None:
        header |= {"gate": rule_to_json(rule)}
    folder = _new_folder(directory, header)
    _keep_sources(folder, own_kernels)
    _keep_payloads(folder, revisions)
    request = Request(
        run=folder,
        run_id=folder.name,
        suite=suite,
        seed=seed,
        payload=payload,
        inventory=inventory,
        detach=detach,
        own_kernels=tuple(own_kernels),
        revisions=tuple(revisions),
    )
    return _carry_out(targets, request, watch)


def _new_folder(directory: Path, run_json: Mapping[str, Any]) -> Path:
    try:
        return create_run(directory, run_json)
    except StorageError as problem:
        if problem.errno in DISK_ERRORS:
            raise
        raise UsageError(f"{problem} — choose a folder you can write to with -o") from None


def resume_run(
    folder: Path,
    targets: Sequence[Target],
    suite: Suite,
    *,
    inventory: Inventory | None,
    watch: Watch,
) -> Finished:
    """Go on with a run: follow what still runs, measure what is missing.

    Raises:
        ResultError: the run in the folder was started with another payload.
    """
    header = load_header(folder)
    own_kernels = from_run(folder, header.kernels)
    payload = payloads.pack(extra=packed(own_kernels))
    recorded = header.payload.sha256 if header.payload else ""
    if recorded != payload.sha256 or header.seed is None:
        raise ResultError(
            f"{folder}: the run was started with another payload ({recorded[:12]}, this "
            f"gfbench has {payload.sha256[:12]}) — resume it with the version that started it, "
            f"{header.tool.version}, or start a new run"
        )
    request = Request(
        run=folder,
        run_id=folder.name,
        suite=suite,
        seed=header.seed,
        payload=payload,
        inventory=inventory,
        own_kernels=own_kernels,
        revisions=revised.from_run(folder, header.revisions),
    )
    return _carry_out(targets, request, watch)


def _carry_out(targets: Sequence[Target], request: Request, watch: Watch) -> Finished:
    folder = request.run
    header = read_header(folder)
    gate, rule = None, _rule_of(folder, header)  # a broken one is told before anything is measured
    outcomes = run_fleet(targets, request, watch)
    if rule is not None and not request.detach:
        outcomes, gate = _judged(rule, targets, request, watch, outcomes)
    write_json_atomic(folder / RUN, {**header, "finished_at": now_utc()})
    report = None
    invalid: tuple[str, ...] = ()
    if not request.detach:
        report = write_report([folder], folder / REPORT)
        write_manifest(folder)
        invalid = _invalid_blocks(load_run(folder))
    return Finished(folder=folder, report=report, outcomes=outcomes, gate=gate, invalid=invalid)


def _invalid_blocks(run: Run) -> tuple[str, ...]:
    """Return a line for each reason for which blocks of a target are invalid."""
    counts = Counter(
        (target.name, block.reason)
        for target in run.targets
        for block in target.all_blocks
        if block.status == "invalid"
    )
    lines = [
        f"{target}: INVALID, {count} block{'s' if count > 1 else ''}: {reason}"
        for (target, reason), count in counts.most_common(MOST_REASONS)
    ]
    if len(counts) > MOST_REASONS:
        lines.append(f"{len(counts) - MOST_REASONS} more reasons for INVALID are in the report")
    return tuple(lines)


def _rule_of(folder: Path, header: Mapping[str, Any]) -> Rule | None:
    """Return what the run is judged by, None where it is not judged.

    Raises:
        ResultError: run.json has a rule that cannot be read.
    """
    run = load_run(folder)
    if header.get("gate") is not None and run.header.gate is None:
        raise ResultError(f"{run.notes[-1]} — restore {RUN}, or start a new run")
    return run.header.gate


def _judged(
    rule: Rule,
    targets: Sequence[Target],
    request: Request,
    watch: Watch,
    outcomes: Sequence[Outcome],
) -> tuple[tuple[Outcome, ...], Gate]:
    """Keep the noise floors that hold now, measure on until it is decided, and judge."""
    keep_floors(load_run(request.run))
    if rule.until_decided:
        decided = _until_decided(rule, targets, request, watch, outcomes)
        return decided.outcomes, decided.gate
    return tuple(outcomes), judge_run(load_run(request.run), rule)


def _until_decided(
    rule: Rule,
    targets: Sequence[Target],
    request: Request,
    watch: Watch,
    outcomes: Sequence[Outcome],
) -> Decided:
    def measure(names: Sequence[str]) -> tuple[Outcome, ...]:
        chosen = [target for target in targets if target.name in names]
        return run_fleet(chosen, replace(request, extended=True), watch)

    def cool(names: Sequence[str]) -> None:
        for name in names:
            watch.state(name, "cooling down")
        time.sleep(COOL_DOWN_S)

    return until_decided(rule, request.run, request.suite, request.seed, outcomes, measure, cool)


def _keep_payloads(folder: Path, revisions: Sequence[Revision]) -> None:
    """Keep what is measured: to resume with, and for who wants to know what it was."""
    for revision in revisions:
        (folder / revised.FOLDER).mkdir(exist_ok=True)
        path = folder / revised.FOLDER / revision.payload.name
        write_bytes_atomic(path, revision.payload.data)


def _keep_sources(folder: Path, own: Sequence[UserKernel]) -> None:
    for name, content in recorded(own).items():
        (folder / "kernels").mkdir(exist_ok=True)
        write_bytes_atomic(folder / "kernels" / name, content)
