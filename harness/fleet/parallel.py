"""Many targets at once: one outcome each; one that fails does not lose the others."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from harness.errors import GfbenchError
from harness.fleet.machines import Machines
from harness.fleet.outcome import Outcome
from harness.fleet.session import Request, Session, Watch
from reports.results.read import SESSION
from reports.results.write import StorageError
from targets.inventory import Target

POLL_S = 0.2


def run_fleet(targets: Sequence[Target], request: Request, watch: Watch) -> tuple[Outcome, ...]:
    """Measure all targets in parallel and return their outcomes, in the order of the targets.

    Ctrl-C stops every target after the block it is measuring is given up; what was measured is
    kept. Outcomes then say ``interrupted``.
    """
    stop = threading.Event()
    machines = Machines()
    sessions = [
        Session(target, request, machines=machines, watch=watch, stop=stop) for target in targets
    ]
    with ThreadPoolExecutor(max_workers=max(1, len(sessions))) as pool:
        futures = [pool.submit(_guarded, session) for session in sessions]
        _wait(futures, stop)
    for session in sessions:
        session.outcome.shares_machine_with = machines.sharing(session.target.name)
        if session.outcome.shares_machine_with:
            with contextlib.suppress(StorageError):
                session.save()
    return tuple(session.outcome for session in sessions)


def _wait(futures: Sequence[Future[None]], stop: threading.Event) -> None:
    pending = set(futures)
    while pending:
        try:
            pending = wait(pending, timeout=POLL_S, return_when=FIRST_COMPLETED).not_done
        except KeyboardInterrupt:
            if stop.is_set():
                raise
            stop.set()


def _guarded(session: Session) -> None:
    """Run a session; an error or a bug in it is this target's outcome, not the others' end."""
    outcome = session.outcome
    try:
        session.run()
    except GfbenchError as error:
        outcome.fail(error)
    except Exception as error:
        outcome.status, outcome.exit_code = "failed", 70
        outcome.error, outcome.reason = type(error).__name__, f"a bug in gfbench: {error}"
        outcome.notes.append(traceback.format_exc())
        outcome.remedy = f"report it; the traceback is in {session.folder / SESSION}"
    session.end()
