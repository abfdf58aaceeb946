"""The manifest of a result folder: every file with its SHA-256."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from reports.results.files import POWER_PART
from reports.results.read import MANIFEST, ResultError, read_limited
from reports.results.write import storage, write_bytes_atomic


def write_manifest(run: Path) -> None:
    """Write MANIFEST.sha256 over all other files of the run, sorted by path.

    Raises:
        StorageError: it cannot be written.
    """
    with storage(run):
        lines = [f"{_sha256(run / name)}  {name}\n" for name in _files(run)]
    write_bytes_atomic(run / MANIFEST, "".join(lines).encode())


def renew_in_manifest(run: Path, name: str) -> None:
    """Write one file's new hash into the manifest; what it says of the others stays.

    A run without a manifest has not ended and gets none.

    Raises:
        StorageError: it cannot be written.
    """
    if not (run / MANIFEST).is_file():
        return
    listed = _read_manifest(run)
    with storage(run):
        listed[name] = _sha256(run / name)
    lines = [f"{listed[file]}  {file}\n" for file in sorted(listed)]
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
        ResultError: the manifest cannot be read.
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
        ResultError: the manifest cannot be read.
    """
    return tuple(_complaint(change) for change in manifest_changes(run))


def _complaint(change: Change) -> str:
    if not change.present:
        return f"{change.name}: missing"
    return f"{change.name}: {'changed' if change.listed else 'not in the manifest'}"


def _read_manifest(run: Path) -> dict[str, str]:
    text = read_limited(run / MANIFEST)
    if text is None:
        raise ResultError(f"{run / MANIFEST} is missing: the run did not end, or it was removed")
    pairs = (line.split("  ", 1) for line in text.decode("utf-8", "replace").splitlines())
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def _files(run: Path) -> list[str]:
    left_out = (MANIFEST, POWER_PART)
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in left_out)
    return sorted(path.relative_to(run).as_posix() for path in files)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
