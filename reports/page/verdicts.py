"""The verdicts of a gate as a page shows them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reports.charts.style import EXACT_COLOUR, Colours
from reports.gate.recorded import Gates, verdicts_of
from reports.gate.verdict import Verdict
from reports.gate.words import change_words
from reports.metrics.subjects import Subject, method_of_case, method_words
from reports.page.matrix import Cell, Line, Matrix, MatrixColumn
from reports.page.problems import Problem
from reports.text.wording import cut, joined

NOT_ASKED = Cell(status="none", figure="", text="not judged")


def verdict_matrix(subjects: Sequence[Subject], gates: Gates, colours: Colours) -> Matrix | None:
    """Return the verdicts by target, workload and metric; None where no run has a gate."""
    columns: dict[MatrixColumn, None] = {}
    for gate in gates.values():
        for verdict in gate.verdicts:
            columns[_column(verdict, colours)] = None
    in_order = tuple(sorted(columns, key=lambda column: column.method))
    lines = []
    for subject in subjects:
        by_workload: dict[str, list[Verdict]] = {}
        for workload, verdict in verdicts_of(subject, gates):
            by_workload.setdefault(workload, []).append(verdict)
        for workload, verdicts in by_workload.items():
            cells = {_column(verdict, colours): _cell(verdict) for verdict in verdicts}
            answers = tuple(cells.get(column, NOT_ASKED) for column in in_order)
            lines.append(Line(subject=subject, workload=workload, cells=answers))
    if not lines:
        return None
    comparisons = [f"{gate.new} against {gate.base}" for gate in gates.values()]
    return Matrix(
        columns=in_order,
        lines=tuple(lines),
        judged=True,
        comparison=joined(list(dict.fromkeys(comparisons))),
    )


def _column(verdict: Verdict, colours: Colours) -> MatrixColumn:
    return MatrixColumn(
        method=method_words(verdict.new),
        colour=colours.get(method_of_case(verdict.new), EXACT_COLOUR),
        question=verdict.question,
    )


def _cell(verdict: Verdict) -> Cell:
    figure = verdict.status
    parts = [verdict.status]
    if verdict.effect is not None:
        change = change_words(verdict.effect)
        figure += f" {change.split(' [')[0]}"
        parts.append(change)
    parts.append(verdict.reason)
    if verdict.cause:
        parts.append(f"cause: {verdict.cause}")
    parts += [verdict.remedy, *verdict.flags]
    text = "; ".join(part for part in parts if part and part != "—")
    return Cell(status=verdict.status, figure=figure, text=text)


def verdict_problems(subjects: Sequence[Subject], gates: Gates) -> tuple[Problem, ...]:
    """Return every verdict that is not a PASS, with its reason and what to do."""
    problems = []
    for subject in subjects:
        for workload, verdict in verdicts_of(subject, gates):
            if verdict.status != "PASS":
                problems.append(
                    Problem(
                        target=subject.label,
                        what=f"{workload} · {method_words(verdict.new)} · {verdict.question}",
                        status=verdict.status,
                        reason=cut("; ".join((verdict.reason, *verdict.flags))),
                        remedy=cut(verdict.remedy),
                    )
                )
    return tuple(problems)
