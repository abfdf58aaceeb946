"""A gate as one JSON document, and back. Pure.

The document stands alone: it holds the rule, the noise floors and the verdicts with the rounds
that they rest on, so that whoever has the run's folder can judge it again and compare.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from reports.calibration.noise_floor import NoiseFloor
from reports.calibration.noise_floor import to_json as floor_to_json
from reports.gate.judge import gate_of_verdicts
from reports.gate.verdict import STATUSES, Gate, Verdict
from reports.results.fields import Text, Texts
from reports.results.records import Rule
from reports.stats.sequential import LOOK_LEVEL
from workloads.spec.messages import SCHEMA, to_json


def document(gate: Gate) -> dict[str, Any]:
    """Return the gate as strict JSON: ratios are new / base, lists in the order of the table."""
    index_of = {id(verdict): index for index, verdict in enumerate(gate.verdicts)}
    return {
        "schema": SCHEMA,
        "type": "gate",
        "run_id": gate.run_id,
        "base": gate.base,
        "new": gate.new,
        "rule": asdict(gate.rule),
        "floors": {
            name: floor_to_json(floor) if floor else None for name, floor in gate.floors.items()
        },
        "level": LOOK_LEVEL,
        "status": gate.status,
        "exit_code": gate.exit_code,
        "verdicts": [verdict_document(verdict) for verdict in gate.verdicts],
        "changed": [index_of[id(verdict)] for verdict in gate.changed],
        "summary": [
            {"target": target, "metric": metric, "phase": phase, **asdict(effect)}
            for (target, metric, phase), effect in gate.summary.items()
        ],
        "fleet": [
            {"metric": metric, "phase": phase, **asdict(pooled)}
            for (metric, phase), pooled in gate.fleet.items()
        ],
        "notes": list(gate.notes),
    }


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """Return one verdict as JSON."""
    return {
        **asdict(verdict),
        "base": to_json(verdict.base),
        "new": to_json(verdict.new),
        "base_key": verdict.base.key,
        "new_key": verdict.new.key,
    }


@dataclass(frozen=True, kw_only=True)
class _Document:
    """What is read back; the means over workloads and boards follow from the verdicts."""

    base: str
    new: str
    verdicts: tuple[Verdict, ...]
    run_id: Text = ""
    rule: Rule | None = None
    floors: dict[str, NoiseFloor | None] = field(default_factory=dict)
    notes: Texts = ()


_ADAPTER = TypeAdapter(_Document)


def from_document(data: Any) -> Gate:
    """Rebuild a gate; one that an earlier gfbench wrote names its selectors and no rule.

    Raises:
        ValueError: the document is not a gate's, or has a verdict of an unknown status.
    """
    found = _ADAPTER.validate_python(data)
    for verdict in found.verdicts:
        if verdict.status not in STATUSES:
            raise ValueError(f"{verdict.status!r} is not one of {', '.join(STATUSES)}")
    return gate_of_verdicts(
        found.run_id,
        found.rule or Rule(base=found.base, new=found.new),
        found.verdicts,
        floors=found.floors,
        notes=found.notes,
    )


def has_rule(data: Any) -> bool:
    """Tell whether a document says by which rule it was judged."""
    return isinstance(data, dict) and isinstance(data.get("rule"), dict)
