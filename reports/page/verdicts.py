"""The verdicts of a gate as a page shows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.gate.recorded import Gates, verdicts_of
from reports.gate.verdict import Verdict
from reports.gate.words import change_words
from reports.metrics.subjects import Subject, method_of_case, method_words
from reports.page.matrix import Cell, Line, Matrix
from reports.page.problems import Problem
from reports.text.wording import cut, joined


def verdict_matrix(
    subjects: Sequence[Subject], gates: Gates, colours: Mapping[Any, str]
) -> Matrix | None:
    """Return the verdicts by target, workload and metric; None where no run has a gate."""
    asked = sorted(
        dict.fromkeys(_column(v) for gate in gates.values() for v in gate.verdicts),
        key=lambda column: column[0],
    )
    lines = [
        Line(subject=subject, workload=workload, cells=_cells(mine, asked))
        for subject in subjects
        for workload, mine in _by_workload(subject, gates).items()
    ]
    if not lines:
        return None
    words = [f"{gate.new} against {gate.base}" for gate in gates.values()]
    return Matrix(
        columns=tuple(
            (label, colours.get(method, "#7d8590"), what) for label, method, what in asked
        ),
        lines=tuple(lines),
        judged=True,
        words=joined(list(dict.fromkeys(words))),
    )


def verdict_problems(subjects: Sequence[Subject], gates: Gates) -> tuple[Problem, ...]:
    """Return every verdict that is not a PASS, with its reason and what to do."""
    return tuple(
        Problem(
            target=subject.label,
            what=f"{label} · {method_words(verdict.new)} · {verdict.question}",
            status=verdict.status,
            reason=cut("; ".join((verdict.reason, *verdict.flags))),
            remedy=cut(verdict.remedy),
        )
        for subject in subjects
        for label, verdict in verdicts_of(subject, gates)
        if verdict.status != "PASS"
    )


def _by_workload(subject: Subject, gates: Gates) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for label, verdict in verdicts_of(subject, gates):
        found.setdefault(label, []).append(verdict)
    return found


def _column(verdict: Verdict) -> tuple[str, Any, str]:
    method = method_of_case(verdict.new)
    return method_words(verdict.new), method, verdict.question


def _cells(verdicts: Sequence[Verdict], asked: Sequence[tuple[str, Any, str]]) -> tuple[Cell, ...]:
    found = {_column(verdict): verdict for verdict in verdicts}
    return tuple(_cell(found.get(column)) for column in asked)


def _cell(verdict: Verdict | None) -> Cell:
    if verdict is None:
        return Cell(standing="none", figure="", words="not asked")
    cause = f"cause: {verdict.cause}" if verdict.cause else ""
    parts = (verdict.status, change_words(verdict.effect), verdict.reason, cause, verdict.remedy)
    change = "" if verdict.effect is None else f" {change_words(verdict.effect).split(' [')[0]}"
    return Cell(
        standing=verdict.status,
        figure=f"{verdict.status}{change}",
        words="; ".join(part for part in (*parts, *verdict.flags) if part and part != "—"),
    )
