"""How long a lost connection to a board is tried again, and how often."""

from __future__ import annotations

import time

from harness.errors import Unreachable
from targets.inventory import Target

BACK_OFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


class Patience:
    """One for each thing that is done over a connection; it starts anew with every success."""

    def __init__(self, target: Target, *, reconnect_s: float | None = None) -> None:
        """Be as patient as the target's ``reconnect_s`` says, or for another time."""
        self._target = target
        self._reconnect_s = target.reconnect_s if reconnect_s is None else reconnect_s
        self._lost_since: float | None = None
        self._attempt = 0

    def heard(self) -> None:
        """Take note that the board has answered."""
        self._lost_since, self._attempt = None, 0

    def pause_s(self, error: Unreachable) -> float:
        """Return how long to wait before the next attempt.

        Raises:
            Unreachable: there is no next one.
        """
        now = time.monotonic()
        if self._lost_since is None:
            self._lost_since = now
        if now - self._lost_since >= self._reconnect_s:
            tried = f" (tried to reconnect for {self._reconnect_s:g} s)"
            raise Unreachable(
                self._target.name,
                f"{error.message}{tried if self._reconnect_s else ''}",
                remedy="what was measured is kept on the board; once it can be "
                "reached again, run `gfbench resume` on this run",
            ) from error
        pause_s = BACK_OFF_S[min(self._attempt, len(BACK_OFF_S) - 1)]
        self._attempt += 1
        return pause_s
