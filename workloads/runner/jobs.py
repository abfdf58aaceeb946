"""A job's folder on the board: the names of its files, and what its journal holds."""

import json
import os
from typing import Any, Dict, Iterator, Optional, Set

from workloads.spec.messages import Job, dump, job_from_json, loads

LOG_TAIL_BYTES = 4000


class JobFolder:
    """The names of the files in a job's folder on the board."""

    def __init__(self, path: str) -> None:
        """Remember the folder's absolute path."""
        self.path = os.path.abspath(path)
        self.job = os.path.join(self.path, "job.json")
        self.journal = os.path.join(self.path, "journal.jsonl")
        self.power = os.path.join(self.path, "power.csv")
        self.runner_lock = os.path.join(self.path, "runner.lock")
        self.quiet_lock = os.path.join(self.path, "quiet.lock")
        self.runner_log = os.path.join(self.path, "runner.log")
        self.block_log = os.path.join(self.path, "block.log")
        self.result = os.path.join(self.path, "block.json")

    def read_job(self) -> Job:
        """Return the job that the controller left here."""
        with open(self.job) as file:
            return job_from_json(json.load(file))


def append_journal(journal: str, record: Dict[str, Any]) -> None:
    """Append one line and see it on the disk; a line that a crash has cut is ended first."""
    cut = ends_cut(journal)
    fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(fd, "ab") as file:
        file.write((b"\n" if cut else b"") + dump(record).encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_journal(journal: str) -> Iterator[Dict[str, Any]]:
    """Yield the journal's records; a line that a power loss has cut is left out."""
    if not os.path.exists(journal):
        return
    with open(journal, "rb") as file:
        for line in file:
            try:
                record = loads(line.decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record


def finished_orders(journal: str) -> Set[int]:
    """Return the orders that are not measured again: all but those that were interrupted."""
    done: Set[int] = set()
    for record in read_journal(journal):
        if record.get("type") != "block" or record.get("status") == "interrupted":
            continue
        if isinstance(record.get("order"), int):
            done.add(record["order"])
    return done


def refused_cases(journal: str) -> Dict[str, str]:
    """Return case key -> reason of the kernels that were refused, as the journal has it."""
    refused: Dict[str, str] = {}
    for record in read_journal(journal):
        if is_refusal(record):
            refused[str(record.get("case_key"))] = str(record.get("reason"))
    return refused


def is_refusal(record: Dict[str, Any]) -> bool:
    """Return whether a block refuses its kernel: by a failed check or after a window."""
    if record.get("kind") == "check":
        return record.get("status") not in ("ok", "interrupted")
    return record.get("refused") is True


def ends_cut(path: str) -> bool:
    """Return whether the file's last line was cut off, by a power loss for instance."""
    if not os.path.exists(path) or not os.path.getsize(path):
        return False
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """Return the JSON object in a file; None if it does not hold one."""
    try:
        with open(path) as file:
            result = json.load(file)
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def tail(path: str) -> str:
    """Return the end of a log; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - LOG_TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
