"""JUnit XML of a run: a testcase for each case, measured, failed or skipped, and each verdict."""

from __future__ import annotations

from collections.abc import Sequence

from reports.ci.junit import checks_of
from reports.exports.source import CaseSource, ExportSource, moment
from reports.gate.recorded import gates_of
from reports.metrics.rows import Row
from reports.text.junit_xml import Check, to_junit_xml
from reports.text.wording import cut

# The outcome of a case by the status of its rows, the gravest first; others do not count (energy).
OUTCOMES_BY_STATUS = {
    "failed": "failure",
    "out_of_memory": "error",
    "timeout": "error",
    "infra": "error",
    "interrupted": "error",
    "running": "error",
}


def to_junit(source: ExportSource) -> str:
    """Return a suite for each target with a testcase for each case and each verdict on it."""
    checks = [_check(case) for case in source.cases()]
    for gate in gates_of([source.run])[0].values():
        checks += checks_of(gate)
    header = source.run.header
    return to_junit_xml(checks, name=f"gfbench {header.run_id}", started=moment(header.started_at))


def _check(case: CaseSource) -> Check:
    row, outcome = _worst(case.rows)
    status = "" if outcome == "passed" else f"{row.status}: {row.reason}"
    return Check(
        suite=case.target.name,
        group=f"{case.target.name}.{case.case.workload.name}",
        name=case.case.key,
        outcome=outcome,
        message=status,
        kind=row.status,
        details=_details(case, outcome),
        time_s=_seconds(case),
    )


def _worst(rows: Sequence[Row]) -> tuple[Row, str]:
    """Return the row that decides the outcome of its case, and the outcome."""
    for status, outcome in OUTCOMES_BY_STATUS.items():
        for row in rows:
            if row.status == status:
                return row, outcome
    timed = [row for row in rows if row.metric == "latency_s"] or list(rows)
    if all(row.value is None for row in timed):
        return timed[0], "skipped"
    return timed[0], "passed"


def _details(case: CaseSource, outcome: str) -> str:
    """Return the traceback or the end of the log of the first bad block that has one."""
    if outcome in ("failure", "error"):
        for block in case.blocks():
            log = block.traceback or block.log_tail
            if block.status != "ok" and log:
                return cut(log)
    return ""


def _seconds(case: CaseSource) -> float | None:
    """Return how long the case's blocks took together; None without any block."""
    windows = [block.window_s for block in case.blocks() if block.window_s]
    return sum(end - begin for begin, end in windows) if windows else None
