"""One target, from the connection to its part of the result folder.

prepare -> probe -> plan -> (wait for the machine) -> push -> run -> follow -> collect -> restore.
Whatever happens, what has been measured is in the result folder and session.json says the rest.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from harness.board import cross_compile as cross
from harness.board.board import Board, JobState
from harness.board.patience import Patience
from harness.board.probed import Probed, read_probe
from harness.board.revisions import bring_revisions
from harness.errors import CommandFailed, TargetError, Unreachable
from harness.fleet.collect import TRACE_LEFT, collect_trace, missing_of_journal
from harness.fleet.job import plan_job, skipped
from harness.fleet.machines import Machines
from harness.fleet.outcome import Outcome, now_utc
from harness.payloads.payload import Payload
from harness.payloads.revisions import Revision
from harness.payloads.user_kernels import UserKernel
from harness.plan.extension import JOB
from harness.plan.plan import estimate_s
from harness.plan.suites import Suite
from harness.power.files import PowerFiles
from harness.transport.base import open_transport
from reports.calibration.machine import machine_fingerprint, sampler_cost_path
from reports.results.documents import ResultError, read_document, read_optional
from reports.results.journal import append_journal, journal_line, read_journal, trim_journal
from reports.results.read import CALIBRATION, JOURNAL, PROBE, SESSION
from reports.results.records import BlockRecord, Probe, SessionRecord
from reports.results.write import (
    StorageError,
    target_folder,
    write_bytes_atomic,
    write_json_atomic,
)
from reports.text.masking import MASK, masked_json
from targets.findings import unseen_throttling
from targets.inventory import Inventory, Target
from workloads.spec.messages import SCHEMA, Job, job_from_json, to_json

IDLE_MARGIN_S = 240.0
FOREIGN_LOAD = 0.75  # above one task per processor, which a block itself brings
BUSY = "the machine was busy"
NOT_A_RECORD = "the board sent a line of its journal that is not a record: it is left out"
FAILURES = ("failed", "timeout", "out_of_memory")


class Watch(Protocol):
    """Somebody who looks on: the live view, or nobody."""

    def state(self, target: str, state: str) -> None:
        """Tell what the target is doing."""

    def planned(self, target: str, blocks: int, done: int, estimate_s: float) -> None:
        """Tell how much there is to do."""

    def block(self, target: str, record: Mapping[str, Any]) -> None:
        """Tell of one finished block."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What all targets of a run have in common."""

    run: Path
    run_id: str
    suite: Suite
    seed: int
    payload: Payload
    inventory: Inventory | None
    detach: bool = False
    extended: bool = False  # rounds more of what this process has just measured: no new probe
    own_kernels: tuple[UserKernel, ...] = ()
    revisions: tuple[Revision, ...] = ()  # each with a payload of its own


class Session:
    """Measures one target into its part of the result folder; ``outcome`` says how it went."""

    def __init__(
        self,
        target: Target,
        request: Request,
        *,
        machines: Machines,
        watch: Watch,
        stop: threading.Event,
    ) -> None:
        """Remember everything; nothing is done yet."""
        self.target = target
        self.request = request
        self.outcome = Outcome(target=target.name)
        self.folder = request.run / "targets" / target.name
        self._power = PowerFiles(target, request.inventory, self.folder)
        self._machines = machines
        self._watch = watch
        self._stop = stop
        self._processors = 1
        self._board = Board(
            target, lambda: open_transport(target, request.inventory), request.payload
        )

    def run(self) -> None:
        """Measure, or go on measuring.

        Raises:
            GfbenchError: what ends this target's session; what was measured until then is kept.
        """
        try:
            target_folder(self.request.run, self.target.name)
            self._measure()
        finally:
            self._board.close()

    def end(self) -> None:
        """Say in the outcome how to go on, and write it down as well as that is possible."""
        outcome = self.outcome
        if self._stop.is_set() and outcome.status in ("running", "infra"):
            outcome.status, outcome.exit_code = "interrupted", 130
            outcome.reason = "the run was interrupted"
            outcome.remedy = f"`gfbench resume {self.request.run}` continues it"
        if outcome.status == "infra" and "gfbench resume" not in (outcome.remedy or ""):
            again = f"`gfbench resume {self.request.run}` measures what is missing"
            outcome.remedy = f"{outcome.remedy}; then {again}" if outcome.remedy else again
        self._watch.state(self.target.name, outcome.status)
        outcome.finished_at = now_utc()
        with contextlib.suppress(StorageError):
            self.save()

    def save(self) -> None:
        """Write session.json."""
        content = asdict(self.outcome)
        write_json_atomic(self.folder / SESSION, {**content, "schema": SCHEMA})

    def _measure(self) -> None:
        self._watch.state(self.target.name, "connecting")
        state = self._board.prepare(f"{self.request.run_id}-{self.target.name}")
        probe = self._known_probe() if self.request.extended else self._probe()
        self._take_over(probe.facts, probe.platform)
        job = self._job(probe)
        self.save()
        if self._journalled() >= len(job.blocks):  # resumed with nothing left, or all skipped
            self._conclude(state.folder, job)
            return
        with self._machines.one_at_a_time(self.outcome.boot_id, self.target.name, self._stop):
            if not self._stop.is_set():
                self._on_the_machine(state, job)

    def _known_probe(self) -> Probed:
        """Return the probe that this very process made a few rounds ago."""
        probe = read_probe(self.target, read_document(self.folder / PROBE) or {})
        self._board.use(probe.facts)
        return probe

    def _probe(self) -> Probed:
        self._watch.state(self.target.name, "probing")
        kernels = () if self.request.revisions else self.request.suite.probed_kernels
        probe = self._board.probe(kernels)
        if cross.lacking(probe.facts):
            self._watch.state(self.target.name, "compiling")
            self._note(*cross.supply(self._board, probe.facts, self.request.own_kernels))
            probe = self._board.probe(kernels)
        write_json_atomic(self.folder / PROBE, probe.document)
        self._keep_calibration(probe.facts)
        facts, notes = bring_revisions(
            self._board, self.request.revisions, self.request.suite.kernels, probe.facts
        )
        self._note(*notes)
        return replace(probe, facts=facts)

    def _take_over(self, probe: Probe, platform: str) -> None:
        """Keep what the session needs of a probe; torch has to be there."""
        self._processors = (probe.cpu.logical if probe.cpu else None) or 1
        self.outcome.boot_id = probe.boot_id or None
        self.outcome.platform = platform
        if probe.torch is None:
            raise CommandFailed(
                self.target.name,
                f"{probe.executable} cannot import torch: {probe.torch_error or 'no reason given'}",
                remedy=probe.torch_remedy
                or "install torch there, or set `python:` to the interpreter that has it",
            )

    def _keep_calibration(self, probe: Probe) -> None:
        """Copy what is known of this machine's sampler into the result, which stands alone."""
        path = sampler_cost_path(self.request.run.parent, machine_fingerprint(probe))
        if path.is_file():
            write_bytes_atomic(self.folder / CALIBRATION, path.read_bytes())

    def _job(self, probe: Probed) -> Job:
        """Return the job to do: the stored one when a run is resumed, else a new one."""
        path = self.folder / JOB
        if path.exists():
            return self._stored_job(path, probe)
        self._note(*self._power.plan(probe.platform, probe.document))
        unseen = unseen_throttling(probe.platform, probe.document)
        self._note(*([unseen.sentence] if unseen else []))
        new = plan_job(
            self.request.suite,
            self.target,
            run_id=self.request.run_id,
            seed=self.request.seed,
            probe=probe.facts,
            rail_map=self._power.rail_map,
            payloads={revision.label: revision.payload.name for revision in self.request.revisions},
        )
        self._note(*new.notes)
        self.outcome.cases = to_json(new.plan.cases)
        self.outcome.skipped = [skipped(item) for item in new.plan.skipped]
        self.outcome.blocks_planned = len(new.job.blocks)
        self.save()  # before the job, which is what a resumed run looks for
        write_json_atomic(path, to_json(new.job))
        self._watch.planned(self.target.name, len(new.job.blocks), 0, new.plan.estimate_s)
        return new.job

    def _stored_job(self, path: Path, probe: Probed) -> Job:
        """Return the job of the run that is resumed; the outcome goes on from its last session."""
        job = _read_job(path)
        if MASK in json.dumps(job.power):
            job = job._replace(power=self._power.job_power(probe.platform, probe.document))
        session = self._last_session()
        self.outcome.skipped = session.get("skipped") or []
        self.outcome.cases = session.get("cases") or []
        self._note(*(session.get("notes") or []))
        self.outcome.started_at = session.get("started_at") or self.outcome.started_at
        self.outcome.blocks_planned = len(job.blocks)
        done = self._journalled()
        left_s = estimate_s(job.blocks[done:], job.min_window_s, job.isolation, job.energy)
        self._watch.planned(self.target.name, len(job.blocks), done, left_s)
        return job

    def _last_session(self) -> dict[str, Any]:
        """Return what the last session of this run left; nothing but a note where it is broken."""
        notes: list[str] = []
        path = self.folder / SESSION
        usable = read_optional(SessionRecord, path, notes) is not None
        self._note(*notes)
        return (read_document(path) or {}) if usable else {}

    def _on_the_machine(self, state: JobState, job: Job) -> None:
        """Run the job on a machine that is ours, and put it back as it was."""
        for command in self.target.setup:
            self._board.shell(command)
        try:
            self._run_job(state, job)
        finally:
            if not self.request.detach:
                self._restore()

    def _run_job(self, state: JobState, job: Job) -> None:
        journal = trim_journal(self.folder / JOURNAL)
        has_all = state.journal_bytes is not None and state.journal_bytes >= len(journal)
        # The job always: it may have been extended since it was pushed.
        self._board.push_job(state.folder, job, b"" if has_all else journal)
        self._board.launch(state.folder, job.run_id, self._stop)
        if self.request.detach:
            self._watch.state(self.target.name, "detached")
            return
        self._watch.state(self.target.name, "measuring")
        try:
            complete, log = self._copy_journal(state.folder, job)
        except StorageError:
            with contextlib.suppress(TargetError):  # the full disk here is what has to be told
                self._board.stop(state.folder)
            raise
        except TargetError:
            self._collect(state.folder, reconnect_s=0.0)
            raise
        if complete:
            self._conclude(state.folder, job)
            return
        self._collect(state.folder, reconnect_s=0.0)
        if not self._stop.is_set():
            last = log.strip().splitlines()
            raise CommandFailed(
                self.target.name,
                f"the runner ended early: {last[-1][:300] if last else 'it left no log'}",
                remedy=f"`gfbench resume {self.request.run}` continues; the log is on the board "
                f"in {state.folder}/runner.log",
            )

    def _copy_journal(self, folder: str, job: Job) -> tuple[bool, str]:
        """Copy the journal as it grows; returns whether it is complete, and the runner's log."""
        offset = len(trim_journal(self.folder / JOURNAL))
        idle_s = job.block_timeout_s + max(IDLE_MARGIN_S, self.target.import_s)
        for stop in (self._stop, threading.Event()):
            # Closed at once: what is only let go of may start a thread while Python shuts down.
            with contextlib.closing(
                self._board.follow(folder, offset, idle_deadline_s=idle_s, stop=stop)
            ) as records:
                for record in records:
                    if record["type"] == "end":
                        return record.get("complete") is True, str(record.get("log", ""))
                    offset = self._keep(record, offset)
            # Only an interrupt gets here: end the runner, then take what it has left.
            self._watch.state(self.target.name, "stopping")
            self._board.stop(folder)
        return False, ""

    def _keep(self, record: Mapping[str, Any], offset: int) -> int:
        line = journal_line(record)
        if line is None:
            self._note(NOT_A_RECORD)
            return offset
        append_journal(self.folder / JOURNAL, masked_json(line.text).encode())
        if line.content.get("type") == "block":
            self._watch.block(self.target.name, line.content)
        return offset + len(line.text.encode())

    def _collect(self, folder: str, *, reconnect_s: float | None = None) -> TargetError | None:
        """Bring the power trace here or note where it still is; returns what went wrong."""
        kept = [note for note in self.outcome.notes if not note.startswith(TRACE_LEFT)]
        self.outcome.notes = kept  # of an earlier session of this run
        patience = Patience(self.target, reconnect_s=reconnect_s)
        collected = collect_trace(self._board, folder, self._power, patience, self._stop)
        self._note(*collected.notes)
        return collected.problem

    def _conclude(self, folder: str, job: Job) -> None:
        """Bring the rest here, say how it went, and remove from the board what is here.

        Raises:
            TargetError: the power trace is still on the board.
        """
        left = self._collect(folder)
        self._finish(job)
        if left is not None:
            raise left
        missing = missing_of_journal(self._board, folder, len(trim_journal(self.folder / JOURNAL)))
        if missing:
            self._note(missing)
        else:
            self._board.remove(folder)

    def _note(self, *notes: str) -> None:
        self.outcome.notes += [note for note in notes if note not in self.outcome.notes]

    def _finish(self, job: Job) -> None:
        """Say how the blocks went, all of which have been measured."""
        blocks = self._blocks()
        self._note(*self._power.keep_meter(blocks))
        self._note_a_busy_machine(blocks)
        failed = [block for block in blocks if block.status in FAILURES]
        self.outcome.status = "failed" if failed else "ok"
        if failed:
            self.outcome.exit_code = 1
            self.outcome.reason = (
                f"{len(failed)} of {len(job.blocks)} blocks failed, the first of them "
                f"{failed[0].case.key}: {failed[0].reason}"
            )

    def _note_a_busy_machine(self, blocks: Sequence[BlockRecord]) -> None:
        """Say so if others used the machine's processors: then intervals are wide."""
        states = [block.state_before for block in blocks if block.state_before]
        loads = sorted(state.load_1m for state in states if state.load_1m is not None)
        load = loads[len(loads) // 2] if loads else 0.0
        kept = [note for note in self.outcome.notes if not note.startswith(BUSY)]
        self.outcome.notes = kept  # of an earlier session of this run: these are all its blocks
        if load > self._processors + FOREIGN_LOAD:
            self.outcome.notes.append(
                f"{BUSY}: a load of {load:.1f} on {self._processors} processors — "
                "stop the other programs there and measure again"
            )

    def _restore(self) -> None:
        for command in self.target.restore:
            try:
                self._board.shell(command)
            except (CommandFailed, Unreachable) as error:
                self.outcome.notes.append(f"restore: {error.message}")

    def _blocks(self) -> tuple[BlockRecord, ...]:
        """Return the blocks that the journal holds, one of each order."""
        trim_journal(self.folder / JOURNAL)
        return read_journal(self.folder / JOURNAL).blocks

    def _journalled(self) -> int:
        return sum(block.status != "interrupted" for block in self._blocks())


def _read_job(path: Path) -> Job:
    """Return the job that a run's first session has planned.

    Raises:
        ResultError: it cannot be read.
    """
    try:
        return job_from_json(read_document(path) or {})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ResultError(f"{path} is broken: {error!r} — restore it, or start a new run") from None
