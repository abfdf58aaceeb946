"""A gate as a JSON document (gate.json), and back. Pure.

The document is self-contained: it holds the rule, the noise floors and the verdicts with the log
ratios that they rest on, so anyone with the run's folder can judge the run again and compare.
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
    """Return the gate as strict JSON; ``changed`` are indices of verdicts, ratios new / base."""
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
    """The fields that are read; means over workloads and boards are computed from the verdicts."""

    base: str
    new: str
    verdicts: tuple[Verdict, ...]
    run_id: Text = ""
    rule: Rule | None = None
    floors: dict[str, NoiseFloor | None] = field(default_factory=dict)
    notes: Texts = ()


_ADAPTER = TypeAdapter(_Document)


def from_document(data: Any) -> Gate:
    """Return the gate of a document; in those of earlier versions, the rule is only its selectors.

    Raises:
        ValueError: the document is not that of a gate, or a verdict has an unknown status.
    """
    read = _ADAPTER.validate_python(data)
    for verdict in read.verdicts:
        if verdict.status not in STATUSES:
            raise ValueError(f"the status {verdict.status!r} is not one of {', '.join(STATUSES)}")
    return gate_of_verdicts(
        read.run_id,
        read.rule or Rule(base=read.base, new=read.new),
        read.verdicts,
        floors=read.floors,
        notes=read.notes,
    )


def has_rule(data: Any) -> bool:
    """Say whether a document holds the rule it was judged by; earlier versions left it out."""
    return isinstance(data, dict) and isinstance(data.get("rule"), dict)
