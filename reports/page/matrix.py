"""The matrix of what is decided: target by workload by metric. Pure.

Each cell says on which side of 1 the 95 % interval of a method against exact lies; an interval that
holds 1 decides nothing, and the cell says so. The verdicts of a gate are in ``page/verdicts.py``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.charts.style import Colours
from reports.energy.by_round import energies_of, energy_ratios
from reports.metrics.baseline import baseline_of
from reports.metrics.of_run import cases_of
from reports.metrics.ratios import exact_of
from reports.metrics.rows import Row, row_case
from reports.metrics.subjects import (
    Method,
    RowCase,
    Subject,
    Workload,
    label_of,
    method_of_case,
    workload_of_case,
)
from reports.metrics.table import metric_of
from reports.stats.intervals import Effect, ratio_effect
from reports.text.wording import interval, percent, times
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE

GLYPHS = {
    "better": "▲", "worse": "▼", "undecided": "≈", "equal": "=", "failed": "!", "none": "·",
    "PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?", "INVALID": "⊘", "INFRA": "!",
}  # fmt: skip
STATUS_TEXT = {
    "better": "better than exact",
    "worse": "worse than exact",
    "undecided": "not decidable",
    "equal": "the same",
    "failed": "failed",
    "none": "not measured",
}
FAILED = ("failed", "timeout", "out_of_memory", "infra", "interrupted", "throttled", "invalid")
FEW = "no 95 % interval: fewer than 6 rounds"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One answer: its status (a key of GLYPHS), the figure, and all of it in a sentence."""

    status: str
    figure: str
    text: str
    row: int | None = None  # of the page, that the answer rests on

    @property
    def glyph(self) -> str:
        """The sign that shows the status without colour."""
        return GLYPHS[self.status]


@dataclass(frozen=True, kw_only=True)
class MatrixColumn:
    """What is asked of a method: the label and the colour of the method, and the question."""

    method: str
    colour: str
    question: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """The cells of one workload of one target, in the order of the columns."""

    subject: Subject
    workload: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class MethodHead:
    """A method above its columns."""

    method: str
    colour: str
    columns: int


@dataclass(frozen=True, kw_only=True)
class StatusCount:
    """How many cells have a status."""

    status: str
    cells: int

    @property
    def glyph(self) -> str:
        """The sign that shows the status without colour."""
        return GLYPHS[self.status]

    @property
    def text(self) -> str:
        """The status in words."""
        return STATUS_TEXT.get(self.status, self.status)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """All lines; ``judged`` by a gate, else by the intervals against exact."""

    columns: tuple[MatrixColumn, ...]
    lines: tuple[Line, ...]
    judged: bool = False
    comparison: str = ""  # what a gate compared with what

    @property
    def id(self) -> str:
        """The section's anchor in the page."""
        return "verdicts" if self.judged else "decided"

    @property
    def groups(self) -> tuple[tuple[Subject, tuple[Line, ...]], ...]:
        """The lines by target."""
        by_target: dict[str, list[Line]] = {}
        for line in self.lines:
            by_target.setdefault(line.subject.label, []).append(line)
        return tuple((lines[0].subject, tuple(lines)) for lines in by_target.values())

    @property
    def methods(self) -> tuple[MethodHead, ...]:
        """The methods in the order of their columns."""
        counts = Counter((column.method, column.colour) for column in self.columns)
        return tuple(
            MethodHead(method=method, colour=colour, columns=count)
            for (method, colour), count in counts.items()
        )

    @property
    def counts(self) -> tuple[StatusCount, ...]:
        """How many cells have each status that occurs."""
        counts = Counter(cell.status for line in self.lines for cell in line.cells)
        return tuple(
            StatusCount(status=status, cells=counts[status]) for status in GLYPHS if counts[status]
        )


Rows = Mapping[tuple[RowCase, str, str], Row]  # by case, metric and phase
QUESTIONS = ("backward", "step", "energy of a step", "saved bytes")
NOT_PLANNED = Cell(status="none", figure="", text="not planned on this target")


@dataclass(frozen=True)
class CellKey:
    """What a cell is about."""

    workload: Workload
    method: Method
    question: str


def significance_matrix(subjects: Sequence[Subject], colours: Colours) -> Matrix | None:
    """Return what the intervals decide; None where nothing was compared with exact."""
    cells_by_subject = [_cells(subject) for subject in subjects]
    answered = set()
    for cells in cells_by_subject:
        for key, cell in cells.items():
            if cell.status != "none":
                answered.add((key.method, key.question))
    asked = []
    for method in colours:
        for question in QUESTIONS:
            if (method, question) in answered:
                asked.append((method, question))
    lines = []
    for subject, cells in zip(subjects, cells_by_subject, strict=True):
        for workload, label in subject.workloads.items():
            keys = [CellKey(workload, method, question) for method, question in asked]
            if any(key in cells for key in keys):
                answers = tuple(cells.get(key, NOT_PLANNED) for key in keys)
                lines.append(Line(subject=subject, workload=label, cells=answers))
    if not lines:
        return None
    columns = [
        MatrixColumn(method=label_of(method), colour=colours[method], question=question)
        for method, question in asked
    ]
    return Matrix(columns=tuple(columns), lines=tuple(lines))


def _cells(subject: Subject) -> dict[CellKey, Cell]:
    """Return the answers of all cases of a subject that are compared with exact."""
    rows = {(row.case, row.metric, row.phase): row for row in subject.rows}
    cells = {}
    for case in cases_of(subject.run, subject.target):
        if case.method == BASELINE:
            continue
        workload, method = workload_of_case(case), method_of_case(case)
        case_key = row_case(subject.target.name, case)
        for phase in ("backward", "step"):
            row = rows.get((case_key, "speedup", phase))
            if row is not None:
                cells[CellKey(workload, method, phase)] = _speed(subject, row)
        energy = _energy(subject, case, rows.get((case_key, "energy_j", "step")))
        saved = _saved(subject, case, rows.get((case_key, "saved_bytes", "")))
        cells[CellKey(workload, method, "energy of a step")] = energy
        cells[CellKey(workload, method, "saved bytes")] = saved
    return cells


def _speed(subject: Subject, row: Row) -> Cell:
    number = subject.places[row]
    if row.value is None:
        return Cell(
            status="failed" if row.status in FAILED else "none",
            figure=row.status.replace("_", " "),
            text=row.reason or row.status,
            row=number,
        )
    effect = Effect(ratio=row.value, ci_low=row.ci_low, ci_high=row.ci_high, n=row.n)
    status = _status_of(effect, more_is_better=True)
    answers = {"better": "faster than exact", "worse": "slower than exact"}
    answer = answers.get(status, "not decidable")
    text = f"{answer}: {times(row.value)}{_span(effect)}"
    return Cell(status=status, figure=times(row.value), text=text, row=number)


def _energy(subject: Subject, case: Case, row: Row | None) -> Cell:
    number = None if row is None else subject.places[row]
    energies = energies_of(subject.target)
    base = energies.get((baseline_of(subject.target, case), "step"), {})
    ratios = energy_ratios(base, energies.get((case, "step"), {}))
    if isinstance(ratios, str) or not ratios:
        reason = row.reason if row is not None else ""
        if isinstance(ratios, str):
            reason = ratios
        invalid = row is not None and row.status == "invalid"
        return Cell(
            status="failed" if invalid else "none",
            figure="invalid" if invalid else "",
            text=reason or "not measured",
            row=number,
        )
    effect = ratio_effect([math.log(value) for value in ratios.values()])
    status = _status_of(effect, more_is_better=False)
    answers = {"better": "less energy than exact", "worse": "more energy than exact"}
    answer = answers.get(status, "not decidable")
    text = f"{answer}: {percent(effect.ratio)} of exact's{_span(effect, 100)}"
    return Cell(status=status, figure=percent(effect.ratio), text=text, row=number)


def _saved(subject: Subject, case: Case, row: Row | None) -> Cell:
    number = None if row is None else subject.places[row]
    metric = metric_of("saved_bytes")
    base = metric.by_round(subject.target, exact_of(metric, subject.target, case, ""), "")
    own = metric.by_round(subject.target, case, "")
    ratios = {own[r] / base[r] for r in own.keys() & base.keys() if base[r] > 0}
    if not ratios:
        reason = row.reason if row is not None else ""
        return Cell(status="none", figure="", text=reason or "not measured", row=number)
    if len(ratios) > 1:  # bytes are counted: rounds that differ decide nothing
        text = f"not decidable: {percent(min(ratios))} to {percent(max(ratios))} of exact's"
        return Cell(status="undecided", figure=percent(max(ratios)), text=text, row=number)
    (ratio,) = ratios
    if ratio < 1:
        status, answer = "better", "fewer bytes than exact"
    elif ratio > 1:
        status, answer = "worse", "more bytes than exact"
    else:
        status, answer = "equal", "as many bytes as exact"
    text = f"{answer}: {percent(ratio)} of exact's, counted"
    return Cell(status=status, figure=percent(ratio), text=text, row=number)


def _status_of(effect: Effect, *, more_is_better: bool) -> str:
    """Return the side of 1 on which the whole interval lies, as better, worse or undecided."""
    if effect.ci_low is None or effect.ci_high is None:
        return "undecided"
    if effect.ci_low > 1:
        return "better" if more_is_better else "worse"
    if effect.ci_high < 1:
        return "worse" if more_is_better else "better"
    return "undecided"


def _span(effect: Effect, scale: float = 1.0) -> str:
    if effect.ci_low is None or effect.ci_high is None:
        return f" ({FEW})"
    unit = "%" if scale == 100 else "1"
    return f" (95 %: {interval(scale * effect.ci_low, scale * effect.ci_high, unit)})"
