"""The tracked figures of all runs of a site in columns, one row per figure and run.

Ten thousand runs are a million rows: columns of numbers, never an object per row. The archive is
the site's memory: runs stay in it when their folders are gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reports.metrics.table import exported_metrics
from reports.results.write import storage, write_bytes_atomic

FORMAT = 1
FIGURES = "figures.npz"
FACTS = "archive.json"
PHASES = ("", "forward", "backward", "step")  # white_noise stays on the run's own page
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
    """What a figure is of: one target, one case, one metric, one phase."""

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
        """What tells the cases of all targets apart."""
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


class Kernel(NamedTuple):
    """One version of a kernel."""

    name: str
    version: str
    sha256: str


@dataclass
class Places:
    """Things by number, each once."""

    of: dict[Any, int] = field(default_factory=dict)

    def place(self, thing: Any) -> int:
        """Return the thing's number."""
        return self.of.setdefault(thing, len(self.of))

    @property
    def all(self) -> list[Any]:
        """The things in order of their numbers."""
        return list(self.of)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Which rows of a summary are tracked, and where their figures belong."""

    rows: Ints
    series: Ints
    cases: Ints


class Archive:
    """All runs of a site and their tracked figures."""

    def __init__(self) -> None:
        """Start without any run."""
        self.runs: list[RunFacts] = []
        self.series, self.machines, self.kernels, self.words = (Places() for _ in range(4))
        self._number: dict[str, int] = {}
        self._layouts: dict[str, _Layout] = {}
        self._parts: list[dict[str, Column]] = []

    def digest_of(self, run_id: str) -> str | None:
        """Return what stands for the run's content as it was added; None if it is not there."""
        number = self._number.get(run_id)
        return None if number is None else self.runs[number].digest

    def add(self, packed: Mapping[str, Any]) -> None:
        """Add a run, or put its newer content in the place of the older."""
        facts, rows = packed["run"], packed["rows"]
        number = self._number.setdefault(facts["run_id"], len(self.runs))
        if number < len(self.runs):
            self._forget(number)
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
        """Return all rows, by column."""
        if len(self._parts) != 1:
            self._parts = [
                {
                    name: np.concatenate([np.empty(0, kind), *(part[name] for part in self._parts)])
                    for name, kind in COLUMNS.items()
                }
            ]
        return self._parts[0]

    def save(self, folder: Path) -> None:
        """Keep the archive in a folder.

        Raises:
            ResultStorageProblem: it cannot be written.
        """
        facts = {
            "format": FORMAT,
            "runs": [list(run) for run in self.runs],
            "series": [list(series) for series in self.series.all],
            "machines": [list(machine) for machine in self.machines.all],
            "kernels": [list(kernel) for kernel in self.kernels.all],
            "words": self.words.all,
        }
        # Facts last: without them the figures are not read.
        with storage(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / FACTS).unlink(missing_ok=True)
            with open(folder / FIGURES, "wb") as file:
                np.savez(file, allow_pickle=False, **self.columns())
        text = json.dumps(facts, separators=(",", ":"))
        write_bytes_atomic(folder / FACTS, text.encode())

    @classmethod
    def load(cls, folder: Path) -> Archive:
        """Return the archive kept in a folder; an empty one where there is none we can read."""
        archive = cls()
        try:
            facts = json.loads((folder / FACTS).read_text())
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
        self.series = _places(Series(*one) for one in facts["series"])
        self.machines = _places(Machine(*one) for one in facts["machines"])
        self.kernels = _places(Kernel(*one) for one in facts["kernels"])
        self.words = _places(facts["words"])

    def _forget(self, number: int) -> None:
        """Take the figures of a run out."""
        columns = self.columns()
        kept = columns["run"] != number
        self._parts = [{name: column[kept] for name, column in columns.items()}]

    def _columns(self, packed: Mapping[str, Any], number: int, values: Column) -> dict[str, Column]:
        layout = self._layouts.get(packed["layout"]) or self._learn(packed)
        rows = packed["rows"]
        words = np.array([self.words.place(word) for word in packed["words"]], dtype=np.int64)
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

    def _learn(self, packed: Mapping[str, Any]) -> _Layout:
        """Sort the rows of a summary into series; the next one like it need not be sorted."""
        rows, words, cases = packed["rows"], packed["words"], packed["cases"]
        with_history = {metric.name for metric in exported_metrics() if metric.history}
        tracked: list[tuple[int, int, int]] = []
        columns = (rows[name] for name in ("case", "metric", "phase", "unit"))
        for row, (case, *places) in enumerate(zip(*columns, strict=True)):
            metric, phase, unit = (words[place] for place in places)
            if metric in with_history and phase in PHASES:
                series = Series._make((*cases[case], metric, phase, unit))
                tracked.append((row, self.series.place(series), case))
        table = np.array(tracked, dtype=np.int64).reshape(-1, 3)
        layout = _Layout(rows=table[:, 0], series=table[:, 1], cases=table[:, 2])
        self._layouts[packed["layout"]] = layout
        return layout

    def _machines_of(self, packed: Mapping[str, Any]) -> Ints:
        """Return the machine of each case of a summary."""
        found = {}
        for target, platform, fingerprint, environment, _boot in packed["machines"]:
            facts = json.dumps(environment, sort_keys=True)
            found[target] = self.machines.place(Machine(target, platform, fingerprint, facts))
        return np.array([found[case[0]] for case in packed["cases"]], dtype=np.int64)

    def _kernels_of(self, packed: Mapping[str, Any]) -> Ints:
        """Return the version of the kernel of each case of a summary."""
        found = {name: self.kernels.place(Kernel(name, *rest)) for name, *rest in packed["kernels"]}
        return np.array([found[case[4]] for case in packed["cases"]], dtype=np.int64)


def _places(things: Iterable[Any] | Sequence[Any]) -> Places:
    return Places(of={thing: number for number, thing in enumerate(things)})
