"""A gate for a terminal of 80 columns. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from reports.gate.verdict import STATUSES, Gate, Verdict
from reports.gate.words import change_words
from reports.metrics.over_workloads import CAPTION
from reports.metrics.selectors import ATTRIBUTES
from reports.stats.intervals import Effect
from reports.text.wording import NBSP
from workloads.spec.messages import Case

INDENT = " " * 14
NARROW = 80


def lines(gate: Gate, width: int | None = None) -> tuple[str, ...]:
    """Return the gate's table: a row per verdict, with why and what to do where it is no PASS.

    Changes are those of new against base with their 97.5 % intervals.
    """
    width = max(40, min(width or NARROW, 120))
    labels = _labels([verdict.new for verdict in gate.verdicts])
    found: list[str] = []
    for target in dict.fromkeys(verdict.target for verdict in gate.verdicts):
        found += ["", *_wrapped(f"{target}: {gate.new} against {gate.base}", "", width)]
        for verdict in gate.verdicts:
            if verdict.target == target:
                found += _rows(verdict, labels[verdict.new], width)
        found += _summary_rows(gate, target)
    found += ["", *_fleet_rows(gate)]
    if any(effect.n > 1 for effect in gate.summary.values()):
        found += _wrapped(f"mean: {CAPTION}", "", width)
    for note in gate.notes:
        found += _wrapped(f"note: {note}", "", width)
    return (*found[1:], _count(gate))


def _rows(verdict: Verdict, label: str, width: int) -> Iterator[str]:
    rounds = f"{verdict.rounds} rounds" if verdict.rounds else ""
    change = change_words(verdict.effect)
    row = f"{verdict.status:<13} {verdict.question:<16} {change:<27} {rounds:<9}"
    if len(row) + 1 + len(label) <= width:
        yield f"{row} {label}".rstrip()
    else:
        yield row.rstrip()
        yield INDENT + label
    if verdict.status == "PASS" and not verdict.flags:
        return
    if verdict.status != "PASS":
        cause = f" (cause: {verdict.cause})" if verdict.cause else ""
        yield from _wrapped(verdict.reason + cause, INDENT, width)
    for flag in verdict.flags:
        yield from _wrapped(f"note: {flag}", INDENT, width)
    if verdict.remedy:
        yield from _wrapped(f"→ {verdict.remedy}", INDENT, width)


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    """Wrap, but never between a number and its percent sign."""
    rows = textwrap.wrap(
        text.replace(" %", f"{NBSP}%"),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )
    return [row.replace(NBSP, " ") for row in rows]


def _summary_rows(gate: Gate, target: str) -> Iterator[str]:
    """Yield the means over workloads, where there are several."""
    for (name, metric, phase), effect in gate.summary.items():
        if name == target and effect.n > 1:
            what = " ".join(part for part in (metric, phase) if part)
            mean = f"mean of {effect.n}"
            yield f"{mean:<13} {what:<16} {change_words(effect)} (95 %)"


def _fleet_rows(gate: Gate) -> Iterator[str]:
    for (metric, phase), pooled in gate.fleet.items():
        what = " ".join(part for part in (metric, phase) if part)
        effect = Effect(
            ratio=pooled.ratio, ci_low=pooled.ci_low, ci_high=pooled.ci_high, n=pooled.boards
        )
        boards = f"{pooled.boards} boards"
        yield f"{boards:<13} {what:<16} {change_words(effect)} (95 %), I² {pooled.i_squared:.0%}"


def _count(gate: Gate) -> str:
    """Return ``12 PASS, 1 FAIL; 3 changed beyond chance``."""
    counts = Counter(verdict.status for verdict in gate.verdicts)
    words = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    changed = [verdict for verdict in gate.changed if verdict.effect is not None]
    worse = sum(verdict.effect.ratio > 1 for verdict in changed if verdict.effect)
    directions = f"{worse} worse, {len(changed) - worse} better"
    return f"{words}; differing beyond chance: {len(changed)} ({directions})"


def _labels(cases: Sequence[Case]) -> dict[Case, str]:
    """Name cases by what tells them apart; the workload always."""
    shown = [
        name
        for name, of in ATTRIBUTES.items()
        if name == "workload" or len({of(case) for case in cases}) > 1
    ]
    return {case: "/".join(_shown(name, case) for name in shown) for case in cases}


def _shown(name: str, case: Case) -> str:
    value = ATTRIBUTES[name](case)
    return {"patch_size": f"r{value}", "batch": f"b{value}"}.get(name, value)
