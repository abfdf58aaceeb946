"""Writes the result folder; ``read`` reads it.

``results/<run-id>/`` holds run.json, targets/<target>/{session.json, probe.json, journal.jsonl,
power.json, power.csv.gz}, report.html and MANIFEST.sha256. Everything is written whole or not at
all and synced, so that a crash or a full disk costs at most the block that was being measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from reports.errors import GfbenchError
from reports.results.files import RUN, check_target_name
from reports.text.masking import masked_document
from workloads.spec.messages import SCHEMA, to_json


class StorageError(GfbenchError):
    """The result folder cannot be written: the path and the system's own message."""

    exit_code = 4

    def __init__(self, path: Path, error: OSError) -> None:
        """Keep the path and the cause apart."""
        super().__init__(f"cannot write {path}: {error.strerror or error}")
        self.path = path
        self.errno = error.errno


def create_run(directory: Path, run_json: Mapping[str, Any]) -> Path:
    """Make a new run folder with a unique id, write its run.json, and return its path.

    ``schema`` and ``run_id`` are filled in.

    Raises:
        StorageError: the folder cannot be made or written.
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
        StorageError: the folder cannot be made.
    """
    check_target_name(target)
    folder = run / "targets" / target
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_json_atomic(path: Path, value: Any) -> None:
    """Write strict JSON, with secrets masked, beside the file, sync it, and rename it.

    Raises:
        ValueError: NaN or infinity somewhere in the value.
        StorageError: it cannot be written.
    """
    text = json.dumps(
        masked_document(to_json(value)), allow_nan=False, indent=1, ensure_ascii=False
    )
    # Arguments that are not UTF-8 reach Python as lone surrogates, which no JSON reader takes.
    write_bytes_atomic(path, text.encode("utf-8", "replace") + b"\n")


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write the file whole or not at all, synced.

    Raises:
        StorageError: it cannot be written.
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


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn the system's errors of what is written inside into a problem that names the file.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(Path(error.filename or path), error) from error
