"""Finished runs as small as they can be, for tests of what is done with many."""

from __future__ import annotations

from pathlib import Path

from make_run import FakeTarget, make_run

from reports.results.manifest import write_manifest

LAYERS = (("early", 16, 56),)


def small_run(
    directory: Path, number: int = 0, *, target: str = "board-a", rounds: int = 2
) -> Path:
    """Write a run of one layer, its manifest too; ``number`` makes its id and its noise."""
    run = make_run(
        directory,
        targets=[FakeTarget(name=target)],
        rounds=rounds,
        layers=LAYERS,
        seed=number,
        run_id=f"20261122-19{number // 60:02d}{number % 60:02d}-abc123",
    )
    write_manifest(run)
    return run
