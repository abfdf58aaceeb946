"""The verdicts of a gate on the page: as they were written beside the run, or judged again. Pure.

``gfbench gate RUN ... --verdict RUN/gate.json`` leaves them in the run's folder; a run that was
measured until decided says in run.json what it was to decide, and is judged here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from reports.chart_style import Subject, method_of_case, workload_of_case
from reports.fields import CaseField, Text, Texts, absent_as
from reports.gate import DEFAULT_PHASES, judge
from reports.gate_text import change_words, document
from reports.page_matrix import Cell, Line, Matrix
from reports.page_parts import Problem
from reports.reading import ResultProblem, read_limited
from reports.records import Run
from reports.stats import Effect
from reports.verdict import STATUSES, Margin
from reports.wording import cut, joined, method_label
from workloads.messages import Case

GATE = "gate.json"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One verdict as a page shows it; the fields are those of ``reports.verdict.Verdict``."""

    target: str
    base: CaseField
    new: CaseField
    metric: str
    phase: Text = ""
    status: str
    margin: Margin
    effect: Effect | None = None
    rounds: int = 0
    cause: Text = ""
    reason: Text = ""
    remedy: Text = ""
    flags: Texts = ()

    @property
    def question(self) -> str:
        """What was asked, in words."""
        return " ".join(part for part in (self.metric, self.phase) if part)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """All verdicts of one run."""

    base: str
    new: str
    verdicts: tuple[Verdict, ...]
    notes: Texts = ()


@dataclass(frozen=True, kw_only=True)
class Request:
    """What run.json says that a run was to decide."""

    base: str
    new: str
    metrics: tuple[str, ...] = ("latency",)
    phases: tuple[str, ...] = DEFAULT_PHASES
    margin: FiniteFloat = 0.03
    inconclusive: Annotated[str, absent_as("warn")] = "warn"


_GATE = TypeAdapter(Gate)
_REQUEST = TypeAdapter(Request)
Gates = Mapping[str, Gate]  # by the run's id


def gates_of(runs: Sequence[Run]) -> tuple[dict[str, Gate], tuple[str, ...]]:
    """Return the gate of each run that has one, and notes on those that cannot be read."""
    found, notes = {}, []
    for run in runs:
        try:
            gate = _written(run) or _asked(run)
        except (ResultProblem, ValueError) as problem:
            notes.append(f"the gate of {run.run_id} cannot be shown: {_first_line(problem)}")
            continue
        if gate is not None:
            found[run.run_id] = gate
            notes += gate.notes
    return found, tuple(notes)


def _written(run: Run) -> Gate | None:
    content = read_limited(run.path / GATE)
    return None if content is None else _parsed(json.loads(content))


def _asked(run: Run) -> Gate | None:
    content = read_limited(run.path / "run.json")
    request = (json.loads(content) if content else {}).get("gate")
    if not isinstance(request, dict):
        return None
    asked = _REQUEST.validate_python(request)
    judged = judge(
        run, base=asked.base, new=asked.new, metrics=asked.metrics, margin=asked.margin,
        phases=asked.phases, inconclusive=asked.inconclusive,
    )  # fmt: skip
    return _parsed(document(judged))


def _parsed(data: Any) -> Gate:
    gate = _GATE.validate_python(data)
    strange = {verdict.status for verdict in gate.verdicts} - set(STATUSES)
    if strange:
        raise ValueError(f"{sorted(strange)[0]!r} is no verdict")
    return gate


def _first_line(problem: Exception) -> str:
    if isinstance(problem, ValidationError):
        first = problem.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(problem).splitlines()[0]


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


def verdicts_of(subject: Subject, gates: Gates) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdicts on one target with their workload's label."""
    gate = gates.get(subject.run.run_id)
    for verdict in gate.verdicts if gate else ():
        if verdict.target == subject.target.name:
            key = workload_of_case(verdict.new)
            yield subject.workloads.get(key, verdict.new.layer.name), verdict


def verdict_problems(subjects: Sequence[Subject], gates: Gates) -> tuple[Problem, ...]:
    """Return every verdict that is no PASS, with its reason and what to do."""
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


def method_words(case: Case) -> str:
    """Return the method of a case as legends have it."""
    return method_label(*method_of_case(case))


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
