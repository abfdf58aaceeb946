"""How one target of a run ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from harness.errors import GfbenchError, TargetError


@dataclass
class Outcome:
    """How a target ended; written to session.json."""

    target: str
    platform: str | None = None
    status: str = "running"
    reason: str | None = None
    remedy: str | None = None
    error: str | None = None
    exit_code: int = 0
    boot_id: str | None = None
    shares_machine_with: list[str] = field(default_factory=list)
    blocks_planned: int = 0
    cases: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    started_at: str = field(default_factory=lambda: now_utc())
    finished_at: str | None = None

    def fail(self, error: GfbenchError) -> None:
        """Take over an error's message and exit code."""
        self.status = "infra" if error.exit_code == 4 else "failed"
        self.error = type(error).__name__
        self.exit_code = error.exit_code
        self.reason = str(error)
        if isinstance(error, TargetError):
            self.reason = error.message
            self.remedy = error.remedy or None


def now_utc() -> str:
    """Return the wall time as ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
