"""What a board's probe says, typed, with what the controller saw while it asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CommandFailed
from reports.results.documents import ResultError, typed
from reports.results.files import PROBE
from reports.results.records import Probe
from targets import platforms
from targets.inventory import Target


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What a payload found out about a machine.

    ``document`` is probe.json as the board sent it, which ``targets`` reads; ``facts`` is what
    plans and reports ask for. ``clock_off_s`` is by how much the board's clock is ahead of ours,
    at least; None where nobody has looked.
    """

    document: Mapping[str, Any]
    facts: Probe
    platform: str
    clock_off_s: float | None = None


def read_probe(target: Target, document: Mapping[str, Any]) -> Probed:
    """Return a probe's document with its facts, and the platform that it shows.

    Raises:
        CommandFailed: a fact is of another type.
    """
    try:
        facts = typed(Probe, document, Path(PROBE))
    except ResultError as problem:
        raise CommandFailed(
            target.name, str(problem), remedy="`gfbench doctor` asks the board again"
        ) from None
    platform = platforms.detect(document) if target.platform == "auto" else target.platform
    return Probed(document=document, facts=facts, platform=platform)


def clock_off_s(wall_s: object, sent_s: float, received_s: float) -> float | None:
    """Return by how much a clock is ahead of ours, at least; 0 where it may be right.

    Args:
        wall_s: what it showed at some time between question and answer.
        sent_s: when the question was sent, by our clock.
        received_s: when the answer was here, by our clock.
    """
    if not isinstance(wall_s, (int, float)):
        return None
    if wall_s < sent_s:
        return wall_s - sent_s
    return max(0.0, wall_s - received_s)
