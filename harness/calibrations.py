"""A machine's calibrations: which machine it is, and where its noise floor and sampler cost lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.calibration.noise_floor import FOLDER, machine_fingerprint


def stored(directory: Path, probe: Mapping[str, Any]) -> Path:
    """Return where a machine's calibration lies below a folder of results."""
    return directory / FOLDER / f"{machine_fingerprint(probe)}.json"
