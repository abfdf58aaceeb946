"""A run from its request to its finished result folder: plan, fleet, report, manifest."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import payload as payloads
from harness import revisions as revised
from harness.deciding import Decided, Rule, rule_from_json, rule_to_json, until_decided
from harness.errors import PlanError, ResultError, UsageError
from harness.fleet import run_fleet
from harness.outcome import Outcome, now_utc
from harness.plan import FALLBACK, all_cases
from harness.revisions import Revision
from harness.session import Request, Watch
from harness.suites import BASELINE, Suite
from harness.user_kernels import UserKernel, from_run, packed, recorded
from reports import page, results
from reports.verdict import Gate
from targets.inventory import Inventory, Target, public_entry
from workloads.catalog import kernel_source_sha256
from workloads.messages import PHASES, to_json

INTERRUPTED = 130
# When several exit codes hold, the first of these is the run's.
EXIT_PRECEDENCE = (130, 70, 2, 4, 1, 3, 0)
GIT_DEADLINE_S = 5.0
COOL_DOWN_S = 30.0  # after rounds in which a board throttled
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a command about a run has to show."""

    folder: Path
    report: Path | None
    outcomes: tuple[Outcome, ...]
    gate: Gate | None = None  # where the run was measured to decide something
    invalid: int = 0  # blocks whose figures cannot be

    @property
    def exit_code(self) -> int:
        """The run's exit code: the gravest of its targets' and of the gate's."""
        gate = self.gate.exit_code if self.gate else 0
        invalid = 3 if self.invalid else 0
        return gravest([*(outcome.exit_code for outcome in self.outcomes), gate, invalid])


def gravest(codes: Any) -> int:
    """Return the exit code that counts when several hold."""
    present = set(codes) | {0}
    return next(code for code in EXIT_PRECEDENCE if code in present)


def start_run(
    targets: Sequence[Target],
    suite: Suite,
    *,
    inventory: Inventory | None,
    seed: int,
    directory: Path,
    argv: Sequence[str],
    watch: Watch,
    detach: bool = False,
    own_kernels: Sequence[UserKernel] = (),
    revisions: Sequence[Revision] = (),
    rule: Rule | None = None,
) -> Finished:
    """Measure a suite on targets into a new run folder below ``directory``.

    With ``revisions`` the suite names the cases' revisions, each measured by its own payload.
    With a ``rule`` more rounds than the suite's follow until it is decided.

    Raises:
        PayloadError: the payload cannot be packed.
        reports.results.ResultStorageProblem: the folder cannot be written.
    """
    payload = payloads.pack(extra=packed(own_kernels))
    header = _run_json(targets, suite, seed, argv, payload, own_kernels)
    if revisions:
        header |= _revisions_json(suite, revisions)
    if rule is not None:
        header |= {"gate": rule_to_json(rule)}
    folder = _new_folder(directory, header)
    _keep_sources(folder, own_kernels)
    _keep_payloads(folder, revisions)
    request = Request(
        run=folder,
        run_id=folder.name,
        suite=suite,
        seed=seed,
        payload=payload,
        inventory=inventory,
        detach=detach,
        own_kernels=tuple(own_kernels),
        revisions=tuple(revisions),
    )
    return _carry_out(targets, request, watch)


def _new_folder(directory: Path, run_json: Mapping[str, Any]) -> Path:
    try:
        return results.create_run(directory, run_json)
    except results.ResultStorageProblem as problem:
        if problem.errno in DISK_ERRORS:
            raise
        raise UsageError(f"{problem} — choose a folder you can write to with -o") from None


def resume_run(
    folder: Path,
    targets: Sequence[Target],
    suite: Suite,
    *,
    inventory: Inventory | None,
    watch: Watch,
) -> Finished:
    """Go on with a run: follow what still runs, measure what is missing.

    Raises:
        ResultError: the folder is no run of this payload.
    """
    header = read_header(folder)
    own_kernels = from_run(folder, header)
    payload = payloads.pack(extra=packed(own_kernels))
    recorded = (header.get("payload") or {}).get("sha256")
    if recorded != payload.sha256:
        raise ResultError(
            f"{folder}: the run was started with another payload ({str(recorded)[:12]}, this "
            f"gfbench has {payload.sha256[:12]}) — resume it with the version that started it, "
            f"{(header.get('tool') or {}).get('version')}, or start a new run"
        )
    request = Request(
        run=folder,
        run_id=folder.name,
        suite=suite,
        seed=int(header["seed"]),
        payload=payload,
        inventory=inventory,
        own_kernels=own_kernels,
        revisions=revised.from_run(folder, header),
    )
    return _carry_out(targets, request, watch)


def read_header(folder: Path) -> dict[str, Any]:
    """Return run.json as it is; ``load_run`` checks it.

    Raises:
        ResultError: there is no readable run.json.
    """
    import json

    try:
        header = json.loads((folder / results.RUN).read_text())
    except (OSError, ValueError) as error:
        raise ResultError(f"{folder} does not hold a run: {error}") from None
    if not isinstance(header, dict):
        raise ResultError(f"{folder / results.RUN}: not a JSON object")
    return header


def write_report(folders: Sequence[Path], path: Path) -> Path:
    """Render the HTML of one run or several into ``path``."""
    html = page.render([results.load_run(folder) for folder in folders])
    results.write_bytes_atomic(path, html.encode())
    return path


def _carry_out(targets: Sequence[Target], request: Request, watch: Watch) -> Finished:
    outcomes = run_fleet(targets, request, watch)
    folder = request.run
    header = read_header(folder)
    gate = None
    rule = rule_from_json(header.get("gate"))
    if rule is not None and not request.detach:
        decided = _until_decided(rule, targets, request, watch, outcomes)
        outcomes, gate = decided.outcomes, decided.gate
    results.write_json_atomic(folder / results.RUN, {**header, "finished_at": now_utc()})
    report, invalid = None, 0
    if not request.detach:
        report = write_report([folder], folder / results.REPORT)
        results.write_manifest(folder)
        blocks = [block for t in results.load_run(folder).targets for block in t.all_blocks]
        invalid = sum(block.status == "invalid" for block in blocks)
    return Finished(folder=folder, report=report, outcomes=outcomes, gate=gate, invalid=invalid)


def _until_decided(
    rule: Rule,
    targets: Sequence[Target],
    request: Request,
    watch: Watch,
    outcomes: Sequence[Outcome],
) -> Decided:
    def measure(names: Sequence[str]) -> tuple[Outcome, ...]:
        chosen = [one for one in targets if one.name in names]
        return run_fleet(chosen, replace(request, extended=True), watch)

    def cool(names: Sequence[str]) -> None:
        for name in names:
            watch.state(name, "cooling down")
        time.sleep(COOL_DOWN_S)

    return until_decided(rule, request.run, request.suite, request.seed, outcomes, measure, cool)


def _run_json(
    targets: Sequence[Target],
    suite: Suite,
    seed: int,
    argv: Sequence[str],
    payload: payloads.Payload,
    own_kernels: Sequence[UserKernel],
) -> dict[str, Any]:
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
    found = []
    for name in dict.fromkeys((FALLBACK, *suite.kernels)):
        user = users.get(name)
        found.append(
            {
                "name": name,
                "version": suite.kernel(name).version,
                "source_sha256": user.sha256 if user else kernel_source_sha256(name),
                **({"kind": user.kind, "of": user.of} if user else {}),
            }
        )
    return found


def _revisions_json(suite: Suite, revisions: Sequence[Revision]) -> dict[str, Any]:
    names = tuple(dict.fromkeys((*suite.kernels, *_exact_kernels(suite))))
    return {
        "revisions": [revised.recorded(one) for one in revisions],
        "kernels": [revised.kernel_facts(one, name) for one in revisions for name in names],
    }


def _exact_kernels(suite: Suite) -> tuple[str, ...]:
    return suite.exact_kernels if BASELINE in suite.methods else ()


def _keep_payloads(folder: Path, revisions: Sequence[Revision]) -> None:
    """Keep what is measured: to resume with, and for who wants to know what it was."""
    for revision in revisions:
        (folder / revised.FOLDER).mkdir(exist_ok=True)
        path = folder / revised.FOLDER / revision.payload.name
        results.write_bytes_atomic(path, revision.payload.data)


def _keep_sources(folder: Path, own: Sequence[UserKernel]) -> None:
    for name, content in recorded(own).items():
        (folder / "kernels").mkdir(exist_ok=True)
        results.write_bytes_atomic(folder / "kernels" / name, content)


def _git_state() -> dict[str, Any] | None:
    """Return the checkout's revision, and whether it has changes; None for an installed copy."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        revision, status = (
            subprocess.run(
                ["git", "-C", str(root), *arguments],
                capture_output=True,
                text=True,
                timeout=GIT_DEADLINE_S,
                check=True,
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "dirty": bool(status)}
