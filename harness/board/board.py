"""One board as the session sees it: put the payload there, run its commands, read its records.

What comes back is untrusted: only framed records count, and their kinds are checked here.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import workloads
from harness.board.patience import Patience
from harness.board.probed import Probed, clock_off_s, read_probe
from harness.board.secrets import keep_secrets
from harness.errors import Busy, CommandFailed, Unreachable
from harness.payloads.payload import Payload
from harness.transport.base import Transport
from harness.transport.streams import Completed, last_words
from reports.results.records import Probe
from targets.inventory import Target
from targets.sources import packages
from workloads.spec.messages import Job, dump, to_json, unframe
from workloads.spec.shell import unseen

STEP_DEADLINE_S = 60.0
SENSORS_S = 60.0  # for what a probe asks besides torch and the kernels
PUSH_DEADLINE_S = 300.0
DIGEST_DEADLINE_S = 600.0  # to hash a gigabyte on an SD card
BUSY_POLL_S = 1.0
ILLEGAL_INSTRUCTION = signal.SIGILL
CORETYPE = "OPENBLAS_CORETYPE"
STILL_ILLEGAL = (
    "a library was built for a newer processor, and OPENBLAS_CORETYPE=ARMV8, which gfbench tried, "
    "does not help: install a torch wheel for this processor"
)
OLDEST_PYTHON = [3, 6]

# Sent as it is: the board runs it with `python -c` before any payload is there.
BOOTSTRAP = (Path(workloads.__file__).parent / "bootstrap.py").read_text(encoding="ascii")


@dataclass(frozen=True, kw_only=True)
class JobState:
    """A job's folder on the board and the size of the journal that lies there."""

    folder: str
    journal_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What identifies the content of a file on the board; ``size`` in bytes."""

    size: int
    sha256: str


class Board:
    """A target, over a connection that is made again when it breaks."""

    def __init__(self, target: Target, connect: Callable[[], Transport], payload: Payload) -> None:
        """Remember how to connect; nothing is done yet."""
        keep_secrets(target)
        self.target = target
        self.payload = payload
        self._connect = connect
        self._transport: Transport | None = None
        self._workdir = ""
        self._env = dict(target.env)
        self._probed_env: dict[str, str] = {}  # what the probe found that the board needs too
        self._python = own_python(target)
        self._clock_off_s: float | None = None

    def prepare(self, job_name: str) -> JobState:
        """Connect, push the payload unless it is there, verify it, make the job's folder.

        Raises:
            TargetError: no connection, no usable Python, or the payload does not arrive whole.
        """
        answer = self._pushed(self.payload, job_name)
        return JobState(folder=self.job_folder(job_name), journal_bytes=answer["journal"])

    def push_payload(self, payload: Payload) -> None:
        """Put another payload beside the board's own, unless it is there, and verify it.

        Raises:
            TargetError: it does not arrive whole.
        """
        self._pushed(payload, "")

    def check_file_transfer(self) -> None:
        """Read the payload back: one that was there already has not shown that files go through.

        Raises:
            CommandFailed: no file can be transferred.
        """
        path = f"{self._workdir}/{self.payload.name}"
        self.piece(path, 0, len(self.payload.data), PUSH_DEADLINE_S)

    def job_folder(self, job_name: str) -> str:
        """Return the path of a job's folder on the board."""
        return f"{self._workdir}/jobs/{job_name}"

    def probe(self, kernels: Sequence[str] = (), payload: Payload | None = None) -> Probed:
        """Return what a payload finds out about the machine, and which kernels it can run.

        Raises:
            CommandFailed: no answer, or importing torch took too long or ended Python.
        """
        document = self._probed(kernels, payload)
        if document.get("torch_signal") == ILLEGAL_INSTRUCTION and CORETYPE not in self._env:
            # The numpy of old aarch64 images picks instructions that a Cortex-A57 lacks.
            self._probed_env = {CORETYPE: "ARMV8"}
            self._env = {**self._probed_env, **self._env}
            document = self._probed(kernels, payload)
            if document.get("torch_signal") == ILLEGAL_INSTRUCTION:
                document["torch_remedy"] = STILL_ILLEGAL
        probed = read_probe(self.target, {**document, "env": self._probed_env})
        if probed.facts.torch_ended:
            raise CommandFailed(
                self.target.name,
                f"{self._python} cannot import torch: {probed.facts.torch_error}",
                remedy=probed.facts.torch_remedy
                or f"try `{self._python} -c 'import torch'` on the board by hand",
            )
        return replace(probed, clock_off_s=self._clock_off_s)

    def _probed(self, kernels: Sequence[str], payload: Payload | None) -> dict[str, Any]:
        target = self.target
        package = target.power.kind if target.power.kind in packages() else "-"
        arguments = ["probe", target.sysroot, package, ",".join(kernels)]
        if payload is None:  # another revision's may not know of these
            arguments += [f"{target.import_s:g}", f"{target.compile_s:g}"]
        deadline_s = SENSORS_S + target.import_s + (target.compile_s if kernels else 0.0)
        completed = self._payload(arguments, deadline_s=deadline_s, payload=payload)
        return self._record(completed, "probe")

    def use(self, probe: Probe) -> None:
        """Set the variables that an earlier probe found this board to need."""
        self._env = {**probe.env, **self._env}

    def push_job(self, folder: str, job: Job, journal: bytes) -> None:
        """Put the job into its folder, with the journal that the controller already has."""
        self.transport.put(
            dump(to_json(job)).encode(), f"{folder}/job.json", deadline_s=STEP_DEADLINE_S
        )
        if journal:
            self.transport.put(journal, f"{folder}/journal.jsonl", deadline_s=PUSH_DEADLINE_S)

    def push_object(self, name: str, data: bytes) -> None:
        """Put a compiled kernel where the payload looks for it; the payload verifies it."""
        folder = f"{self._workdir}/objects"
        self._bootstrap(["make-folder", folder])
        self.transport.put(data, f"{folder}/{name}", deadline_s=PUSH_DEADLINE_S)

    def launch(self, folder: str, run_id: str, stop: threading.Event) -> None:
        """Start the detached runner, or find it running.

        If the machine still measures for another target of this very run, wait until it is done:
        that target's connection broke, and its runner goes on as it should.

        Raises:
            Busy: another run holds the machine.
            CommandFailed: the runner did not start.
        """
        answer: dict[str, Any] = {}
        while not stop.is_set():
            completed = self._payload(["run", folder], deadline_s=STEP_DEADLINE_S)
            answer = self._record(completed, "launch")
            holder = answer.get("holder")
            own = isinstance(holder, dict) and holder.get("run_id") == run_id
            if answer.get("state") != "busy" or not own:
                break
            stop.wait(BUSY_POLL_S)
        state = answer.get("state")
        if state == "busy":
            raise Busy(
                self.target.name,
                f"the machine is busy with {_holder(answer.get('holder'))}",
                remedy="wait for that run to end, then run `gfbench resume` on this one",
            )
        if state not in ("started", "running") and not stop.is_set():
            log = str(answer.get("log", "")).strip().splitlines()
            raise CommandFailed(
                self.target.name,
                f"the runner did not start: {log[-1][:300] if log else 'no reason given'}",
                remedy=f"see {folder}/runner.log on the board",
            )

    def follow(
        self, folder: str, offset: int, *, idle_deadline_s: float, stop: threading.Event
    ) -> Generator[dict[str, Any], None, None]:
        """Yield the journal's records from ``offset`` on, reconnecting as long as that may take.

        Close it before it is let go of: it holds a command on the board and a thread here.

        Raises:
            Unreachable: the connection is gone for longer than the target's ``reconnect_s``.
        """
        patience = Patience(self.target)
        while not stop.is_set():
            try:
                with contextlib.closing(
                    self._follow_once(folder, offset, idle_deadline_s, stop)
                ) as records:
                    for record in records:
                        patience.heard()
                        offset = record.get("offset", offset)
                        yield record
                        if record["type"] == "end":
                            return
                if stop.is_set():
                    return
                raise Unreachable(self.target.name, "the connection was closed")
            except Unreachable as error:
                self.lost(error, patience, stop)

    def lost(self, error: Unreachable, patience: Patience, stop: threading.Event) -> None:
        """Drop the connection that broke off and wait before the next attempt.

        Raises:
            Unreachable: that has gone on for longer than the target's ``reconnect_s``.
        """
        self._drop()
        stop.wait(patience.pause_s(error))

    def stop(self, folder: str) -> None:
        """End the runner and the block it is measuring."""
        self._payload(["stop", folder], deadline_s=STEP_DEADLINE_S)

    def digest(self, path: str) -> Digest | None:
        """Return the size and hash of a file on the board, None if it is not there."""
        completed = self._bootstrap(["digest", path], deadline_s=DIGEST_DEADLINE_S)
        answer = self._record(completed, "digest")
        size, sha256 = answer.get("bytes"), answer.get("sha256")
        if not isinstance(size, int) or not isinstance(sha256, str):
            return None
        return Digest(size=size, sha256=sha256)

    def piece(self, path: str, offset: int, size: int, deadline_s: float) -> bytes:
        """Return some of the bytes of a file on the board."""
        return self.transport.get_piece(path, offset=offset, size=size, deadline_s=deadline_s)

    def shell(self, command: str) -> None:
        """Run one of the inventory's setup or restore commands.

        Raises:
            CommandFailed: it ended with an error.
        """
        argv, variables = unseen(command)
        completed = self._run(argv, STEP_DEADLINE_S, **variables)
        if completed.exit_status != 0:
            raise CommandFailed(
                self.target.name,
                f"`{command}` ended with exit status {completed.exit_status}: "
                f"{last_words(completed.stderr) or 'it printed nothing'}",
                remedy="correct it under `setup` or `restore` in the inventory",
            )

    def remove(self, folder: str) -> None:
        """Remove a job's folder, which the controller has copied; ignore a failure."""
        with contextlib.suppress(CommandFailed, Unreachable):
            self._bootstrap(["remove", folder])

    def close(self) -> None:
        """Close the connection; the runner, if any, goes on."""
        self._drop()

    @property
    def transport(self) -> Transport:
        """The connection, made now unless it stands."""
        if self._transport is None:
            self._transport = self._connect()
        return self._transport

    def _drop(self) -> None:
        if self._transport is not None:
            with contextlib.suppress(Exception):
                self._transport.close()
        self._transport = None

    def _pushed(self, payload: Payload, job_name: str) -> dict[str, Any]:
        """Return what lies in the job's folder, once the payload is on the board."""
        answer = self._prepared(payload, job_name)
        if answer["sha256"] != payload.sha256:
            path = f"{self._workdir}/{payload.name}"
            self.transport.put(payload.data, path, deadline_s=PUSH_DEADLINE_S)
            answer = self._prepared(payload, job_name)
        if answer["sha256"] != payload.sha256:
            raise CommandFailed(
                self.target.name,
                f"the payload {payload.name} was damaged on its way to the board",
                remedy="the disk may be full or failing: check `df` and `dmesg` on the board",
            )
        return answer

    def _bootstrap(
        self, arguments: Sequence[str], *, deadline_s: float = STEP_DEADLINE_S
    ) -> Completed:
        """Run a command of ``workloads/bootstrap.py``, which needs no payload."""
        return self._run([self._python, "-c", BOOTSTRAP, *arguments], deadline_s)

    def _prepared(self, payload: Payload, job_name: str) -> dict[str, Any]:
        """Make the job's folder and return what is there; the Python has to be new enough."""
        target = self.target
        sent_s = time.time()
        completed = self._bootstrap(["prepare", target.workdir, payload.name, job_name])
        received_s = time.time()
        if completed.exit_status in (126, 127):
            raise CommandFailed(
                target.name,
                f"there is no Python interpreter {self._python!r} on the board",
                remedy="set `python:` in the inventory to the interpreter that has torch",
            )
        answer = self._record(completed, "bootstrap")
        if answer.get("python", [0]) < OLDEST_PYTHON:
            version = ".".join(str(part) for part in answer.get("python", []))
            raise CommandFailed(
                target.name,
                f"{self._python} is Python {version}, but 3.6 or newer is needed",
                remedy="set `python:` in the inventory to a newer interpreter",
            )
        if answer.get("error"):
            raise CommandFailed(
                target.name,
                f"nothing can be written to the folder {target.workdir} on the board: "
                f"{answer['error']}",
                remedy="name a folder that can be written with `workdir:` in the inventory",
            )
        self._clock_off_s = clock_off_s(answer.get("wall_s"), sent_s, received_s)
        self._workdir = str(answer["workdir"])
        return answer

    def _follow_once(
        self, folder: str, offset: int, idle_deadline_s: float, stop: threading.Event
    ) -> Generator[dict[str, Any], None, None]:
        argv = self._payload_argv(["follow", folder, str(offset)])
        with contextlib.closing(
            self.transport.follow(argv, env=self._env, idle_deadline_s=idle_deadline_s, stop=stop)
        ) as lines:
            for line in lines:
                record = unframe(line)
                if record is not None and record.get("type") in ("journal", "end"):
                    yield record

    def _payload(
        self, arguments: Sequence[str], *, deadline_s: float, payload: Payload | None = None
    ) -> Completed:
        return self._run(self._payload_argv(arguments, payload), deadline_s)

    def _payload_argv(self, arguments: Sequence[str], payload: Payload | None = None) -> list[str]:
        path = f"{self._workdir}/{(payload or self.payload).name}"
        return [self._python, path, *arguments]

    def _run(self, argv: Sequence[str], deadline_s: float, **more: str) -> Completed:
        """Run a command with the target's environment, and with ``more`` variables."""
        return self.transport.run(argv, env={**self._env, **more}, deadline_s=deadline_s)

    def _record(self, completed: Completed, kind: str) -> dict[str, Any]:
        """Return the one record of this kind among what the command printed."""
        for line in completed.stdout.splitlines():
            record = unframe(line)
            if record is not None and record.get("type") == kind:
                return record
        raise CommandFailed(
            self.target.name,
            f"{kind} ended with exit status {completed.exit_status} and no answer: "
            f"{last_words(completed.stderr) or 'it printed nothing'}",
            remedy=f"try `{self._python} --version` and `import torch` on the board by hand",
        )


def own_python(target: Target) -> str:
    """Return the target's interpreter: on this machine by default the one that runs gfbench."""
    if target.local and target.python == Target.python:
        return sys.executable
    return target.python


def _holder(note: Any) -> str:
    if not isinstance(note, dict) or "run_id" not in note:
        return "another run"
    return f"run {str(note['run_id'])[:64]} (process {str(note.get('pid'))[:16]})"
