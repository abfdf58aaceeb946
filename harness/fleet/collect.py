"""Bring home what a job has left on its board; nothing is removed there before it is here."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from harness.board.board import Board
from harness.board.fetch import fetch_file
from harness.board.patience import Patience
from harness.errors import TargetError
from harness.power.files import PowerFiles
from reports.results.write import storage

TRACE_LEFT = "the power trace is not here"


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What a reader has to know of a trace, and what kept it from coming here, if anything did."""

    notes: tuple[str, ...]
    problem: TargetError | None = None


def collect_trace(
    board: Board, folder: str, power: PowerFiles, patience: Patience, stop: threading.Event
) -> Collected:
    """Bring the power trace of a job's folder here; what came stays for the next attempt.

    Raises:
        StorageError: it cannot be written here.
    """
    path = f"{folder}/power.csv"
    try:
        there = fetch_file(board, path, power.part, patience=patience, stop=stop)
    except TargetError as error:
        note = f"{TRACE_LEFT}: {error.message}; on the board it is {path}"
        return Collected(notes=(note,), problem=error)
    if there:
        notes = power.keep(power.part.read_bytes())
        with storage(power.part):
            power.part.unlink()
        return Collected(notes=notes)
    if power.is_sampled and not power.has_trace:
        return Collected(notes=(f"{TRACE_LEFT}: the sampler left no {path} on the board",))
    return Collected(notes=())


def missing_of_journal(board: Board, folder: str, here_bytes: int) -> str:
    """Return a note where not every byte of the board's journal is here; empty where all are."""
    try:
        there = board.digest(f"{folder}/journal.jsonl")
    except TargetError as error:
        return f"{folder} stays on the board: {error.message}"
    if there is None or there.size == here_bytes:
        return ""
    return (
        f"{folder} stays on the board: its journal has {there.size} bytes, and {here_bytes} of "
        "them are here"
    )
