"""Which machine a calibration is of, and where it lies below a folder of results.

The machine alone: its fingerprint stays when another system or torch is installed. What a
calibration also depends on is kept with it (``noise_floor.conditions_of``); what figures over
time depend on is the environment (``reports.metrics.summary.environment_fingerprint``).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from reports.results.records import Probe

FOLDER = "calibration"


def machine_fingerprint(probe: Probe) -> str:
    """Return what tells this machine from others, whenever it was started."""
    cpu, memory = probe.cpu, probe.memory
    facts = [
        probe.hostname,
        probe.model or None,  # null where a machine has no name, as in calibrations of earlier days
        probe.machine,
        (cpu.model or None) if cpu else None,
        cpu.logical if cpu else None,
        memory.total_bytes if memory else None,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def floor_path(directory: Path, fingerprint: str) -> Path:
    """Return where a machine's noise floor lies."""
    return directory / FOLDER / f"{fingerprint}.floor.json"


def sampler_cost_path(directory: Path, fingerprint: str) -> Path:
    """Return where the cost of a machine's sampler lies."""
    return directory / FOLDER / f"{fingerprint}.json"
