"""A gate as JUnit XML: a suite for each target, a testcase for each verdict. Pure."""

from __future__ import annotations

from reports.ci import words
from reports.gate.verdict import Gate, Verdict
from reports.gate.words import change_words, margin_words
from reports.text.junit_xml import Check, to_junit_xml
from reports.text.wording import cut

# An undecided verdict is not a failure of the code: CI systems show it as not run, with the reason.
OUTCOMES = {
    "PASS": "passed",
    "FAIL": "failure",
    "INCONCLUSIVE": "skipped",
    "INVALID": "skipped",
    "INFRA": "error",
}


def to_junit(gate: Gate) -> str:
    """Return the JUnit document, in the order of the gate."""
    return to_junit_xml(checks_of(gate), name=cut(f"gfbench {gate.new} against {gate.base}", 400))


def checks_of(gate: Gate) -> list[Check]:
    """Return a testcase for each verdict."""
    return [_check(verdict) for verdict in gate.verdicts]


def _check(verdict: Verdict) -> Check:
    return Check(
        suite=verdict.target,
        group=f"{verdict.target}.{verdict.new.workload.name}",
        name=f"{verdict.question}: {verdict.new.key} against {verdict.base.key}",
        outcome=OUTCOMES[verdict.status],
        message=f"{verdict.status}: {words.why(verdict)}",
        kind=verdict.status,
        details=_details(verdict),
    )


def _details(verdict: Verdict) -> str:
    rows = [
        ("status", verdict.status),
        ("change", change_words(verdict.effect) + " (97.5 % interval)"),
        ("margin", margin_words(verdict.margin)),
        ("rounds", str(verdict.rounds)),
        ("cause", verdict.cause),
        ("reason", cut(verdict.reason)),
        ("remedy", verdict.remedy),
    ]
    return "\n".join(f"{name}: {value}" for name, value in rows if value)
