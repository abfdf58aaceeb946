"""The tracked figures of all runs of a site in columns, one row per figure and run.

Ten thousand runs have a million rows, so there are columns of numbers, never an object for each
row. Runs stay in the archive when their folders are deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reports.metrics.table import exported_metrics
from reports.results.write import storage, write_bytes_atomic
from workloads.spec.messages import PHASES

FORMAT = 1
FIGURES = "figures.npz"
FACTS = "archive.json"
TRACKED_PHASES = ("", *PHASES)  # white_noise stays on the run's own page
COLUMNS: dict[str, str] = {
    "series": "i4",
    "run": "i4",
    "machine": "i4",
    "kernel": "i4",
    "value": "f8",
    "low": "f8",
    "high": "f8",
    "n": "i4",
    "status": "i4",
    "reason": "i4",
    "of_exact": "f8",
}

Column = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


class Series(NamedTuple):
    """What identifies a history: one target, case, metric and phase."""

    target: str
    workload: str
    method: str
    patch_size: int | None
    kernel: str
    device: str
    dtype: str
    batch: int
    metric: str
    phase: str
    unit: str

    @property
    def case(self) -> tuple[str, str, str, int | None, str, str, str, int]:
        """What identifies a case among those of all targets."""
        return self[:8]


class RunFacts(NamedTuple):
    """One run of the site."""

    run_id: str
    digest: str
    started_at: str
    suite: str
    tool_version: str
    targets: tuple[str, ...]
    figures: int  # rows with a value, of all rows
    rows: int


class Machine(NamedTuple):
    """A target in one state of its hardware and software."""

    target: str
    platform: str
    fingerprint: str
    environment: str  # JSON


class KernelVersion(NamedTuple):
    """One version of a kernel."""

    name: str
    version: str
    sha256: str


@dataclass
class Numbering:
    """Numbers for things, in the order in which they were first met; each thing has one."""

    of: dict[Any, int] = field(default_factory=dict)

    def number(self, thing: Any) -> int:
        """Return the thing's number; a new thing gets the next one."""
        return self.of.setdefault(thing, len(self.of))

    @property
    def all(self) -> list[Any]:
        """The things in order of their numbers."""
        return list(self.of)


@dataclass(frozen=True, kw_only=True)
class _RowLayout:
    """Which rows of a summary are tracked, and the series and case of each."""

    rows: Ints
    series: Ints
    cases: Ints


class Archive:
    """All runs of a site and their tracked figures."""

    def __init__(self) -> None:
        """Start without any run."""
        self.runs: list[RunFacts] = []
        self.series, self.machines, self.kernels, self.words = (Numbering() for _ in range(4))
        self._number: dict[str, int] = {}
        self._layouts: dict[str, _RowLayout] = {}
        self._parts: list[dict[str, Column]] = []

    def digest_of(self, run_id: str) -> str | None:
        """Return the digest of a run's content; None if the archive does not have the run."""
        number = self._number.get(run_id)
        return None if number is None else self.runs[number].digest

    def add(self, packed: Mapping[str, Any]) -> None:
        """Add a run, or replace its older content."""
        facts, rows = packed["run"], packed["rows"]
        number = self._number.setdefault(facts["run_id"], len(self.runs))
        if number < len(self.runs):
            self._remove(number)
        else:
            self.runs.append(RunFacts("", "", "", "", "", (), 0, 0))
        values = np.array(rows["value"], dtype=np.float64)
        self.runs[number] = RunFacts(
            run_id=facts["run_id"],
            digest=facts["digest"],
            started_at=facts["started_at"],
            suite=facts["suite"],
            tool_version=facts["tool_version"],
            targets=tuple(machine[0] for machine in packed["machines"]),
            figures=int(np.count_nonzero(np.isfinite(values))),
            rows=len(values),
        )
        self._parts.append(self._columns(packed, number, values))

    def columns(self) -> dict[str, Column]:
        """Return the columns of all rows by name."""
        if len(self._parts) != 1:
            joined = {}
            for name, kind in COLUMNS.items():
                columns = [part[name] for part in self._parts]
                joined[name] = np.concatenate([np.empty(0, kind), *columns])
            self._parts = [joined]
        return self._parts[0]

    def save(self, folder: Path) -> None:
        """Write the archive into a folder.

        Raises:
            StorageError: it cannot be written.
        """
        facts = {
            "format": FORMAT,
            "runs": [list(run) for run in self.runs],
            "series": [list(series) for series in self.series.all],
            "machines": [list(machine) for machine in self.machines.all],
            "kernels": [list(kernel) for kernel in self.kernels.all],
            "words": self.words.all,
        }
        # The facts are written last: without them the figures are not read.
        with storage(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / FACTS).unlink(missing_ok=True)
            with open(folder / FIGURES, "wb") as file:
                np.savez(file, allow_pickle=False, **self.columns())
        text = json.dumps(facts, separators=(",", ":"))
        write_bytes_atomic(folder / FACTS, text.encode())

    @classmethod
    def load(cls, folder: Path) -> Archive:
        """Return the archive in a folder; an empty one if there is none that can be read."""
        archive = cls()
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            if facts["format"] != FORMAT:
                return archive
            with np.load(folder / FIGURES, allow_pickle=False) as figures:
                part = {name: figures[name] for name in COLUMNS if name in figures}
                # An archive of an earlier version has no such column.
                part.setdefault("of_exact", np.full(len(part["series"]), np.nan))
            archive._fill(facts)
        except (OSError, ValueError, KeyError, TypeError):
            return cls()
        archive._parts = [part]
        return archive

    def _fill(self, facts: Mapping[str, Any]) -> None:
        self.runs = [RunFacts._make((*run[:5], tuple(run[5]), *run[6:])) for run in facts["runs"]]
        self._number = {run.run_id: number for number, run in enumerate(self.runs)}
        self.series = _numbering(Series(*fields) for fields in facts["series"])
        self.machines = _numbering(Machine(*fields) for fields in facts["machines"])
        self.kernels = _numbering(KernelVersion(*fields) for fields in facts["kernels"])
        self.words = _numbering(facts["words"])

    def _remove(self, number: int) -> None:
        """Remove the figures of a run."""
        columns = self.columns()
        kept = columns["run"] != number
        self._parts = [{name: column[kept] for name, column in columns.items()}]

    def _columns(self, packed: Mapping[str, Any], number: int, values: Column) -> dict[str, Column]:
        layout = self._layouts.get(packed["layout"]) or self._learn(packed)
        rows = packed["rows"]
        words = np.array([self.words.number(word) for word in packed["words"]], dtype=np.int64)
        parts: dict[str, Column] = {
            "series": layout.series,
            "run": np.full(len(layout.rows), number),
            "machine": self._machines_of(packed)[layout.cases],
            "kernel": self._kernels_of(packed)[layout.cases],
            "value": values[layout.rows],
            "low": np.array(rows["low"], dtype=np.float64)[layout.rows],
            "high": np.array(rows["high"], dtype=np.float64)[layout.rows],
            "n": np.array(rows["n"], dtype=np.int64)[layout.rows],
            "status": words[np.array(rows["status"], dtype=np.int64)[layout.rows]],
            "reason": words[np.array(rows["reason"], dtype=np.int64)[layout.rows]],
            "of_exact": np.array(rows["of_exact"], dtype=np.float64)[layout.rows],
        }
        return {name: part.astype(COLUMNS[name]) for name, part in parts.items()}

    def _learn(self, packed: Mapping[str, Any]) -> _RowLayout:
        """Sort the rows of a summary into series, once for all summaries of the same layout."""
        rows, words, cases = packed["rows"], packed["words"], packed["cases"]
        with_history = {metric.name for metric in exported_metrics() if metric.history}
        tracked: list[tuple[int, int, int]] = []
        columns = (rows[name] for name in ("case", "metric", "phase", "unit"))
        for row, (case, *indices) in enumerate(zip(*columns, strict=True)):
            metric, phase, unit = (words[index] for index in indices)
            if metric in with_history and phase in TRACKED_PHASES:
                series = Series._make((*cases[case], metric, phase, unit))
                tracked.append((row, self.series.number(series), case))
        table = np.array(tracked, dtype=np.int64).reshape(-1, 3)
        layout = _RowLayout(rows=table[:, 0], series=table[:, 1], cases=table[:, 2])
        self._layouts[packed["layout"]] = layout
        return layout

    def _machines_of(self, packed: Mapping[str, Any]) -> Ints:
        """Return the machine of each case of a summary."""
        number_of = {}
        for target, platform, fingerprint, environment, _boot in packed["machines"]:
            facts = json.dumps(environment, sort_keys=True)
            number_of[target] = self.machines.number(Machine(target, platform, fingerprint, facts))
        return np.array([number_of[case[0]] for case in packed["cases"]], dtype=np.int64)

    def _kernels_of(self, packed: Mapping[str, Any]) -> Ints:
        """Return the version of the kernel of each case of a summary."""
        number_of = {}
        for name, version, sha256 in packed["kernels"]:
            number_of[name] = self.kernels.number(KernelVersion(name, version, sha256))
        return np.array([number_of[case[4]] for case in packed["cases"]], dtype=np.int64)


def _numbering(things: Iterable[Any]) -> Numbering:
    return Numbering(of={thing: number for number, thing in enumerate(things)})
