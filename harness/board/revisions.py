"""Revisions' payloads on a board: brought there beside its own, and asked what they can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.board import cross_compile as cross
from harness.board.board import Board
from harness.errors import CommandFailed
from harness.payloads.revisions import Revision
from reports.results.records import Probe


def bring_revisions(
    board: Board, revisions: Sequence[Revision], kernels: Sequence[str], probe: Probe
) -> tuple[Probe, tuple[str, ...]]:
    """Bring the payloads to a board.

    Returns the probe with the reasons why a kernel cannot run at one of the revisions, and what
    a reader has to know.

    Raises:
        TargetError: a payload does not arrive whole.
    """
    notes: list[str] = []
    lacking = {name: dict(reasons) for name, reasons in probe.kernels.items()}
    for revision in revisions:
        board.push_payload(revision.payload)
        for name, reasons in _kernels_of(board, revision, kernels, notes).items():
            known = lacking.setdefault(name, {})
            for device, reason in reasons.items():
                if reason:
                    known.setdefault(device, f"at {revision.label}: {reason}")
    return replace(probe, kernels=lacking), tuple(notes)


def _kernels_of(
    board: Board, revision: Revision, names: Sequence[str], notes: list[str]
) -> Mapping[str, Mapping[str, str | None]]:
    """Return what a revision's own payload says of the kernels; empty where it does not."""
    try:
        probe = board.probe(names, revision.payload).facts
        if cross.lacking(probe):
            notes += cross.supply(board, probe, revision.own_kernels, revision.payload)
            probe = board.probe(names, revision.payload).facts
    except CommandFailed as error:  # an older command, or a broken one: its blocks say which
        notes.append(
            f"the payload of {revision.label} cannot tell what it can run: {error.message}"
        )
        return {}
    return probe.kernels
