"""The summary of one run as a JSON object, which is also the data of its page.

Each text is in ``words`` once, and rows have its index there. ``layout`` is a hash of what all runs
of one suite on one machine have in common, so that thousands of runs share the work of sorting
their rows into series.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from reports.metrics.summary import SummaryRow

Json = dict[str, Any]
FORMAT = 2  # 2: of_exact
TEXTS = ("metric", "phase", "unit", "status", "reason")


def pack(rows: Sequence[SummaryRow], *, run: Mapping[str, Any]) -> Json:
    """Return the summary of one run; ``run`` says at least its run_id, digest and started_at."""
    words: dict[str, int] = {}
    machines: dict[str, list[Any]] = {}
    kernels: dict[str, list[str]] = {}
    cases: dict[tuple[Any, ...], int] = {}
    for row in rows:
        cases.setdefault(row.case, len(cases))
        if row.target not in machines:
            machines[row.target] = _machine(row)
        kernels.setdefault(row.kernel, [row.kernel, row.kernel_version, row.kernel_sha256])
    columns: dict[str, list[Any]] = {
        "case": [cases[row.case] for row in rows],
        "value": [row.value for row in rows],
        "low": [row.ci_low for row in rows],
        "high": [row.ci_high for row in rows],
        "n": [row.n for row in rows],
        "of_exact": [row.of_exact for row in rows],
    }
    for name in TEXTS:
        columns[name] = [words.setdefault(getattr(row, name), len(words)) for row in rows]
    shape = [[*row.case, row.metric, row.phase, row.unit] for row in rows]
    return {
        "format": FORMAT,
        "layout": hashlib.sha256(json.dumps(shape).encode()).hexdigest(),
        "run": dict(run),
        "machines": list(machines.values()),
        "kernels": list(kernels.values()),
        "cases": [list(case) for case in cases],
        "rows": columns,
        "words": list(words),
    }


def facts_of(rows: Sequence[SummaryRow], *, run_id: str, digest: str) -> Json:
    """Return what ``pack`` says of the run itself."""
    first = rows[0] if rows else None
    return {
        "run_id": run_id,
        "digest": digest,
        "started_at": first.started_at if first else "",
        "suite": first.suite if first else "",
        "tool_version": first.tool_version if first else "",
    }


def dumped(packed: object) -> str:
    """Return an object as JSON without characters that an HTML parser could take for markup."""
    text = json.dumps(packed, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _machine(row: SummaryRow) -> list[Any]:
    """Return target, platform, fingerprint, environment and boot id of a row's machine."""
    environment = json.loads(row.environment) if row.environment else {}
    return [row.target, row.platform, row.fingerprint, environment, row.boot_id]
