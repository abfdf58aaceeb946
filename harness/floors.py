"""Where noise floors are kept: beside a folder's runs, one file per machine."""

from __future__ import annotations

import json
from pathlib import Path

from harness import calibration
from reports import noise_floor
from reports.noise_floor import NoiseFloor
from reports.reading import PROBE, read_limited
from reports.records import Run


def floor_path(directory: Path, fingerprint: str) -> Path:
    """Return where the noise floor of a machine lies below a folder of results."""
    return directory / calibration.FOLDER / f"{fingerprint}.floor.json"


def floors_of(run: Run, directory: Path) -> dict[str, NoiseFloor]:
    """Return the stored noise floors of a run's machines, by target.

    Raises:
        reports.reading.ResultProblem: a stored floor is broken.
    """
    found: dict[str, NoiseFloor] = {}
    for target in run.targets:
        content = read_limited(target.folder / PROBE)
        probe = json.loads(content) if content and target.probe else None
        if isinstance(probe, dict):
            floor = noise_floor.load(floor_path(directory, calibration.fingerprint(probe)))
            if floor is not None:
                found[target.name] = floor
    return found
