"""Bring a large file from a board: in pieces, after every break from where it broke off.

What has come lies in a file here, so that a later session goes on with it. The file counts only
once its hash is the board's.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from harness.board.board import Board, Digest
from harness.board.patience import Patience
from harness.errors import CommandFailed, Unreachable
from reports.results.write import storage

CHUNK_BYTES = 1 << 20
ATTEMPTS = 2  # at a file whose hash turns out to be another: one that came before may be of old


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large a file may be, and how it is cut; smaller pieces follow one that came too late."""

    most_bytes: int = 2 << 30  # more readings than are ever evaluated
    piece_bytes: int = 4 << 20
    least_piece_bytes: int = 64 << 10
    piece_deadline_s: float = 60.0


LIMITS = Limits()


def fetch_file(
    board: Board,
    path: str,
    into: Path,
    *,
    patience: Patience,
    stop: threading.Event,
    limits: Limits | None = None,
) -> bool:
    """Copy a board's file whole; returns False where the board has no such file.

    Args:
        board: where it is.
        path: on the board.
        into: the file here; what an earlier attempt left in it is continued.
        patience: with a connection that breaks off.
        stop: cuts the waiting for a lost connection short.
        limits: on sizes and times, where they are not LIMITS.

    Raises:
        CommandFailed: it is too large, or arrives damaged.
        Unreachable: the connection is gone for longer than the patience lasts.
        StorageError: it cannot be written here.
    """
    limits = limits or LIMITS
    digest = _digest(board, path, patience, stop)
    if digest is None:
        return False
    if digest.size > limits.most_bytes:
        raise CommandFailed(
            board.target.name,
            f"{path} is {digest.size} bytes long, more than the {limits.most_bytes} that are "
            "fetched",
            remedy="it stays on the board: copy it by hand, and measure fewer rounds in one run",
        )
    for _ in range(ATTEMPTS):
        _copy(board, path, into, digest.size, patience, stop, limits)
        if _sha256(into) == digest.sha256:
            return True
        with storage(into):
            into.unlink()
    raise CommandFailed(
        board.target.name,
        f"{path} was damaged on its way from the board",
        remedy="it stays on the board; its disk may be failing: check `dmesg` there",
    )


def _digest(board: Board, path: str, patience: Patience, stop: threading.Event) -> Digest | None:
    while True:
        try:
            digest = board.digest(path)
        except Unreachable as error:
            _wait(board, error, patience, stop)
        else:
            patience.heard()
            return digest


def _wait(board: Board, error: Unreachable, patience: Patience, stop: threading.Event) -> None:
    """Wait before the next attempt; give up where the user has interrupted the run."""
    board.lost(error, patience, stop)
    if stop.is_set():
        raise error


def _copy(
    board: Board,
    path: str,
    into: Path,
    size: int,
    patience: Patience,
    stop: threading.Event,
    limits: Limits,
) -> None:
    """Append to the file here until it is as long as the board's was."""
    piece_bytes = limits.piece_bytes
    with storage(into), open(into, "ab", opener=_for_this_user_alone) as file:
        if file.tell() > size:
            file.truncate(0)
        while (offset := file.seek(0, 2)) < size:
            wanted = min(piece_bytes, size - offset)
            try:
                piece = board.piece(path, offset, wanted, limits.piece_deadline_s)
            except Unreachable as error:
                piece_bytes = max(limits.least_piece_bytes, piece_bytes // 4)
                _wait(board, error, patience, stop)
                continue
            if not piece:  # the file on the board has become shorter: its hash will say so
                return
            patience.heard()
            file.write(piece)
            file.flush()


def _for_this_user_alone(path: str, flags: int) -> int:
    """Open a file that nobody else may read: what a program on a board prints is not masked yet."""
    return os.open(path, flags, 0o600)


def _sha256(path: Path) -> str:
    sha256 = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
    return sha256.hexdigest()
