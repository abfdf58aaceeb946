"""How verdicts are named and ordered in every output for CI. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from reports.gate_words import margin_words
from reports.verdict import Gate, Verdict
from reports.wording import case_label

SHOWN = ("FAIL", "INFRA", "INVALID", "INCONCLUSIVE", "PASS")  # a regression is read first


def in_order(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Return the failures first, the largest change before the others."""
    return tuple(sorted(verdicts, key=lambda one: (SHOWN.index(one.status), -_change(one))))


def counts(gate: Gate) -> Mapping[str, int]:
    """Return how often each status is there, in the order of the table."""
    found = Counter(verdict.status for verdict in gate.verdicts)
    return {status: found[status] for status in SHOWN if found[status]}


def what(verdict: Verdict) -> str:
    """Return ``latency backward``."""
    return f"{verdict.metric} {verdict.phase}".strip()


def subject(verdict: Verdict) -> str:
    """Return where and what was judged, in one line."""
    return f"{verdict.target}: {case_label(verdict.new)}: {what(verdict)}"


def why(verdict: Verdict) -> str:
    """Return the reason with all that belongs to it: cause, verification, flags, remedy."""
    parts = [verdict.reason or f"within the margin of {margin_words(verdict.margin)}"]
    if verdict.cause:
        parts.append(f"cause: {verdict.cause}")
    if verdict.verification is not None:
        parts.append(
            f"verified by an independent batch: {100 * (verdict.verification.ratio - 1):+.1f} %"
        )
    parts += verdict.flags
    words = "; ".join(part for part in parts if part)
    return f"{words} → {verdict.remedy}" if verdict.remedy else words


def _change(verdict: Verdict) -> float:
    return verdict.effect.ratio if verdict.effect is not None else 0.0
