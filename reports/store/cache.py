"""The figures of all runs of a store, read through a cache on this machine.

A name in a store always stands for the same content, so nothing is fetched twice. Compacted files
are cached as they are, the summaries of single runs together in one file. Runs that are no longer
in the store are not shown any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reports.results.read import ResultError
from reports.results.write import StorageError, write_bytes_atomic
from reports.store.files import StoreError, StoreFiles, StoreRefused, Vanished
from reports.store.store import (
    COMPACT,
    MAX_COMPACT_BYTES,
    SUMMARY,
    compacted_names,
    single_run_names,
)
from reports.store.tables import (
    StoredRun,
    Summaries,
    chosen,
    from_parquet,
    merged,
    nothing,
    to_parquet,
)

ATTEMPTS = 5
SINGLE_RUNS_CACHE = "single-runs.parquet"
MANY_SINGLE_RUNS = 1000  # from here on, a note recommends compaction


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The runs of a store, each run id once, and what a user should know about them."""

    summaries: Summaries
    notes: tuple[str, ...] = ()


def load(url: str, cache: Path | None = None) -> Loaded:
    """Return the figures of all runs of a store.

    Args:
        url: of the store.
        cache: the folder of the cache; None for the user's cache folder.

    Raises:
        StoreError: the store cannot be reached.
        StoreRefused: the URL cannot be that of a store.
    """
    files = StoreFiles(url)
    folder = (cache or _cache_home()) / hashlib.sha256(files.cache_key.encode()).hexdigest()[:16]
    for _ in range(ATTEMPTS):
        with contextlib.suppress(Vanished):  # the store was compacted meanwhile: list it again
            return _load(files, folder)
    raise StoreError(f"{files.url} changes faster than it can be read — try again")


def _load(files: StoreFiles, folder: Path) -> Loaded:
    # Single runs are listed first: if they are compacted now, the second list has them.
    single_runs = single_run_names(files)
    compacted = compacted_names(files)
    notes: list[str] = []
    parts = []
    for name in compacted:
        part = _compacted(files, name, folder, notes)
        if part is not None:
            parts.append(part)
    _remove_others(folder, set(compacted))
    digests = {digest for part in parts for digest in part.digests}
    single = {name: digest for name, digest in single_runs.items() if digest not in digests}
    parts.append(_single(files, single, folder, notes))
    if len(single) >= MANY_SINGLE_RUNS:
        notes.append(
            f"{len(single)} runs are not compacted — "
            f"`gfbench store compact --store {files.url}` makes queries quicker"
        )
    return _without_duplicates(merged(parts), notes)


def _compacted(files: StoreFiles, name: str, folder: Path, notes: list[str]) -> Summaries | None:
    """Return a compacted file, from the cache or fetched into it; None if it is not valid."""
    cached = folder / name
    with contextlib.suppress(ResultError):
        if cached.is_file():
            return from_parquet(cached, name)
    try:
        content = files.read(f"{COMPACT}/{name}", MAX_COMPACT_BYTES)
        part = from_parquet(content, f"{files.url}/{COMPACT}/{name}")
    except (ResultError, StoreRefused) as problem:
        notes.append(f"left out: {problem}")
        return None
    _cache(cached, content)
    return part


def _single(
    files: StoreFiles, wanted: Mapping[str, str], folder: Path, notes: list[str]
) -> Summaries:
    """Return the summaries of single runs (digest by name), fetching what the cache lacks."""
    cached = folder / SINGLE_RUNS_CACHE
    part = nothing()
    with contextlib.suppress(ResultError):
        if cached.is_file() and wanted:
            part = from_parquet(cached, cached.name)
    known = part.digests
    missing = [name for name, digest in wanted.items() if digest not in known]
    parts = [chosen(part, wanted.values())]
    for path, content in files.read_many([f"{SUMMARY}/{name}" for name in missing]).items():
        try:
            fetched = from_parquet(content, f"{files.url}/{path}")
            _check_name(fetched, path)
        except ResultError as problem:
            notes.append(f"left out: {problem}")
        else:
            parts.append(fetched)
    if len(parts) == 1:
        return parts[0]
    part = merged(parts)
    _cache(cached, to_parquet(part))
    return part


def _check_name(part: Summaries, path: str) -> None:
    """Refuse a summary of another run than its file's name says."""
    stem = path.rpartition("/")[2].removesuffix(".parquet")
    if [f"{run.run_id}.{run.digest}" for run in part.runs] != [stem]:
        raise ResultError(f"{path} holds a different run from the one in its name")


def _without_duplicates(part: Summaries, notes: list[str]) -> Loaded:
    """Choose one content for each run id, the same for every reader; add a note on the others."""
    used: dict[str, StoredRun] = {}
    for run in sorted(part.runs, key=lambda run: run.digest):
        if used.setdefault(run.run_id, run) is not run:
            notes.append(
                f"run {run.run_id} is there in two versions, pushed at the same moment: "
                f"{used[run.run_id].digest[:8]} is used, {run.digest[:8]} left out"
            )
    summaries = chosen(part, {run.digest for run in used.values()})
    return Loaded(summaries=summaries, notes=tuple(notes))


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove compacted files from the cache that the store does not have any more."""
    with contextlib.suppress(OSError):
        for path in folder.glob("*.parquet"):
            if path.name not in names and path.name != SINGLE_RUNS_CACHE:
                path.unlink()


def _cache(path: Path, content: bytes) -> None:
    """Write a file into the cache; without write access, nothing is cached."""
    with contextlib.suppress(OSError, StorageError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(path, content)


def _cache_home() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "gfbench" / "stores"
