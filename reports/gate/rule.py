"""The rule that a run is judged by: parsed from a command's options, written to run.json. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from reports.gate.judge import GateError, parse_margin
from reports.metrics.table import gate_names
from reports.results.records import Rule
from reports.stats.sequential import LOOKS
from workloads.spec.messages import PHASES


def rule_from_options(
    base: str, new: str, *, metric: str, phase: str, margin: str, inconclusive: str
) -> Rule:
    """Return the rule for the options of a command line.

    Args:
        base: the case selector of the base.
        new: the case selector of the cases that are judged.
        metric: names separated by commas, such as ``latency,energy``.
        phase: names separated by commas.
        margin: ``3%`` or ``0.03``.
        inconclusive: warn, fail or pass.

    Raises:
        GateError: an unknown name, with the known ones, or a margin out of range.
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
    """Return the rule as run.json stores it, with the looks."""
    return {**asdict(rule), "looks": list(LOOKS)}


def _names(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in ``latency,energy``, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise GateError(
            f"--{option}: unknown {option} {', '.join(unknown)} — choose from {', '.join(known)}"
        )
    if not names:
        raise GateError(f"--{option} is empty — choose from {', '.join(known)}")
    return names
