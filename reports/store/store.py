"""A store: the results of many controllers in one place, without a server. Push, pull, compact.

Below the store's URL:

    runs/<run-id>/<digest>/<files of the run>   MANIFEST.sha256 is written last
    summary/<run-id>.<digest>.parquet           the run's figures, written after its manifest
    compact/<hash of its runs>.parquet          the figures of many runs

``digest`` is the hash of the run's manifest, and so of all its files: two writers never write
different bytes to one name, and writing twice changes nothing. Readers see a run once both its
manifest and its figures exist; an unfinished push is invisible until it is repeated. Compaction
writes the new file before it deletes the files that it replaces, and a file's name is a hash of its
set of runs. So no run is lost, however many compactions, pushes and readers work at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reports.results.manifest import verify_manifest
from reports.results.read import MANIFEST, REPORT, RUN, ResultError, load_run
from reports.results.write import StorageError
from reports.store.files import (
    StoreError,
    StoreFiles,
    StoreRefused,
    Vanished,
    check_path,
)
from reports.store.tables import Summaries, from_parquet, merged, summaries_of, to_parquet

RUNS = "runs"
SUMMARY = "summary"
COMPACT = "compact"
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SINGLE_RUN_NAME = re.compile(rf"({RUN_ID.pattern})\.([0-9a-f]{{32}})\.parquet")
COMPACTED_NAME = re.compile(r"[0-9a-f]{32}\.parquet")
MAX_FILES = 10_000
MAX_MANIFEST_BYTES = 4 << 20
MAX_RUN_BYTES = 16 << 30
MAX_SUMMARY_BYTES = 256 << 20
MAX_COMPACT_BYTES = 2 << 30
FULL_COMPACT = 20_000  # a compacted file with this many runs is not merged with others any more
BATCH = 500  # files that are fetched at once
ATTEMPTS = 5
DERIVED = frozenset({REPORT})  # can be made from the other files: a difference does not matter


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """The result of a push: where the run is in the store, and whether it was there ``already``."""

    run_id: str
    digest: str
    place: str
    already: bool


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """The result of a compaction: how many runs from how many files are in one file now."""

    runs: int
    files: int
    notes: tuple[str, ...] = ()


def push(folder: Path, url: str) -> Pushed:
    """Copy a finished run into a store; a run that is there already does not change.

    Raises:
        ResultError: the folder does not hold a run, or the run has not finished.
        StoreRefused: files differ from the manifest, or the store has another run of that id.
        StoreError: the store cannot be reached or written.
    """
    files = StoreFiles(url)
    run = load_run(folder)
    content, digest = _own_manifest(run.path, run.run_id)
    with _still_there():
        known = _identical(files, run.run_id, content)
        digest = known or digest
        place = f"{RUNS}/{run.run_id}/{digest}"
        if known is None:
            for name in content:
                files.upload(run.path / name, f"{place}/{name}")
            files.write(f"{place}/{MANIFEST}", (run.path / MANIFEST).read_bytes())
        summary = f"{SUMMARY}/{run.run_id}.{digest}.parquet"
        if known is None or not files.exists(summary):
            sizes = [(run.path / name).stat().st_size for name in content]
            files.write(summary, to_parquet(summaries_of(run, digest=digest, sizes=sizes)))
        _identical(files, run.run_id, content)  # another may have been pushed at the same time
    return Pushed(
        run_id=run.run_id, digest=digest, place=f"{files.url}/{place}", already=known is not None
    )


def pull(run_id: str, url: str, directory: Path) -> Path:
    """Copy a run out of a store into ``directory/<run-id>`` and return that path.

    Raises:
        StoreRefused: the store has no such run, or its files differ from the manifest.
        StoreError: the store cannot be reached.
        StorageError: the folder cannot be written.
    """
    if not RUN_ID.fullmatch(run_id):
        raise StoreRefused(f"{run_id!r} cannot be a run's id")
    files = StoreFiles(url)
    final = directory / run_id
    if final.exists():
        raise StoreRefused(f"{final} already exists — choose another folder with -o")
    with _still_there():
        committed = _committed(files, run_id)
        if not committed:
            raise StoreRefused(f"{files.url} has no run {run_id} — `gfbench query` lists its runs")
        digest = min(committed)
        beside = directory / f".{run_id}.{secrets.token_hex(4)}"
        try:
            _download(files, run_id, digest, beside, committed[digest])
            os.rename(beside, final)
        except OSError as error:
            raise StorageError(final, error) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return final


def compact(url: str) -> Compacted:
    """Put the figures of single runs into one file, which makes queries faster.

    Raises:
        StoreError: the store cannot be reached or written.
    """
    files = StoreFiles(url)
    for _ in range(ATTEMPTS):
        with contextlib.suppress(Vanished):  # another compaction is at work: list again
            return _compact(files)
    return Compacted(runs=0, files=0, notes=("another compaction is running",))


def _compact(files: StoreFiles) -> Compacted:
    notes: list[str] = []
    inputs: dict[str, Summaries] = {}
    for path, content in _summaries(files):
        try:
            part = from_parquet(content, path)
        except ResultError as problem:
            notes.append(f"left alone: {problem}")
            continue
        if path.startswith(SUMMARY) or len(part.runs) < FULL_COMPACT:
            inputs[path] = part
    whole = merged(inputs.values())
    if len(inputs) > 1 or any(path.startswith(SUMMARY) for path in inputs):
        output = f"{COMPACT}/{_name_of(whole)}"
        if output not in inputs:
            files.write(output, to_parquet(whole))
        files.delete([path for path in inputs if path != output])
    return Compacted(runs=len(whole.runs), files=len(inputs), notes=tuple(notes))


def _summaries(files: StoreFiles) -> Iterator[tuple[str, bytes]]:
    """Yield the content of every file of figures by its path."""
    paths = [f"{SUMMARY}/{name}" for name in single_run_names(files)]
    for first in range(0, len(paths), BATCH):
        yield from files.read_many(paths[first : first + BATCH]).items()
    for name in compacted_names(files):
        path = f"{COMPACT}/{name}"
        yield path, files.read(path, MAX_COMPACT_BYTES)


def single_run_names(files: StoreFiles) -> dict[str, str]:
    """Return the digest of each summary of a single run, by the file's name."""
    digests = {}
    for name, size_bytes in files.files(SUMMARY).items():
        match = SINGLE_RUN_NAME.fullmatch(name)
        if match and size_bytes <= MAX_SUMMARY_BYTES:
            digests[name] = match[2]
    return digests


def compacted_names(files: StoreFiles) -> tuple[str, ...]:
    """Return the names of the compacted files."""
    return tuple(sorted(name for name in files.files(COMPACT) if COMPACTED_NAME.fullmatch(name)))


def _name_of(part: Summaries) -> str:
    """Return a file's name that only depends on the set of its runs."""
    return hashlib.sha256("\n".join(sorted(part.digests)).encode()).hexdigest()[:32] + ".parquet"


def _own_manifest(folder: Path, run_id: str) -> tuple[Mapping[str, str], str]:
    """Check a run's files; return their hashes by name, and the digest of the manifest."""
    if not RUN_ID.fullmatch(run_id):
        raise StoreRefused(f"{folder}: {run_id[:100]!r} cannot be a run's id in a store")
    wrong = verify_manifest(folder)
    if wrong:
        raise StoreRefused(
            f"{folder}: {'; '.join(wrong[:3])} — `gfbench verify {folder}` says more; "
            "a store takes only files that match the run's manifest"
        )
    text = (folder / MANIFEST).read_bytes()
    content = _parsed(text, str(folder / MANIFEST))
    for name in content:
        if (folder / name).is_symlink():
            raise StoreRefused(f"{folder / name} is a link — put the file itself there")
    return content, _digest(text)


def _parsed(text: bytes, where: str) -> dict[str, str]:
    """Return the hash of each file that a manifest lists.

    Raises:
        StoreRefused: it is not the manifest of a run, or a name would lead out of the folder.
    """
    content: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None or match[2] == MANIFEST:
            raise StoreRefused(f"{where}: {line[:100]!r} is not a line of a manifest")
        try:
            check_path(match[2])
        except ValueError as error:
            raise StoreRefused(f"{where}: {error}") from None
        content[match[2]] = match[1]
    if len(content) > MAX_FILES or RUN not in content:
        raise StoreRefused(f"{where}: not the manifest of a run")
    return content


def _digest(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()[:32]


def _committed(files: StoreFiles, run_id: str) -> dict[str, dict[str, str]]:
    """Return the complete contents with this run id: by digest, the hashes of the files."""
    contents = {}
    for digest in files.folders(f"{RUNS}/{run_id}"):
        path = f"{RUNS}/{run_id}/{digest}/{MANIFEST}"
        with contextlib.suppress(Vanished):  # without a manifest it is not complete yet
            text = files.read(path, MAX_MANIFEST_BYTES)
            if _digest(text) == digest:
                contents[digest] = _parsed(text, f"{files.url}/{path}")
    return contents


def _identical(files: StoreFiles, run_id: str, content: Mapping[str, str]) -> str | None:
    """Return the digest of the same run in the store, None if it is not there.

    Raises:
        StoreRefused: the store has another run of that id.
    """
    same = None
    for digest, theirs in _committed(files, run_id).items():
        names = (theirs.keys() | content.keys()) - DERIVED
        differ = sorted(name for name in names if theirs.get(name) != content.get(name))
        if differ:
            raise StoreRefused(
                f"{files.url} already has a different run {run_id}: {', '.join(differ[:3])} "
                f"differ{'s' if len(differ) == 1 else ''} — a run in a store never changes; "
                f"`gfbench pull {run_id} --store {files.url} -o DIR` fetches it"
            )
        if theirs == content or same is None:  # rather one whose derived files are the same too
            same = digest
    return same


def _download(
    files: StoreFiles, run_id: str, digest: str, folder: Path, content: Mapping[str, str]
) -> None:
    """Fetch all files of a run into a new folder and check each against the manifest."""
    place, remaining = f"{RUNS}/{run_id}/{digest}", MAX_RUN_BYTES
    folder.mkdir(parents=True)
    for name, expected in content.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        hashed = hashlib.sha256()
        with open(target, "xb") as file:
            for chunk in files.chunks(f"{place}/{name}", remaining):
                hashed.update(chunk)
                file.write(chunk)
            remaining -= file.tell()
        if hashed.hexdigest() != expected:
            raise StoreRefused(
                f"{files.url}/{place}/{name} differs from the run's manifest: it was changed "
                "in the store — push the run again from where it was measured"
            )
    text = files.read(f"{place}/{MANIFEST}", MAX_MANIFEST_BYTES)
    (folder / MANIFEST).write_bytes(text)


@contextlib.contextmanager
def _still_there() -> Iterator[None]:
    """Turn a file that vanishes into a StoreError: files of runs are only deleted by hand."""
    try:
        yield
    except Vanished as error:
        raise StoreError(f"{error}: it was deleted from the store meanwhile") from None
