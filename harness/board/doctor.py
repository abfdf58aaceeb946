"""What stands between a target and a credible result: connect, probe, judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.board.board import Board
from harness.board.probed import Probed
from harness.errors import TargetError
from harness.payloads import payload as payloads
from harness.transport.base import open_transport
from harness.transport.ssh.settings import reader
from targets.findings import Finding, findings
from targets.inventory import Inventory, Target
from targets.power_plans import plan_power

MARKS = {"error": "x", "warning": "!", "note": "-"}


@dataclass(frozen=True, kw_only=True)
class Examined:
    """One target's state of health."""

    target: str
    platform: str | None
    model: str | None
    findings: tuple[Finding, ...]
    ssh_settings: str | None = None  # which program reads ssh_config, None without SSH
    error: TargetError | None = None

    @property
    def exit_code(self) -> int:
        """4 if the target cannot be reached or used, 1 if an error stands in the way, else 0."""
        if self.error is not None:
            return 4
        return 1 if any(finding.severity == "error" for finding in self.findings) else 0

    def lines(self) -> list[str]:
        """Return what is shown on a terminal."""
        settings = [f"  ssh settings: {self.ssh_settings}"] if self.ssh_settings else []
        if self.error is not None:
            failed = f"{self.target}: {self.error.message}"
            return [failed, f"  remedy: {self.error.remedy}", *settings]
        shown = [f"{self.target}: {self.platform}, {self.model or 'model unknown'}", *settings]
        for finding in self.findings:
            shown.append(f"  {MARKS.get(finding.severity, '-')} {finding.what}: {finding.why}")
            if finding.remedy:
                shown.append(f"      remedy: {finding.remedy}")
        if not self.findings:
            shown.append("  no problems found")
        return shown

    def to_json(self) -> dict[str, Any]:
        """Return the machine-readable form."""
        error = None if self.error is None else str(self.error)
        return {
            "target": self.target,
            "platform": self.platform,
            "model": self.model,
            "ssh_settings": self.ssh_settings,
            "error": error,
            "findings": [asdict(finding) for finding in self.findings],
        }


def probed(target: Target, inventory: Inventory | None, kernels: Sequence[str] = ()) -> Probed:
    """Connect to a target and return what its probe says, of these kernels too.

    Raises:
        TargetError: it cannot be reached or used.
    """
    board = Board(target, lambda: open_transport(target, inventory), payloads.pack())
    try:
        board.prepare("")
        board.check_file_transfer()
        return board.probe(kernels)
    finally:
        board.close()


def examine(target: Target, inventory: Inventory | None) -> Examined:
    """Probe a target and return its state of health; never raises for the target's own faults."""
    ssh_settings = None if target.local else reader()
    try:
        probe = probed(target, inventory)
    except TargetError as error:
        return Examined(
            target=target.name,
            platform=None,
            model=None,
            findings=(),
            ssh_settings=ssh_settings,
            error=error,
        )
    plan = None
    if target.power.kind != "off":
        plan = plan_power(probe.platform, probe.document, target.power.kind, target.power.argument)
    cpu = probe.facts.cpu
    model = probe.facts.model or (cpu.name or cpu.model if cpu else "")
    return Examined(
        target=target.name,
        platform=probe.platform,
        model=model or None,
        ssh_settings=ssh_settings,
        findings=findings(
            probe.platform, probe.document, plan, clock_off_s=probe.clock_off_s or 0.0
        ),
    )
