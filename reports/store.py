"""Results of many controllers in one place, without a server: push, pull, compact, read.

Below the store's URL:

    runs/<run-id>/<digest>/<files of the run>   MANIFEST.sha256 comes last: the run is there
    summary/<run-id>.<digest>.parquet           the run's figures, after its manifest
    compact/<hash of its runs>.parquet          the figures of many runs

``digest`` is the hash of the run's manifest, so of all its files: two writers never write
different bytes to one name, whoever is first, and writing twice changes nothing. Readers see a
run once both its manifest and its figures are there; what a push left half done is invisible
until the push is repeated. Compaction writes the new file before it takes those away that it
holds, and a file is named by the set of its runs: any number of compactions, pushes and readers
at once lose nothing.
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

from reports import results
from reports.reading import ResultProblem, load_run
from reports.results import MANIFEST, REPORT
from reports.store_files import (
    StoreFiles,
    StoreProblem,
    StoreRefusal,
    Vanished,
    check_path,
    without_password,
)
from reports.store_summaries import (
    Summaries,
    from_parquet,
    merged,
    nothing,
    summaries_of,
    to_parquet,
)

RUNS = "runs"
SUMMARY = "summary"
COMPACT = "compact"
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LOOSE = re.compile(rf"({RUN_ID.pattern})\.([0-9a-f]{{32}})\.parquet")
PACKED = re.compile(r"[0-9a-f]{32}\.parquet")
MAX_FILES = 10_000
MAX_MANIFEST_BYTES = 4 << 20
MAX_RUN_BYTES = 16 << 30
MAX_SUMMARY_BYTES = 256 << 20
MAX_COMPACT_BYTES = 2 << 30
FULL_COMPACT = 20_000  # runs in a compacted file that is not merged with others any more
BATCH = 500  # files that are fetched at once
ATTEMPTS = 5
DERIVED = frozenset({REPORT})  # made from the rest at any time: no reason to refuse a run


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """A run that is in the store; ``already`` where it had been before."""

    run_id: str
    digest: str
    place: str
    already: bool


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """What a compaction did: how many runs it brought together out of how many files."""

    runs: int
    files: int
    notes: tuple[str, ...] = ()


def push(folder: Path, url: str) -> Pushed:
    """Copy a finished run into a store; a run that is there already is left alone.

    Raises:
        ResultProblem: the folder is no run, or it has not ended.
        StoreRefusal: files differ from the manifest, or the store has another run of that id.
        StoreProblem: the store cannot be reached or written.
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
        _identical(files, run.run_id, content)  # another may have come at the same time
    return Pushed(
        run_id=run.run_id, digest=digest, place=f"{files.url}/{place}", already=known is not None
    )


def pull(run_id: str, url: str, directory: Path) -> Path:
    """Copy a run out of a store into ``directory/<run-id>`` and return that path.

    Raises:
        StoreRefusal: no such run, a name that cannot be, or files that differ from the manifest.
        StoreProblem: the store cannot be reached.
        ResultStorageProblem: the folder cannot be written.
    """
    if not RUN_ID.fullmatch(run_id):
        raise StoreRefusal(f"{run_id!r} cannot be a run's id")
    files = StoreFiles(url)
    final = directory / run_id
    if final.exists():
        raise StoreRefusal(f"{final} already exists — choose another folder with -o")
    with _still_there():
        committed = _committed(files, run_id)
        if not committed:
            raise StoreRefusal(f"{files.url} has no run {run_id} — `gfbench query` lists its runs")
        digest = min(committed)
        beside = directory / f".{run_id}.{secrets.token_hex(4)}"
        try:
            _download(files, run_id, digest, beside, committed[digest])
            os.rename(beside, final)
        except OSError as error:
            raise results.ResultStorageProblem(final, error) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return final


def compact(url: str) -> Compacted:
    """Bring the figures of single runs together in one file, for quick queries.

    Raises:
        StoreProblem: the store cannot be reached or written.
    """
    files = StoreFiles(url)
    for _ in range(ATTEMPTS):
        with contextlib.suppress(Vanished):  # another compaction is at work: see what is left
            return _compact(files)
    return Compacted(runs=0, files=0, notes=("another compaction is running",))


def _compact(files: StoreFiles) -> Compacted:
    notes: list[str] = []
    inputs: dict[str, Summaries] = {}
    for path, content in _summaries(files):
        try:
            part = from_parquet(content, path)
        except ResultProblem as problem:
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
    paths = [f"{SUMMARY}/{name}" for name in loose_names(files)]
    for first in range(0, len(paths), BATCH):
        yield from files.read_many(paths[first : first + BATCH]).items()
    for name in packed_names(files):
        path = f"{COMPACT}/{name}"
        yield path, files.read(path, MAX_COMPACT_BYTES)


def loose_names(files: StoreFiles) -> dict[str, str]:
    """Return the digest of each summary of a single run, by the file's name."""
    found = ((LOOSE.fullmatch(name), size) for name, size in files.files(SUMMARY).items())
    return {match[0]: match[2] for match, size in found if match and size <= MAX_SUMMARY_BYTES}


def packed_names(files: StoreFiles) -> tuple[str, ...]:
    """Return the names of the files of many runs."""
    return tuple(sorted(name for name in files.files(COMPACT) if PACKED.fullmatch(name)))


def _name_of(part: Summaries) -> str:
    """Name a file by the set of its runs, whatever library wrote its bytes."""
    return hashlib.sha256("\n".join(sorted(part.digests)).encode()).hexdigest()[:32] + ".parquet"


def _own_manifest(folder: Path, run_id: str) -> tuple[Mapping[str, str], str]:
    """Return the hashes of a run's files, all checked, and the manifest's own."""
    if not RUN_ID.fullmatch(run_id):
        raise StoreRefusal(f"{folder}: {run_id[:100]!r} cannot be a run's id in a store")
    wrong = results.verify_manifest(folder)
    if wrong:
        raise StoreRefusal(
            f"{folder}: {'; '.join(wrong[:3])} — `gfbench verify {folder}` says more; "
            "a store takes only files that match the run's manifest"
        )
    text = (folder / MANIFEST).read_bytes()
    content = _parsed(text, str(folder / MANIFEST))
    for name in content:
        if (folder / name).is_symlink():
            raise StoreRefusal(f"{folder / name} is a link — put the file itself there")
    return content, _digest(text)


def _parsed(text: bytes, where: str) -> dict[str, str]:
    """Return the hash of each file that a manifest lists.

    Raises:
        StoreRefusal: a line that is none, or a name that would leave the folder.
    """
    content: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None or match[2] == MANIFEST:
            raise StoreRefusal(f"{where}: {line[:100]!r} is not a line of a manifest")
        try:
            check_path(match[2])
        except ValueError as error:
            raise StoreRefusal(f"{where}: {error}") from None
        content[match[2]] = match[1]
    if len(content) > MAX_FILES or results.RUN not in content:
        raise StoreRefusal(f"{where}: not the manifest of a run")
    return content


def _digest(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()[:32]


def _committed(files: StoreFiles, run_id: str) -> dict[str, dict[str, str]]:
    """Return what of a run id is wholly there: the hashes of its files, by digest."""
    found = {}
    for digest in files.folders(f"{RUNS}/{run_id}"):
        path = f"{RUNS}/{run_id}/{digest}/{MANIFEST}"
        with contextlib.suppress(Vanished):  # no manifest yet: not there
            text = files.read(path, MAX_MANIFEST_BYTES)
            if _digest(text) == digest:
                found[digest] = _parsed(text, f"{files.url}/{path}")
    return found


def _identical(files: StoreFiles, run_id: str, content: Mapping[str, str]) -> str | None:
    """Return the digest of this very run in the store, None if it is not there.

    Raises:
        StoreRefusal: there is another run of that id.
    """
    same = None
    for digest, theirs in _committed(files, run_id).items():
        names = (theirs.keys() | content.keys()) - DERIVED
        differ = sorted(name for name in names if theirs.get(name) != content.get(name))
        if differ:
            raise StoreRefusal(
                f"{files.url} already has a different run {run_id}: {', '.join(differ[:3])} "
                f"differ{'s' if len(differ) == 1 else ''} — a run in a store never changes; "
                f"`gfbench pull {run_id} --store {files.url} -o DIR` fetches it"
            )
        same = digest if theirs == content else same or digest
    return same


def _download(
    files: StoreFiles, run_id: str, digest: str, folder: Path, content: Mapping[str, str]
) -> None:
    """Fetch all files of a run into a new folder, each checked against the manifest."""
    place, left = f"{RUNS}/{run_id}/{digest}", MAX_RUN_BYTES
    folder.mkdir(parents=True)
    for name, expected in content.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        hashed = hashlib.sha256()
        with open(target, "xb") as file:
            for piece in files.chunks(f"{place}/{name}", left):
                hashed.update(piece)
                file.write(piece)
            left -= file.tell()
        if hashed.hexdigest() != expected:
            raise StoreRefusal(
                f"{files.url}/{place}/{name} differs from the run's manifest: it was changed "
                "in the store — push the run again from where it was measured"
            )
    text = files.read(f"{place}/{MANIFEST}", MAX_MANIFEST_BYTES)
    (folder / MANIFEST).write_bytes(text)


@contextlib.contextmanager
def _still_there() -> Iterator[None]:
    """A file of a run that vanishes was deleted by hand."""
    try:
        yield
    except Vanished as error:
        raise StoreProblem(f"{error}: it was deleted from the store meanwhile") from None


__all__ = [
    "Compacted",
    "Pushed",
    "StoreProblem",
    "StoreRefusal",
    "compact",
    "nothing",
    "pull",
    "push",
    "without_password",
]
