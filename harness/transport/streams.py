"""What the transports share: a command's result, bounded reading, and cutting bytes into lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

OUTPUT_LIMIT_BYTES = 64 * 2**20
LINE_LIMIT_BYTES = 64 * 2**20
CHUNK_BYTES = 2**15
TAIL_BYTES = 2**12


class TooMuch(Exception):
    """More bytes came than the limit allows."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A command that has ended; a negative exit status means that a signal ended it."""

    exit_status: int
    stdout: bytes
    stderr: bytes


def read_all(read: Callable[[int], bytes], limit_bytes: int) -> bytes:
    """Return everything up to the end of the stream.

    Raises:
        TooMuch: There is more than `limit_bytes`.
    """
    chunks: list[bytes] = []
    left = limit_bytes
    while chunk := read(CHUNK_BYTES):
        left -= len(chunk)
        if left < 0:
            raise TooMuch
        chunks.append(chunk)
    return b"".join(chunks)


def read_tail(read: Callable[[int], bytes]) -> bytes:
    """Drain the stream and return the last `TAIL_BYTES` of it."""
    tail = b""
    while chunk := read(CHUNK_BYTES):
        tail = (tail + chunk)[-TAIL_BYTES:]
    return tail


def complete_lines(chunks: Iterable[bytes], limit_bytes: int) -> Iterator[bytes]:
    """Yield every line that ends with a newline, without it; an unfinished last line is dropped.

    Raises:
        TooMuch: A line is longer than `limit_bytes`.
    """
    pending: list[bytes] = []  # of one line; joined once, so a long line costs O(n)
    size = 0
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            if size + len(piece) > limit_bytes:
                raise TooMuch
            yield b"".join((*pending, piece))
            pending, size = [], 0
        pending.append(rest)
        size += len(rest)
        if size > limit_bytes:
            raise TooMuch


def last_words(stderr: bytes) -> str:
    """Return the last line that says something, for a message."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:300] if lines else ""
