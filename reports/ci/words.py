"""Names, order and reasons of verdicts, the same in every output for CI. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from reports.gate.verdict import Gate, Verdict
from reports.gate.words import margin_words
from reports.text.wording import case_label

ORDER = ("FAIL", "INFRA", "INVALID", "INCONCLUSIVE", "PASS")  # regressions come first


def in_order(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Return the verdicts by status, failures first, then by the size of the change."""
    return tuple(sorted(verdicts, key=_sort_key))


def counts(gate: Gate) -> Mapping[str, int]:
    """Return the number of verdicts of each status that occurs, failures first."""
    number_of = Counter(verdict.status for verdict in gate.verdicts)
    return {status: number_of[status] for status in ORDER if number_of[status]}


def subject(verdict: Verdict) -> str:
    """Return target, case, metric and phase in one line."""
    return f"{verdict.target}: {case_label(verdict.new)}: {verdict.question}"


def why(verdict: Verdict) -> str:
    """Return the reason with cause, verification, flags and remedy in one line."""
    parts = [verdict.reason or f"within the margin of {margin_words(verdict.margin)}"]
    if verdict.cause:
        parts.append(f"cause: {verdict.cause}")
    if verdict.verification is not None:
        parts.append(
            f"verified by an independent batch: {100 * (verdict.verification.ratio - 1):+.1f} %"
        )
    parts += verdict.flags
    reasons = "; ".join(part for part in parts if part)
    return f"{reasons} → {verdict.remedy}" if verdict.remedy else reasons


def _sort_key(verdict: Verdict) -> tuple[int, float]:
    ratio = verdict.effect.ratio if verdict.effect is not None else 0.0
    return ORDER.index(verdict.status), -ratio
