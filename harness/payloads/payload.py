"""Pack workloads/ into one file that a board's Python runs: the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import workloads
from harness.errors import PayloadError

_PACKAGE = "workloads"
_MAIN = b"""\
import sys

from workloads.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
_MODE = 0o100644
_UNIX = 3


@dataclass(frozen=True, kw_only=True)
class Payload:
    """An archive that `python3 NAME` runs, named by its content."""

    name: str
    data: bytes
    sha256: str


def pack(folder: Path | None = None, extra: Mapping[str, bytes] | None = None) -> Payload:
    """Pack the folder (default: the workloads that are installed) with `extra` files beside it.

    `extra` maps paths in the archive, such as `workloads/kernels/mine.py`, to their contents.

    Raises:
        PayloadError: The folder is not one of workloads, or an extra file's path cannot be.
    """
    folder = Path(workloads.__file__).parent if folder is None else folder
    files = {"__main__.py": _MAIN, **_read(folder)}
    if f"{_PACKAGE}/__main__.py" not in files:
        raise PayloadError(f"{folder} has no __main__.py — it is not a folder of workloads")
    for path, content in (extra or {}).items():
        _check(path, files)
        files[path] = content
    data = _archive(files)
    sha256 = hashlib.sha256(data).hexdigest()
    return Payload(name=f"gfbench-{sha256[:12]}.pyz", data=data, sha256=sha256)


def _read(folder: Path) -> dict[str, bytes]:
    try:
        return {
            f"{_PACKAGE}/{path.relative_to(folder).as_posix()}": path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and _travels(path.relative_to(folder))
        }
    except OSError as error:
        raise PayloadError(f"cannot read {error.filename}: {error.strerror}") from error


def _travels(path: Path) -> bool:
    """Return whether a file is part of the payload: not the controller's suites, not a cache."""
    if any(part.startswith(".") or part == "__pycache__" for part in path.parts):
        return False
    return not (path.parts[0] == "suites" and path.suffix == ".yaml") and path.suffix != ".pyc"


def _check(path: str, files: Mapping[str, bytes]) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or ".." in parts or "\\" in path or ":" in path:
        raise PayloadError(f"{path!r} is not a path inside the payload — use folder/file.py")
    if path in files:
        raise PayloadError(f"{path} is already in the payload — give the file another name")


def _archive(files: Mapping[str, bytes]) -> bytes:
    """Write a zip that depends on names and contents only."""
    buffer = io.BytesIO()
    # Stored: what zlib makes of the same bytes differs between its versions.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for info, content in _entries(files):
            archive.writestr(info, content)
    return buffer.getvalue()


def _entries(files: Mapping[str, bytes]) -> Iterator[tuple[zipfile.ZipInfo, bytes]]:
    for name in sorted(files):
        info = zipfile.ZipInfo(name, _EPOCH)
        info.create_system = _UNIX
        info.external_attr = _MODE << 16
        yield info, files[name]


def content(payload: Payload, path: str) -> bytes:
    """Return a file of a payload.

    Raises:
        PayloadError: it is not in there.
    """
    with zipfile.ZipFile(io.BytesIO(payload.data)) as archive:
        try:
            return archive.read(path)
        except KeyError:
            raise PayloadError(f"{payload.name} has no {path}") from None
