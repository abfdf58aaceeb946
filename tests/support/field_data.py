"""The cases of tests/data/field: inputs as people's boards and meters give them."""

from __future__ import annotations

from pathlib import Path

from telemetry_data import manifest

FOLDER = Path(__file__).resolve().parents[1] / "data" / "field"


def folder_of(case: str) -> Path:
    """Return the folder of a case, which is named after it: H1, TG3."""
    (folder,) = FOLDER.glob(f"{case}-*")
    return folder


def sysroot(case: str) -> dict[str, str]:
    """Return the files of a case's machine, as its probe lists them."""
    return manifest(str(folder_of(case) / "sysroot.tsv"))


def said(case: str, name: str) -> str:
    """Return a text of a case."""
    return (folder_of(case) / name).read_text(encoding="utf-8")
