"""The rule that a run is judged by: from a command's options, and into run.json. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from reports.gate.judge import GateProblem, parse_margin
from reports.metrics.table import gate_names
from reports.results.records import Rule
from reports.stats.sequential import LOOKS
from workloads.spec.messages import PHASES


def rule_from_options(
    base: str, new: str, *, metric: str, phase: str, margin: str, inconclusive: str
) -> Rule:
    """Return the rule that options as a user writes them amount to.

    Args:
        base: a case selector.
        new: another.
        metric: names with commas between them, such as ``latency,energy``.
        phase: likewise.
        margin: ``3%`` or ``0.03``.
        inconclusive: warn, fail or pass.

    Raises:
        GateProblem: an option names what does not exist; says what does.
    """
    return Rule(
        base=base,
        new=new,
        metrics=_names("metric", metric, gate_names()),
        phases=_names("phase", phase, PHASES),
        margin=parse_margin(margin),
        inconclusive=inconclusive,
    )


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """Return what run.json keeps of a rule."""
    return {**asdict(rule), "looks": list(LOOKS)}


def _names(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in ``latency,energy``, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        given = f"{', '.join(unknown)} is unknown" if unknown else "names nothing"
        raise GateProblem(f"--{option} {given} — choose from {', '.join(known)}")
    return names
