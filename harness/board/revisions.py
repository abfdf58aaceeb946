"""Revisions' payloads on a board: brought there beside its own, and asked what they can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.board import cross_compile as cross
from harness.board.board import Board
from harness.errors import CommandFailed
from harness.payloads.revisions import Revision


def bring_revisions(
    board: Board, revisions: Sequence[Revision], kernels: Sequence[str], probe: dict[str, Any]
) -> tuple[str, ...]:
    """Bring the payloads to a board; the kernels that one lacks there are added to the probe.

    Returns what a reader has to know.

    Raises:
        TargetError: a payload does not arrive whole.
    """
    notes: list[str] = []
    for revision in revisions:
        board.push_payload(revision.payload)
        said = _kernels_of(board, revision, kernels, notes)
        for name, reasons in (said if isinstance(said, dict) else {}).items():
            known = probe.setdefault("kernels", {}).setdefault(name, {})
            for device, reason in reasons.items() if isinstance(reasons, dict) else ():
                if reason:
                    known.setdefault(device, f"at {revision.label}: {reason}")
    return tuple(notes)


def _kernels_of(board: Board, revision: Revision, names: Sequence[str], notes: list[str]) -> Any:
    """Return what a revision's own payload says of the kernels; None where it does not."""
    try:
        probe = board.probe(names, revision.payload)
        if cross.lacking(probe):
            notes += cross.supply(board, probe, revision.own_kernels, revision.payload)
            probe = board.probe(names, revision.payload)
    except CommandFailed as error:  # an older command, or a broken one: its blocks say which
        notes.append(
            f"the payload of {revision.label} cannot tell what it can run: {error.message}"
        )
        return None
    return probe.get("kernels")
