"""The verdicts of a run, as its gate.json says, or judged by the rule and floors in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from reports.calibration.noise_floor import floors_of
from reports.errors import GfbenchError
from reports.gate.document import from_document
from reports.gate.judge import judge_by
from reports.gate.verdict import Gate, Verdict
from reports.metrics.subjects import Subject, workload_of_case
from reports.results.read import GATE, read_limited
from reports.results.records import Rule, Run

Gates = Mapping[str, Gate]  # by the run's id


def gate_of(run: Run) -> Gate | None:
    """Return the gate of a run; None if it has neither a gate.json nor a rule.

    Raises:
        ResultError: a file cannot be read.
        GateError: the rule does not fit the run; a SelectorError likewise.
        ValueError: gate.json is broken.
    """
    content = read_limited(run.path / GATE)
    if content is not None:
        return from_document(json.loads(content))
    if run.header.gate is None:
        return None
    return judge_run(run, run.header.gate)


def judge_run(run: Run, rule: Rule) -> Gate:
    """Judge a run by a rule with its noise floors: those in its folder, else those beside it.

    Raises:
        ResultError: a stored floor is broken.
        GateError: the rule does not fit the run; a SelectorError likewise.
    """
    return judge_by(rule, run, floors_of(run))


def gates_of(runs: Sequence[Run]) -> tuple[dict[str, Gate], tuple[str, ...]]:
    """Return the gate of each run that has one, and notes on gates that cannot be read."""
    gates: dict[str, Gate] = {}
    notes: list[str] = []
    for run in runs:
        try:
            gate = gate_of(run)
        except (GfbenchError, ValueError, RecursionError) as problem:
            notes.append(
                f"no verdicts: the gate of {run.run_id} cannot be shown: {_first_line(problem)}"
            )
            continue
        if gate is not None:
            gates[run.run_id] = gate
            notes += gate.notes
    return gates, tuple(notes)


def _first_line(problem: Exception) -> str:
    """Return the first line of an error; of a validation error, the first field and problem."""
    if isinstance(problem, ValidationError):
        error: Any = problem.errors()[0]
        return f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"
    return str(problem).splitlines()[0] if str(problem) else type(problem).__name__


def verdicts_of(subject: Subject, gates: Gates) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdicts on one target, each with its workload's label."""
    gate = gates.get(subject.run.run_id)
    for verdict in gate.verdicts if gate else ():
        if verdict.target == subject.target.name:
            key = workload_of_case(verdict.new)
            yield subject.workloads.get(key, verdict.new.workload.name), verdict
