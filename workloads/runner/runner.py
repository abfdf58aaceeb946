"""The detached runner: block after block into the journal, whatever becomes of the connection.

Every block is a child process: forked from a parent that has imported torch and run nothing
(``isolation: fork``) or started fresh (``spawn``). A block of another revision runs that revision's
payload, forked from a parent of its own or started fresh. After each block one line is appended to
journal.jsonl and synced. Started again on the same folder, the runner does what is missing.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from typing import Any, Dict, List, Optional, Sequence

from workloads.machine import locks
from workloads.machine.causes import ending, remedy_of_ending, with_remedy
from workloads.machine.deaths import die_with
from workloads.machine.state import machine_state
from workloads.measure import checked
from workloads.measure.block import Settings, load, run_block
from workloads.measure.bounds import impossible
from workloads.runner.handover import VARIABLE, ForgedResult, Handover, hand_over
from workloads.runner.jobs import (
    JobFolder,
    append_journal,
    finished_orders,
    is_refusal,
    read_journal,
    read_json,
    refused_cases,
    tail,
)
from workloads.runner.parents import Parent
from workloads.runner.pilot import Pilot
from workloads.runner.sampler_process import SamplerProcess
from workloads.spec.memory_estimates import memory_estimate_bytes
from workloads.spec.messages import SCHEMA, Block, Job, to_json

QUIET_GAP_S = 0.04
SETTLE_S = 1.0  # until the machine is idle after a block
REST_S = 0.5


class Runner:
    """Runs those blocks of a job that its journal does not have yet."""

    def __init__(self, folder: JobFolder) -> None:
        """Read the job; nothing is started yet."""
        self.folder = folder
        self.job = folder.read_job()
        self._quiet = locks.Lock(folder.quiet_lock)
        self._sampler = SamplerProcess(folder, self.job)
        self._pid = os.getpid()
        self._child: Optional[int] = None
        self._stopping = False
        self._timed_out = False
        self._refused = refused_cases(folder.journal)
        self._handover = Handover(folder.path)
        self._cpu_s: Optional[float] = None  # of the last block's process, by the system
        self._parents: Dict[str, Parent] = {}
        self._pilot = self._pilot_so_far()

    def run(self) -> None:
        """Run what is missing, with the sampler beside it; a signal ends it after one block."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGALRM, self._on_alarm)
        done = finished_orders(self.folder.journal)
        blocks = [block for block in self.job.blocks if block.order not in done]
        if not blocks:
            return
        self._sampler.use(1.0)
        try:
            if self.job.isolation == "fork":
                self._import_all(blocks)
            self._watch_idle("before")
            for block in blocks:
                if self._stopping:
                    break
                self._sampler.use(block.sampling)
                record = self._without_measuring(block) or self._measure(block)
                append_journal(self.folder.journal, record)
                self._pilot.note(block, record)
                if is_refusal(record):
                    self._refused[block.case.key] = record["reason"]
                elif block.kind == "check" and record["status"] == "ok":
                    checked.remember(block.case, record["check"])
            self._sampler.use(1.0)
            self._watch_idle("after")
        finally:
            self._sampler.stop()
            for parent in self._parents.values():
                parent.end()
            self._handover.close()

    def _import_all(self, blocks: List[Block]) -> None:
        """Import once, here and in a parent for each other payload, what only children will run."""
        load()
        revisions = {block.case.revision for block in blocks}
        for revision in sorted(revisions & set(self.job.payloads)):
            payload = self._payload(revision)
            self._parents[revision] = Parent(
                payload, self.folder, self._enter_child, self._handover.fd
            )

    def _forks(self, block: Block) -> bool:
        return self.job.isolation == "fork" and block.case.revision not in self.job.payloads

    def _watch_idle(self, when: str) -> None:
        """Leave the machine alone, so that its idle power before and after the blocks is known."""
        if self.job.idle_s <= 0 or self._stopping:
            return
        self._quiet.acquire(timeout_s=1.0)
        try:
            self._rest(SETTLE_S)
            begin = time.monotonic()
            self._rest(self.job.idle_s)
            window = [begin, time.monotonic()]
        finally:
            self._quiet.release()
        if not self._stopping:
            state = machine_state(self.job.sysroot)
            record = {"schema": SCHEMA, "type": "idle", "place": when, "window_s": window}
            append_journal(self.folder.journal, dict(record, state=state))

    def _rest(self, duration_s: float) -> None:
        """Sleep, but wake up soon after a signal to stop."""
        end = time.monotonic() + duration_s
        while not self._stopping and time.monotonic() < end:
            time.sleep(min(REST_S, max(0.0, end - time.monotonic())))

    def _pilot_so_far(self) -> Pilot:
        """Return the pilot with what the journal has of round 0 already."""
        pilot = Pilot(self.job.pilot)
        blocks = {block.order: block for block in self.job.blocks}
        for record in read_journal(self.folder.journal):
            if record.get("type") == "block" and record.get("order") in blocks:
                pilot.note(blocks[record["order"]], record)
        return pilot

    def _without_measuring(self, block: Block) -> Optional[Dict[str, Any]]:
        """Return the record of a block that need not be measured; None if it has to be."""
        return self._refusal(block) or self._remembered(block) or self._left_out(block)

    def _left_out(self, block: Block) -> Optional[Dict[str, Any]]:
        """Return the record of a block that the pilot round has made superfluous."""
        reason = self._pilot.reason_to_leave_out(block)
        if reason is None:
            return None
        return dict(self._header(block), status="left_out", reason=reason)

    def _refusal(self, block: Block) -> Optional[Dict[str, Any]]:
        """Return the record of a block whose kernel was refused; None if it was not."""
        reason = self._refused.get(block.case.key)
        if reason is None:
            return None
        return dict(self._header(block), status="failed", reason=reason, refused=True)

    def _remembered(self, block: Block) -> Optional[Dict[str, Any]]:
        """Return the record of a check of our own kernel that this machine has passed before."""
        if block.kind != "check" or block.case.revision:
            return None
        result = checked.recall(block.case)
        if result is None:
            return None
        return dict(self._header(block), status="ok", reason=None, check=result, remembered=True)

    def _header(self, block: Block) -> Dict[str, Any]:
        """Return what a block's record says whatever becomes of the block."""
        record: Dict[str, Any] = {
            "schema": SCHEMA,
            "type": "block",
            "case_key": block.case.key,
            "isolation": self.job.isolation,
            "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        record.update(to_json(block))
        return record

    def _measure(self, block: Block) -> Dict[str, Any]:
        """Run one block in a child and return its journal record."""
        record = self._header(block)
        time.sleep(QUIET_GAP_S)  # a follower sends the last block now, not in a window
        self._quiet.acquire(timeout_s=1.0)
        try:
            record["state_before"] = machine_state(self.job.sysroot)
            cpu_s = self._sampler.cpu_s()
            begin = time.monotonic()
            wait_status = self._run_child(block)
            record["window_s"] = [begin, time.monotonic()]
            record["sampler_cpu_s"] = _difference(self._sampler.cpu_s(), cpu_s)
            record["state_after"] = machine_state(self.job.sysroot)
        finally:
            self._quiet.release()
        record.update(self._outcome(block, wait_status, record["window_s"]))
        record["log_tail"] = tail(self.folder.block_log)
        return record

    def _run_child(self, block: Block) -> int:
        """Run the block's process to its end or its deadline; returns its wait status."""
        if os.path.exists(self.folder.result):
            os.unlink(self.folder.result)
        self._timed_out = False
        self._cpu_s = None
        address = self._handover.expect()
        parent = self._parents.get(block.case.revision)
        self._child = parent.fork(block.order, address) if parent else None
        if self._child is None:
            parent = None  # it cannot import its payload: a fresh process will say why
            start = self._fork if self._forks(block) else self._spawn
            self._child = start(block, address)
        signal.setitimer(signal.ITIMER_REAL, self.job.block_timeout_s)
        try:
            if self._stopping:  # the signal came before there was a child to end
                self._kill_child()
            if parent:
                return parent.wait()
            _, wait_status, usage = os.wait4(self._child, 0)
            self._cpu_s = usage.ru_utime + usage.ru_stime
            return wait_status
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._kill_child()  # its own children, if it left any
            self._child = None

    def _fork(self, block: Block, address: str) -> int:
        pid = os.fork()
        if pid:
            _enter_group(pid)  # on both sides of the fork, so that it holds before any signal
            return pid
        try:
            for number in (signal.SIGTERM, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            self._enter_child()
            log = os.open(self.folder.block_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            hand_over(measured(self.job, block), address)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)

    def _spawn(self, block: Block, address: str) -> int:
        argv = [sys.executable, self._payload(block.case.revision), "block"]
        argv += [self.folder.path, str(block.order)]
        with open(self.folder.block_log, "wb") as log:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self._enter_child,
                pass_fds=(self._handover.fd,),
                env=dict(os.environ, **{VARIABLE: address}),
            )
        child.returncode = 0  # _run_child reaps it with wait4, not the Popen object
        return child.pid

    def _payload(self, revision: str) -> str:
        """Return the path of the payload that measures a revision's cases, mostly our own."""
        own = sys.argv[0]
        name = self.job.payloads.get(revision)
        if name is None:
            return own
        return os.path.join(os.path.dirname(own), os.path.basename(name))

    def _enter_child(self) -> None:
        _enter_group(0)
        # One that outlived the runner would measure beside the next and leave its result for it.
        die_with(self._pid)
        try:  # if memory runs out, the block should die, not the board's sshd
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        except OSError:
            pass

    def _outcome(self, block: Block, wait_status: int, window_s: Sequence[float]) -> Dict[str, Any]:
        """Return the child's own result, or what its death means."""
        needed = memory_estimate_bytes(block.case, self.job.unfolds)
        needs = "the case needs about %.2f GB" % (needed / 1e9)
        try:
            result = self._taken(block)
        except ForgedResult as error:
            return _refused_result("kernel %s is refused: %s" % (block.case.kernel, error))
        if result is not None:
            if result["status"] == "out_of_memory":
                result["reason"] = "out of memory, %s: %s" % (needs, result["reason"])
            reason = impossible(result, (window_s[0], window_s[1]), self._cpu_s)
            if reason:
                return _refused_result(
                    "kernel %s is refused: the runner's clock contradicts its figures: %s"
                    % (block.case.kernel, reason)
                )
            return result
        if self._stopping:
            return {"status": "interrupted", "reason": "the run was stopped during this block"}
        if self._timed_out:
            reason = "the block did not end within %g s" % self.job.block_timeout_s
            return {"status": "timeout", "reason": reason}
        if os.WIFSIGNALED(wait_status) and os.WTERMSIG(wait_status) == signal.SIGKILL:
            return {"status": "out_of_memory", "reason": "killed for lack of memory; %s" % needs}
        reason = "the block's process ended with " + ending(wait_status)
        return {"status": "failed", "reason": with_remedy(reason, remedy_of_ending(wait_status))}

    def _taken(self, block: Block) -> Optional[Dict[str, Any]]:
        """Return the result that was handed over; None where the block handed over nothing.

        Older revisions' payloads leave their result in a file. Ours do not, so that such a file
        was written by a kernel.

        Raises:
            ForgedResult: the result was not written by the block.
        """
        result = self._handover.take()
        if not os.path.exists(self.folder.result):
            return result
        if result is None and block.case.revision in self.job.payloads:
            return read_json(self.folder.result)
        name = os.path.basename(self.folder.result)
        raise ForgedResult("something in the block's process wrote %s as its result" % name)

    def _on_stop(self, number: int, stack: Any) -> None:
        self._stopping = True
        self._kill_child()

    def _on_alarm(self, number: int, stack: Any) -> None:
        self._timed_out = True
        self._kill_child()

    def _kill_child(self) -> None:
        if self._child is not None:
            _signal_group(self._child, signal.SIGKILL)


def measured(job: Job, block: Block) -> Dict[str, Any]:
    """Measure a block in this process and return its result."""
    settings = Settings(job.min_window_s, job.pauses, job.energy)
    return run_block(block, job.threads, settings)


def _refused_result(reason: str) -> Dict[str, Any]:
    return {"status": "failed", "reason": reason, "refused": True}


def _difference(after: Optional[float], before: Optional[float]) -> Optional[float]:
    return None if after is None or before is None else after - before


def _enter_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, number)
