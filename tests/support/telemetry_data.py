"""The recorded output of real boards in tests/data/telemetry."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "data" / "telemetry"


def lines(name: str) -> list[bytes]:
    """Return the lines of a log, without their newlines."""
    return (FOLDER / name).read_bytes().splitlines()


def manifest(name: str) -> dict[str, str]:
    """Return the files of a `path<TAB>content` manifest, as a probe lists them."""
    files: dict[str, str] = {}
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            path, _, content = line.partition("\t")
            files[path] = content.replace("\\n", "\n")
    return files


def text(name: str) -> str:
    """Return a text file."""
    return (FOLDER / name).read_text(encoding="utf-8")
