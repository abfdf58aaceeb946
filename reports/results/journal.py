"""A target's journal: one line of JSON for each block that ended, in the order they ended.

The board writes it and the controller copies it line by line. A run that is resumed measures
again what was interrupted, so that an order can be met twice: ``one_of_each_order`` says which
record counts, here and in every report.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reports.results.documents import Malformed, ResultError, check_schema, parse, typed
from reports.results.fields import LATEST_S
from reports.results.power import Window
from reports.results.records import BlockRecord
from reports.results.throttle import throttled
from reports.results.write import storage, write_bytes_atomic
from workloads.spec.messages import SCHEMA, loads

MAX_LINE_BYTES = 64 << 20
MAX_BLOCKS = 1_000_000
IDENTITY = (  # of a block, without which its record says nothing
    "order", "round", "slot", "kind", "case", "status", "verification", "refused",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What a journal holds: one block of each order, the windows of the idle machine, notes."""

    blocks: tuple[BlockRecord, ...]
    idle: tuple[Window, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JournalLine:
    """One line as a board sent it: its text, newline included, and what it says."""

    text: str
    content: dict[str, Any]


def append_journal(path: Path, lines: bytes) -> None:
    """Append complete lines and sync them; what cannot be written whole is taken back.

    A journal that a crash has cut in mid-line gets its newline first, so that only the cut line
    is lost.

    Raises:
        StorageError: they cannot be written.
    """
    if not lines:
        return
    with storage(path):
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            end = os.lseek(file, 0, os.SEEK_END)
            if end > 0 and os.pread(file, 1, end - 1) != b"\n":
                lines = b"\n" + lines
            if not lines.endswith(b"\n"):
                lines += b"\n"
            _append(file, lines, end)
        finally:
            os.close(file)


def _append(file: int, content: bytes, end: int) -> None:
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file, end)
        raise


def trim_journal(path: Path) -> bytes:
    """Cut off what a crash left after the last whole line; returns the lines that stay.

    Raises:
        StorageError: it cannot be written.
    """
    if not path.exists():
        return b""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) != len(content):
        write_bytes_atomic(path, whole)
    return whole


def journal_line(record: Mapping[str, Any]) -> JournalLine | None:
    """Return the journal's line in a record that a board sent; None where it is not a line.

    It has to be one line of printable text: what a board breaks in two would break the journal.
    """
    text = record.get("line")
    if not isinstance(text, str) or not text.endswith("\n") or not text[:-1].isprintable():
        return None
    try:
        content = loads(text)
    except (ValueError, RecursionError):
        return None
    return JournalLine(text=text, content=content) if isinstance(content, dict) else None


def read_journal(path: Path) -> Journal:
    """Read a journal; what is not a block becomes a note.

    Raises:
        ResultError: more blocks than any run has.
    """
    blocks: list[BlockRecord] = []
    idle: list[Window] = []
    notes: list[str] = []
    garbage = 0
    for line, whole in _lines(path):
        document = parse(line, constant=float)  # its field is named, as any that cannot be
        if isinstance(document, dict) and document.get("type", "block") != "block":
            idle += _idle_window(document)
            continue
        try:
            blocks.append(_without_throttling(block_record(document, path)))
        except ResultError as error:
            if not whole:
                notes.append("the journal's last line is cut off: its block does not count")
                continue
            garbage += 1
            if not isinstance(error, Malformed):
                notes.append(str(error))
        if len(blocks) > MAX_BLOCKS:
            raise ResultError(f"{path}: more than {MAX_BLOCKS} blocks")
    if garbage:
        notes.append(f"{garbage} line(s) of the journal are not blocks and do not count")
    return Journal(blocks=one_of_each_order(blocks), idle=tuple(sorted(idle)), notes=tuple(notes))


def one_of_each_order(blocks: Iterable[BlockRecord]) -> tuple[BlockRecord, ...]:
    """Return the record that counts of each order, sorted by it: the last ok one, else the last."""
    kept: dict[int, BlockRecord] = {}
    for block in blocks:
        earlier = kept.get(block.order)
        if earlier is None or block.status == "ok" or earlier.status != "ok":
            kept[block.order] = block
    return tuple(kept[order] for order in sorted(kept))


def block_record(document: object, path: Path) -> BlockRecord:
    """Return one line's block; one with a field that cannot be is invalid and has no figures.

    Raises:
        ResultError: it is not one, or of a newer major schema.
    """
    if not isinstance(document, dict):
        raise Malformed(f"{path}: a line is not a JSON object")
    check_schema(document.get("schema", SCHEMA), path)
    try:
        return typed(BlockRecord, document, path)
    except Malformed as problem:
        return _without_figures(document, path, problem)


def _without_figures(document: Mapping[str, Any], path: Path, problem: Malformed) -> BlockRecord:
    """Return what says which block it was and how it ended, and what is wrong with its record.

    Raises:
        Malformed: not even that can be read.
    """
    identity = {name: document[name] for name in IDENTITY if name in document}
    block = typed(BlockRecord, identity, path)
    wrong = f"its record is broken: {str(problem).partition(' is broken: ')[2]}"
    if block.status == "ok":
        return replace(block, status="invalid", reason=wrong)
    reason = document.get("reason")
    return replace(block, reason=f"{reason}; {wrong}" if isinstance(reason, str) else wrong)


def _without_throttling(block: BlockRecord) -> BlockRecord:
    """Return the block; one during which the board throttled is not ok."""
    evidence = throttled(block.state_before, block.state_after)
    if block.kind in ("timing", "sentinel") and block.status == "ok" and evidence:
        return replace(block, status="throttled", reason=evidence)
    return block


def _idle_window(document: Mapping[str, Any]) -> list[Window]:
    """Return the window of a record of the idle machine, if it is one."""
    window = document.get("window_s")
    if document.get("type") != "idle" or not isinstance(window, list) or len(window) != 2:
        return []
    if not all(isinstance(edge, (int, float)) and abs(edge) <= LATEST_S for edge in window):
        return []
    begin, end = (float(edge) for edge in window)
    return [(begin, end)] if begin < end else []


def _lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield the lines and whether each is whole; an overlong one is cut and its rest dropped."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            whole = line.endswith(b"\n")
            rest = line
            while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
                rest, whole = file.readline(MAX_LINE_BYTES), True
            if line.strip():
                yield line, whole
