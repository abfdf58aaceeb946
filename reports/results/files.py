"""The files of a result folder: what they are called, and what a target's folder may be called."""

from __future__ import annotations

import re

RUN = "run.json"
SESSION = "session.json"
PROBE = "probe.json"
JOURNAL = "journal.jsonl"
POWER_MAP = "power.json"
POWER_TRACE = "power.csv.gz"
POWER_PART = "power.part"  # of a board's log, as it came: not yet a part of the result
CALIBRATION = "calibration.json"
FLOORS = "floors.json"
GATE = "gate.json"
REPORT = "report.html"
MANIFEST = "MANIFEST.sha256"

MAX_NAME = 100


def check_target_name(name: str) -> None:
    """Refuse a name that would leave the folder or hide in it.

    Raises:
        ValueError: with the reason.
    """
    if not name or len(name.encode()) > MAX_NAME:
        raise ValueError(f"a target's name must have 1 to {MAX_NAME} bytes")
    if name.startswith(".") or re.search(r"[/\\\x00-\x1f\x7f]", name):
        raise ValueError(
            f"{name!r} cannot be a target's name: it must not begin with a dot or contain a slash "
            "or a control character"
        )
