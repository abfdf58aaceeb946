"""Sources of a site's runs: folders and stores; each follows the protocol ``build.Runs``.

The summary of a run's folder takes a second to compute from its samples and never changes, so it
is cached on this machine by the hash of the run's manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

from reports.calibration import noise_floor
from reports.calibration.noise_floor import NoiseFloor
from reports.metrics.summary import SummaryRow, summary_of
from reports.metrics.table import judged_metrics
from reports.results.read import MANIFEST, RUN, ResultError, load_run
from reports.results.write import StorageError, write_bytes_atomic
from reports.site.run_data import FORMAT, Json, facts_of, pack

PARALLEL_FROM = 4
STORE_BATCH = 400
FLOOR_FILES = "calibration/*.floor.json"

Floors = dict[tuple[str, str, str], float]


class FolderRuns:
    """Runs in folders; a path is the folder of a run, or a folder of such folders."""

    def __init__(self, paths: Sequence[Path], cache: Path | None) -> None:
        """Look for runs.

        Raises:
            ResultError: a path does not exist.
        """
        self._cache = cache
        self.notes: list[str] = []
        self._folders = {digest_of(folder): folder for folder in _run_folders(paths)}

    @property
    def digests(self) -> Collection[str]:
        """The digest of each run's content."""
        return self._folders.keys()

    def folder(self, digest: str) -> Path | None:
        """Return the folder of a run."""
        return self._folders.get(digest)

    def summaries(self, wanted: Collection[str]) -> Iterator[Json]:
        """Yield the summaries of the wanted runs; for a broken folder, add a note instead."""
        missing = []
        for digest in wanted:
            kept = _cached(self._cache, digest)
            if kept is None:
                missing.append(digest)
            else:
                yield kept
        for digest, answer in zip(missing, self._computed(missing), strict=True):
            if isinstance(answer, str):
                self.notes.append(f"left out: {answer}")
            else:
                _keep(self._cache, digest, answer)
                yield answer

    def _computed(self, digests: Sequence[str]) -> Iterator[Json | str]:
        jobs = [(str(self._folders[digest]), digest) for digest in digests]
        if len(jobs) < PARALLEL_FROM:
            yield from map(_summarise, jobs)
            return
        with ProcessPoolExecutor() as pool:
            yield from pool.map(_summarise, jobs, chunksize=2)


class StoreRuns:
    """Runs of a store (``reports.store.store``)."""

    def __init__(self, url: str) -> None:
        """Read which runs the store has.

        Raises:
            StoreError, StoreRefused: the store cannot be read.
            MissingExtra: the libraries for stores are not installed.
        """
        from reports.store import cache as store_cache  # what only stores need is an extra

        loaded = store_cache.load(url)
        self.notes = list(loaded.notes)
        self._summaries = loaded.summaries
        self._runs = {run.digest: run for run in loaded.summaries.runs}

    @property
    def digests(self) -> Collection[str]:
        """The digest of each run's content."""
        return self._runs.keys()

    def folder(self, digest: str) -> Path | None:
        """Return None: the files are only in the store."""
        return None

    def summaries(self, wanted: Collection[str]) -> Iterator[Json]:
        """Yield the summaries of the wanted runs."""
        from reports.store.tables import chosen

        waiting = iter([digest for digest in wanted if digest in self._runs])
        while batch := list(islice(waiting, STORE_BATCH)):
            rows: dict[str, list[SummaryRow]] = {digest: [] for digest in batch}
            for record in chosen(self._summaries, batch).rows.to_pylist():
                rows[record.pop("digest")].append(_row(record))
            for digest in batch:
                run = self._runs[digest]
                facts = {"run_id": run.run_id, "digest": digest, "started_at": run.started_at,
                         "suite": run.suite, "tool_version": run.tool_version}  # fmt: skip
                yield pack(rows[digest], run=facts)


def digest_of(folder: Path) -> str:
    """Return the digest of a run's content: the hash of its manifest, as in stores.

    A run without a manifest has not finished; its digest is a hash of its files' names, sizes and
    times.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError:
        facts = []
        for path in sorted(folder.rglob("*")):
            with contextlib.suppress(OSError):
                facts.append(
                    (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
                )
        content = json.dumps(facts).encode()
    return hashlib.sha256(content).hexdigest()[:32]


def floors_in(paths: Sequence[Path]) -> tuple[Floors, list[str]]:
    """Return the noise floors beside runs by target, metric and phase, and notes.

    A floor is the logarithm of a ratio. If a target was calibrated twice, the newer floor counts.
    """
    calibrations: list[NoiseFloor] = []
    notes: list[str] = []
    for folder in dict.fromkeys(p.parent if (p / RUN).is_file() else p for p in paths):
        for path in sorted(folder.glob(FLOOR_FILES)):
            try:
                floor = noise_floor.load(path)
            except ResultError as problem:
                notes.append(f"left out: {problem}")
                continue
            if floor is not None:
                calibrations.append(floor)
    calibrations.sort(key=lambda floor: floor.measured_at)
    judged = judged_metrics()
    floors: Floors = {}
    for calibration in calibrations:
        for metric_floor in calibration.floors:
            if metric_floor.metric in judged:
                metric = judged[metric_floor.metric].name
                floors[calibration.target, metric, metric_floor.phase] = metric_floor.effect_q95
    return floors, notes


def cache_home() -> Path:
    """Return the folder of the summaries' cache on this machine."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "gfbench" / "summaries"


def cache_path(cache: Path, digest: str) -> Path:
    """Return the file of one summary."""
    return cache / digest[:2] / f"{digest}.{FORMAT}.json"


def _run_folders(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if (path / RUN).is_file():
            yield path
            continue
        if not path.is_dir():
            raise ResultError(f"{path}: no such folder — name a run, or a folder of runs")
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        yield from (path / name for name in names if (path / name / RUN).is_file())


def _summarise(job: tuple[str, str]) -> Json | str:
    """Compute a run's summary from its samples; for a broken folder, return the reason."""
    folder, digest = job
    try:
        run = load_run(Path(folder))
        rows = summary_of(run)
    except (ResultError, ValueError) as problem:
        return f"{folder}: {problem}"
    facts = facts_of(rows, run_id=run.run_id, digest=digest)
    facts.update(started_at=run.header.started_at, suite=run.header.suite.name)
    return pack(rows, run=facts)


def _cached(cache: Path | None, digest: str) -> Json | None:
    if cache is None:
        return None
    try:
        packed = json.loads(cache_path(cache, digest).read_bytes())
    except (OSError, ValueError):
        return None
    good = isinstance(packed, dict) and packed.get("run", {}).get("digest") == digest
    return packed if good and packed.get("format") == FORMAT else None


def _keep(cache: Path | None, digest: str, packed: Json) -> None:
    """Write a summary into the cache; without write access, nothing is cached."""
    if cache is not None:
        path = cache_path(cache, digest)
        with contextlib.suppress(OSError, StorageError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomic(path, json.dumps(packed, allow_nan=False).encode())


def _row(record: dict[str, Any]) -> SummaryRow:
    """Return a stored row; texts that an older summary does not have are empty."""
    texts = {field.name for field in fields(SummaryRow) if field.type == "str"}
    values: dict[str, Any] = dict(record)
    for name in texts:
        if values.get(name, "") is None:
            values[name] = ""
    return SummaryRow(**values)
