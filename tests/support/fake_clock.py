"""A clock that only advances when work is done, with seeded noise: timing without waiting."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence


class FakeClock:
    """Seconds of a monotonic clock; ``work`` returns callables that take time on it."""

    def __init__(self, *, start_s: float = 100.0, noise: float = 0.0, seed: int = 0) -> None:
        self.now_s = start_s
        self.slept_s: list[float] = []
        self._noise = noise
        self._random = random.Random(seed)

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        """Let time pass without work."""
        self.slept_s.append(duration_s)
        self.now_s += duration_s

    def work(self, duration_s: float, *, slow: Sequence[float] = ()) -> Callable[[], None]:
        """Return work of ``duration_s``, the first calls longer by what ``slow`` says."""
        extra = iter(slow)

        def run() -> None:
            noise = self._random.uniform(-self._noise, self._noise)
            self.now_s += duration_s * (1 + noise) + next(extra, 0.0)

        return run
