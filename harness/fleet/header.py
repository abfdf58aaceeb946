"""A run's header, run.json: written when the run starts, read when it goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.board.secrets import public_entry
from harness.errors import PlanError
from harness.fleet.outcome import now_utc
from harness.payloads import payload as payloads
from harness.payloads import revisions as revised
from harness.payloads.revisions import Revision
from harness.payloads.user_kernels import UserKernel
from harness.plan.plan import FALLBACK, all_cases
from harness.plan.suites import Suite
from reports.results.read import RUN, ResultError
from targets.inventory import Target
from workloads.spec.kernels import kernel_source_sha256
from workloads.spec.messages import PHASES, to_json
from workloads.spec.methods import BASELINE

GIT_DEADLINE_S = 5.0


def read_header(folder: Path) -> dict[str, Any]:
    """Return run.json as it is; ``load_run`` checks it.

    Raises:
        ResultError: run.json cannot be read.
    """
    import json

    try:
        header = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{folder} does not hold a run: {error}") from None
    if not isinstance(header, dict):
        raise ResultError(f"{folder / RUN}: not a JSON object")
    return header


def new_header(
    targets: Sequence[Target],
    suite: Suite,
    seed: int,
    argv: Sequence[str],
    payload: payloads.Payload,
    own_kernels: Sequence[UserKernel],
) -> dict[str, Any]:
    """Return what run.json says when a run starts."""
    if not targets:
        raise PlanError("no target is chosen — give -t NAME, -t @group, -t tag:WORD or -t all")
    return {
        "started_at": now_utc(),
        "finished_at": None,
        "argv": list(argv),
        "seed": seed,
        "rounds": suite.rounds,
        "suite": to_json(asdict(suite)),
        "plan": {
            "cases": to_json(all_cases(suite)),
            "phases": list(PHASES),
            "min_window_s": suite.min_window_s,
            "isolation": suite.isolation,
        },
        "tool": {
            "version": metadata.version("gfbench"),
            "git": _git_state(),
            "python": sys.version.split()[0],
        },
        "payload": {"name": payload.name, "sha256": payload.sha256},
        "kernels": [] if suite.revisions else _kernels(suite, own_kernels),
        "targets": {target.name: public_entry(target) for target in targets},
    }


def _kernels(suite: Suite, own: Sequence[UserKernel]) -> list[dict[str, Any]]:
    """Return name, version and source hash of every kernel, and where a user's comes from."""
    users = {kernel.info.name: kernel for kernel in own}
    facts = []
    for name in dict.fromkeys((FALLBACK, *suite.kernels)):
        user = users.get(name)
        facts.append(
            {
                "name": name,
                "version": suite.kernel(name).version,
                "source_sha256": user.sha256 if user else kernel_source_sha256(name),
                **({"kind": user.kind, "of": user.of} if user else {}),
            }
        )
    return facts


def revisions_json(suite: Suite, revisions: Sequence[Revision]) -> dict[str, Any]:
    """Return what run.json says of revisions and of their kernels."""
    names = dict.fromkeys(suite.kernels)
    if BASELINE in suite.methods:
        names |= dict.fromkeys(suite.exact_kernels)
    kernels = []
    for revision in revisions:
        kernels += [revised.kernel_facts(revision, name) for name in names]
    return {
        "revisions": [revised.recorded(revision) for revision in revisions],
        "kernels": kernels,
    }


def _git_state() -> dict[str, Any] | None:
    """Return the checkout's revision, and whether it has changes; None for an installed copy."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        revision = _git(root, "rev-parse", "HEAD")
        status = _git(root, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "dirty": bool(status)}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=GIT_DEADLINE_S,
        check=True,
    )
    return done.stdout.strip()
