"""Which targets are one machine: these are measured one after the other, and the report says so."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

POLL_S = 0.2


class Machines:
    """The machines of a run, distinguished by their kernels' boot ids."""

    def __init__(self) -> None:
        """Start with none."""
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._targets: dict[str, list[str]] = {}

    @contextlib.contextmanager
    def one_at_a_time(
        self, boot_id: str | None, target: str, stop: threading.Event
    ) -> Iterator[None]:
        """Hold the machine for a target; waits for another target of the same one, or for stop."""
        key = boot_id or f"unknown machine of {target}"
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
            self._targets.setdefault(key, []).append(target)
        held = False
        while not held and not stop.is_set():
            held = lock.acquire(timeout=POLL_S)
        try:
            yield
        finally:
            if held:
                lock.release()

    def sharing(self, target: str) -> list[str]:
        """Return the other targets that turned out to be this target's machine."""
        for names in self._targets.values():
            if target in names:
                return [name for name in names if name != target]
        return []
