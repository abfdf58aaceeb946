"""The figures of all runs of a store, read through a cache on this machine.

The names in a store stand for unchanging content, so whatever has been fetched once need not be
fetched again: compacted files are kept as they are, the summaries of single runs together in one
file. What is no longer in the store is no longer shown.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reports import results
from reports.reading import ResultProblem
from reports.store import COMPACT, MAX_COMPACT_BYTES, SUMMARY, loose_names, packed_names
from reports.store_files import StoreFiles, StoreProblem, StoreRefusal, Vanished
from reports.store_summaries import (
    StoredRun,
    Summaries,
    chosen,
    from_parquet,
    merged,
    nothing,
    to_parquet,
)

ATTEMPTS = 5
LOOSE_CACHE = "single-runs.parquet"
MANY = 1000  # summaries of single runs from which on compaction is worth its while


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The runs of a store, each run id once, and what a user should know about them."""

    summaries: Summaries
    notes: tuple[str, ...] = ()


def load(url: str, cache: Path | None = None) -> Loaded:
    """Return the figures of all runs of a store.

    Raises:
        StoreProblem: the store cannot be reached.
        StoreRefusal: the URL cannot be a store's.
    """
    files = StoreFiles(url)
    folder = (cache or _cache_home()) / hashlib.sha256(files.cache_key.encode()).hexdigest()[:16]
    for _ in range(ATTEMPTS):
        with contextlib.suppress(Vanished):  # compacted since it was listed: list again
            return _load(files, folder)
    raise StoreProblem(f"{files.url} changes faster than it can be read — try again")


def _load(files: StoreFiles, folder: Path) -> Loaded:
    loose = loose_names(files)  # first: what is compacted afterwards is then in the second list
    notes: list[str] = []
    packs = [_pack(files, name, folder, notes) for name in packed_names(files)]
    _forget(folder, {name for name, _ in packs})
    parts = [part for _, part in packs if part is not None]
    there = frozenset[str]().union(*(part.digests for part in parts))
    single = {name: digest for name, digest in loose.items() if digest not in there}
    parts.append(_single(files, single, folder, notes))
    if len(single) >= MANY:
        notes.append(
            f"{len(single)} runs are not compacted — "
            f"`gfbench store compact --store {files.url}` makes queries quicker"
        )
    return _each_once(merged(parts), notes)


def _pack(
    files: StoreFiles, name: str, folder: Path, notes: list[str]
) -> tuple[str, Summaries | None]:
    """Return a compacted file, from the cache or fetched into it."""
    kept = folder / name
    with contextlib.suppress(ResultProblem):
        if kept.is_file():
            return name, from_parquet(kept, name)
    try:
        content = files.read(f"{COMPACT}/{name}", MAX_COMPACT_BYTES)
        part = from_parquet(content, f"{files.url}/{COMPACT}/{name}")
    except (ResultProblem, StoreRefusal) as problem:
        notes.append(f"left out: {problem}")
        return name, None
    _keep(kept, content)
    return name, part


def _single(
    files: StoreFiles, wanted: Mapping[str, str], folder: Path, notes: list[str]
) -> Summaries:
    """Return the figures of single runs; those that the cache lacks are fetched into it."""
    kept = folder / LOOSE_CACHE
    part = nothing()
    with contextlib.suppress(ResultProblem):
        part = from_parquet(kept, kept.name) if kept.is_file() and wanted else part
    known = part.digests
    missing = [name for name, digest in wanted.items() if digest not in known]
    part = chosen(part, wanted.values())
    fetched = [part]
    for path, content in files.read_many([f"{SUMMARY}/{name}" for name in missing]).items():
        try:
            fetched.append(_own(from_parquet(content, f"{files.url}/{path}"), path))
        except ResultProblem as problem:
            notes.append(f"left out: {problem}")
    if len(fetched) > 1:
        part = merged(fetched)
        _keep(kept, to_parquet(part))
    return part


def _own(part: Summaries, path: str) -> Summaries:
    """Refuse a summary that speaks of another run than its name says."""
    stem = path.rpartition("/")[2].removesuffix(".parquet")
    if [f"{run.run_id}.{run.digest}" for run in part.runs] != [stem]:
        raise ResultProblem(f"{path} holds a different run from the one in its name")
    return part


def _each_once(part: Summaries, notes: list[str]) -> Loaded:
    """Choose one content for each run id, the same one for every reader, and tell of the others."""
    first: dict[str, StoredRun] = {}
    for run in sorted(part.runs, key=lambda run: run.digest):
        if first.setdefault(run.run_id, run) is not run:
            notes.append(
                f"run {run.run_id} is there in two versions, pushed at the same moment: "
                f"{first[run.run_id].digest[:8]} is used, {run.digest[:8]} left out"
            )
    summaries = chosen(part, {run.digest for run in first.values()})
    return Loaded(summaries=summaries, notes=tuple(notes))


def _forget(folder: Path, names: set[str]) -> None:
    """Take compacted files that the store has no more out of the cache."""
    with contextlib.suppress(OSError):
        for path in folder.glob("*.parquet"):
            if path.name not in names and path.name != LOOSE_CACHE:
                path.unlink()


def _keep(path: Path, content: bytes) -> None:
    """Write into the cache if that is possible; it is only there for speed."""
    with contextlib.suppress(OSError, results.ResultStorageProblem):
        path.parent.mkdir(parents=True, exist_ok=True)
        results.write_bytes_atomic(path, content)


def _cache_home() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "gfbench" / "stores"
