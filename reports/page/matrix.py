"""The matrix of what is decided: target by workload by metric. Pure.

Each cell says whether the 95 % interval of a method against exact leaves 1 out; if it does not,
nothing is decided, and the cell says so. The verdicts of a gate are in ``page_gate``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports.charts.style import Colours
from reports.energy.by_round import energies_of, energy_ratios
from reports.metrics.baseline import EXACT, baseline_of
from reports.metrics.of_run import cases_of
from reports.metrics.rows import Row, row_case
from reports.metrics.subjects import (
    Method,
    RowCase,
    Subject,
    label_of,
    method_of_case,
    workload_of_case,
)
from reports.metrics.table import metric_of
from reports.stats.intervals import Effect, ratio_effect
from reports.text.wording import interval, percent, times
from workloads.spec.messages import Case

GLYPHS = {
    "better": "▲", "worse": "▼", "undecided": "≈", "equal": "=", "failed": "!", "none": "·",
    "PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?", "INVALID": "⊘", "INFRA": "!",
}  # fmt: skip
WORDS = {
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
    """One answer: how it stands (a key of GLYPHS), the figure, and all of it in words."""

    standing: str
    figure: str
    words: str
    place: int | None = None  # of the row of the page that it rests on

    @property
    def glyph(self) -> str:
        """The sign that says it without colour."""
        return GLYPHS[self.standing]


@dataclass(frozen=True, kw_only=True)
class Line:
    """The cells of one workload of one target, in the order of the columns."""

    subject: Subject
    workload: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """All lines; a column is (method, its colour, what is asked)."""

    columns: tuple[tuple[str, str, str], ...]
    lines: tuple[Line, ...]
    judged: bool = False
    words: str = ""

    @property
    def id(self) -> str:
        """The section's place in the page."""
        return "verdicts" if self.judged else "decided"

    @property
    def groups(self) -> tuple[tuple[Subject, tuple[Line, ...]], ...]:
        """The lines by target."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.subject.label, []).append(line)
        return tuple((lines[0].subject, tuple(lines)) for lines in found.values())

    @property
    def methods(self) -> tuple[tuple[str, str, int], ...]:
        """The methods with their colours and how many columns each has."""
        counted: dict[tuple[str, str], int] = {}
        for method, colour, _ in self.columns:
            counted[method, colour] = counted.get((method, colour), 0) + 1
        return tuple((*key, count) for key, count in counted.items())

    @property
    def counts(self) -> tuple[tuple[str, str, str, int], ...]:
        """How many cells stand how: standing, glyph, words, number."""
        found = [cell.standing for line in self.lines for cell in line.cells]
        return tuple(
            (s, g, WORDS.get(s, s), found.count(s)) for s, g in GLYPHS.items() if s in found
        )


Rows = Mapping[tuple[RowCase, str, str], Row]  # by case, metric and phase
ASKED = ("backward", "step", "energy of a step", "saved bytes")


def significance_matrix(subjects: Sequence[Subject], colours: Colours) -> Matrix | None:
    """Return what the intervals decide."""
    methods = [m for m in colours if m[0] != EXACT]
    cells = {s.label: dict(_cells(s)) for s in subjects}
    asked = [
        (method, what)
        for method in methods
        for what in ASKED
        if any(cell.standing != "none" for mine in cells.values()
               for key, cell in mine.items() if key[1:] == (method, what))
    ]  # fmt: skip
    lines = tuple(
        Line(
            subject=subject,
            workload=label,
            cells=tuple(cells[subject.label].get((key, *column), NOT_PLANNED) for column in asked),
        )
        for subject in subjects
        for key, label in subject.workloads.items()
        if any((key, *column) in cells[subject.label] for column in asked)
    )
    if not lines:
        return None
    columns = tuple((label_of(m), colours[m], what) for m, what in asked)
    return Matrix(columns=columns, lines=lines)


NOT_PLANNED = Cell(standing="none", figure="", words="not planned on this target")


def _cells(
    subject: Subject,
) -> Iterator[tuple[tuple[object, Method, str], Cell]]:
    rows = {(row.case, row.metric, row.phase): row for row in subject.rows}
    for case in cases_of(subject.run, subject.target):
        if case.method == EXACT:
            continue
        method, key = method_of_case(case), workload_of_case(case)
        mine = row_case(subject.target.name, case)
        for phase in ("backward", "step"):
            row = rows.get((mine, "speedup", phase))
            if row is not None:
                yield (key, method, phase), _speed(subject, row)
        yield (key, method, "energy of a step"), _energy(subject, case, rows, mine)
        yield (key, method, "saved bytes"), _saved(subject, case, rows, mine)


def _speed(subject: Subject, row: Row) -> Cell:
    place = subject.places[row]
    if row.value is None:
        standing = "failed" if row.status in FAILED else "none"
        return Cell(
            standing=standing,
            figure=row.status.replace("_", " "),
            words=row.reason or row.status,
            place=place,
        )
    effect = Effect(ratio=row.value, ci_low=row.ci_low, ci_high=row.ci_high, n=row.n)
    standing = _decided(effect, more_is_better=True)
    says = {"better": "faster than exact", "worse": "slower than exact"}.get(standing)
    words = f"{says or 'not decidable'}: {times(row.value)}{_span(effect)}"
    return Cell(standing=standing, figure=times(row.value), words=words, place=place)


def _energy(subject: Subject, case: Case, rows: Rows, mine: RowCase) -> Cell:
    row = rows.get((mine, "energy_j", "step"))
    place = None if row is None else subject.places[row]
    energies = energies_of(subject.target)
    base = energies.get((baseline_of(subject.target, case), "step"), {})
    ratios = energy_ratios(base, energies.get((case, "step"), {}))
    if isinstance(ratios, str) or not ratios:
        reason = ratios if isinstance(ratios, str) else (row.reason if row else "not measured")
        invalid = row is not None and row.status == "invalid"
        return Cell(
            standing="failed" if invalid else "none",
            figure="invalid" if invalid else "",
            words=reason or "not measured",
            place=place,
        )
    effect = ratio_effect([math.log(value) for value in ratios.values()])
    standing = _decided(effect, more_is_better=False)
    says = {"better": "less energy than exact", "worse": "more energy than exact"}.get(standing)
    words = f"{says or 'not decidable'}: {percent(effect.ratio)} of exact's{_span(effect, 100)}"
    return Cell(standing=standing, figure=percent(effect.ratio), words=words, place=place)


def _saved(subject: Subject, case: Case, rows: Rows, mine: RowCase) -> Cell:
    row = rows.get((mine, "saved_bytes", ""))
    place = None if row is None else subject.places[row]
    saved = metric_of("saved_bytes").by_round
    base = saved(subject.target, baseline_of(subject.target, case), "")
    own = saved(subject.target, case, "")
    ratios = {own[r] / base[r] for r in own.keys() & base.keys() if base[r] > 0}
    if not ratios:
        reason = row.reason if row is not None and row.reason else "not measured"
        return Cell(standing="none", figure="", words=reason, place=place)
    if len(ratios) > 1:  # bytes are counted: rounds that differ decide nothing
        words = f"not decidable: {percent(min(ratios))} to {percent(max(ratios))} of exact's"
        return Cell(standing="undecided", figure=percent(max(ratios)), words=words, place=place)
    (ratio,) = ratios
    standing = "better" if ratio < 1 else "worse" if ratio > 1 else "equal"
    says = {"better": "fewer bytes than exact", "worse": "more bytes than exact"}.get(standing)
    words = f"{says or 'as many bytes as exact'}: {percent(ratio)} of exact's, counted"
    return Cell(standing=standing, figure=percent(ratio), words=words, place=place)


def _decided(effect: Effect, *, more_is_better: bool) -> str:
    """Say whether the interval leaves out 1."""
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
