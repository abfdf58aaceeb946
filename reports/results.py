"""The result folder: writes it, and hands on what reads it (``reading``).

``results/<run-id>/`` holds run.json, targets/<target>/{session.json, probe.json, journal.jsonl,
power.json, power.csv.gz}, report.html and MANIFEST.sha256. Everything is written whole or not at
all and synced, so that a crash or a full disk costs at most the block that was being measured.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from reports.reading import (
    CALIBRATION,
    JOURNAL,
    MANIFEST,
    POWER_MAP,
    POWER_TRACE,
    PROBE,
    REPORT,
    RUN,
    SESSION,
    ResultProblem,
    check_target_name,
    load_run,
    read_limited,
    read_trace,
)
from workloads.messages import SCHEMA, to_json

__all__ = [
    "CALIBRATION",
    "JOURNAL",
    "MANIFEST",
    "POWER_MAP",
    "POWER_TRACE",
    "PROBE",
    "REPORT",
    "RUN",
    "SESSION",
    "Change",
    "ResultProblem",
    "ResultStorageProblem",
    "append_journal",
    "check_target_name",
    "create_run",
    "load_run",
    "manifest_changes",
    "read_trace",
    "renew_in_manifest",
    "storage",
    "target_folder",
    "verify_manifest",
    "write_bytes_atomic",
    "write_json_atomic",
    "write_manifest",
]


class ResultStorageProblem(Exception):
    """The result folder cannot be written: the path and the system's own words."""

    def __init__(self, path: Path, error: OSError) -> None:
        """Keep the path and the cause apart."""
        super().__init__(f"cannot write {path}: {error.strerror or error}")
        self.path = path
        self.errno = error.errno


def create_run(directory: Path, run_json: Mapping[str, Any]) -> Path:
    """Make a new run folder with a unique id, write its run.json, and return its path.

    ``schema`` and ``run_id`` are filled in.

    Raises:
        ResultStorageProblem: the folder cannot be made or written.
    """
    while True:
        run_id = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        run = directory / run_id
        with storage(run):
            directory.mkdir(parents=True, exist_ok=True)
            try:
                run.mkdir()
            except FileExistsError:
                continue
            (run / "targets").mkdir()
        write_json_atomic(run / RUN, {**run_json, "schema": SCHEMA, "run_id": run_id})
        return run


def target_folder(run: Path, target: str) -> Path:
    """Return the folder of one target; made if need be.

    Raises:
        ValueError: the name cannot be a folder's.
        ResultStorageProblem: the folder cannot be made.
    """
    check_target_name(target)
    folder = run / "targets" / target
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_json_atomic(path: Path, value: Any) -> None:
    """Write strict JSON beside the file, sync it, and move it into place.

    Raises:
        ValueError: NaN or infinity somewhere in the value.
        ResultStorageProblem: it cannot be written.
    """
    text = json.dumps(to_json(value), allow_nan=False, indent=1, ensure_ascii=False)
    # Arguments that are not UTF-8 reach Python as lone surrogates, which no JSON reader takes.
    write_bytes_atomic(path, text.encode("utf-8", "replace") + b"\n")


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write the file whole or not at all, synced.

    Raises:
        ResultStorageProblem: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with storage(path):
        try:
            with open(beside, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise


def append_journal(path: Path, lines: bytes) -> None:
    """Append complete lines and sync them; what cannot be written whole is taken back.

    A journal that a crash has cut in mid-line gets its newline first, so that only the cut line
    is lost.

    Raises:
        ResultStorageProblem: they cannot be written.
    """
    if not lines:
        return
    with storage(path):
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            end = os.lseek(file, 0, os.SEEK_END)
            cut = end > 0 and os.pread(file, 1, end - 1) != b"\n"
            whole = (b"\n" if cut else b"") + lines + (b"" if lines.endswith(b"\n") else b"\n")
            _append(file, whole, end)
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


def write_manifest(run: Path) -> None:
    """Write MANIFEST.sha256 over all other files of the run, sorted by path.

    Raises:
        ResultStorageProblem: it cannot be written.
    """
    with storage(run):
        lines = [f"{_sha256(run / name)}  {name}\n" for name in _files(run)]
    write_bytes_atomic(run / MANIFEST, "".join(lines).encode())


def renew_in_manifest(run: Path, name: str) -> None:
    """Write one file's new hash into the manifest; what it says of the others stays.

    A run without a manifest has not ended and gets none.

    Raises:
        ResultStorageProblem: it cannot be written.
    """
    if not (run / MANIFEST).is_file():
        return
    listed = _read_manifest(run)
    with storage(run):
        listed[name] = _sha256(run / name)
    lines = [f"{listed[one]}  {one}\n" for one in sorted(listed)]
    write_bytes_atomic(run / MANIFEST, "".join(lines).encode())


@dataclass(frozen=True, kw_only=True)
class Change:
    """A file whose hash is not the manifest's; an empty hash stands for no such file."""

    name: str
    listed: str
    present: str


def manifest_changes(run: Path) -> tuple[Change, ...]:
    """Return the files that are missing, changed or not listed, sorted by name.

    Raises:
        ResultProblem: there is no readable manifest.
    """
    listed = _read_manifest(run)
    present = set(_files(run))
    hashes = {name: _sha256(run / name) if name in present else "" for name in {*listed, *present}}
    return tuple(
        Change(name=name, listed=listed.get(name, ""), present=hashes[name])
        for name in sorted(hashes)
        if listed.get(name, "") != hashes[name]
    )


def verify_manifest(run: Path) -> tuple[str, ...]:
    """Return one complaint per file that is missing, changed or not listed; none if all is well.

    Raises:
        ResultProblem: there is no readable manifest.
    """
    return tuple(_complaint(change) for change in manifest_changes(run))


def _complaint(change: Change) -> str:
    if not change.present:
        return f"{change.name}: missing"
    return f"{change.name}: {'changed' if change.listed else 'not in the manifest'}"


def _read_manifest(run: Path) -> dict[str, str]:
    text = read_limited(run / MANIFEST)
    if text is None:
        raise ResultProblem(f"{run / MANIFEST} is missing: the run did not end, or it was removed")
    pairs = (line.split("  ", 1) for line in text.decode("utf-8", "replace").splitlines())
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def _files(run: Path) -> list[str]:
    files = (path for path in run.rglob("*") if path.is_file() and path.name != MANIFEST)
    return sorted(path.relative_to(run).as_posix() for path in files)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn the system's errors of what is written inside into a problem that names the file.

    Raises:
        ResultStorageProblem: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise ResultStorageProblem(Path(error.filename or path), error) from error
