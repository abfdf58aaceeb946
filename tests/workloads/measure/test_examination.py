"""What a kernel does beside its work is told apart on a clock that does not wait."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fake_clock import FakeClock

from workloads.measure.check import KernelRefused
from workloads.measure.examination import examine, refuse_late_writes
from workloads.measure.timing import Iteration, measure

CALL_S = 2e-3


class Board:
    """A clock, the processor time of a process, and one kernel's calls on it."""

    def __init__(
        self, *, again_s: float = CALL_S, left_s: float = 0.0, spin_s: float = 0.0, busy: int = 0
    ) -> None:
        self.clock = FakeClock()
        self._again_s, self._left_s, self._spin_s, self._busy = again_s, left_s, spin_s, busy
        self._fresh, self._pending = True, 0.0

    def change(self) -> None:
        self._fresh = True
        self.clock.now_s += 1e-3

    def run(self) -> torch.Tensor:
        slow = self._busy > 0  # others use the machine now
        self._busy -= 1
        self.clock.now_s += (CALL_S if self._fresh else self._again_s) * (9 if slow else 1)
        self._fresh, self._pending = False, self._pending + self._left_s
        return torch.zeros(1000)

    def rest(self) -> float:
        late_s, self._pending = self._pending + self._spin_s, 0.0
        return late_s

    def examined(self) -> None:
        iteration = Iteration(self.run, self.change)
        window = measure(iteration, lambda: None, 0.1, self.clock)
        self.rest()
        examine("mine", "step", iteration, lambda: None, window, self.clock, self.rest)


@pytest.mark.parametrize(
    "board",
    [
        Board(),
        Board(again_s=0.6 * CALL_S),  # warm caches
        Board(spin_s=0.03),  # a pool that spins after each call
        Board(left_s=0.02 * CALL_S),
    ],
)
def test_an_honest_kernel_passes(board: Board) -> None:
    board.examined()


def test_a_machine_that_others_use_for_a_while_is_not_a_cheat() -> None:
    Board(busy=150).examined()


@pytest.mark.parametrize(
    ("board", "words"),
    [
        (Board(again_s=0.1 * CALL_S), "200 us on inputs that it has just seen but 2 ms on new"),
        (Board(again_s=5 * CALL_S), "10 ms right after another one but 2 ms after a pause"),
        (Board(left_s=CALL_S), "of processor time are used after 150 calls have returned"),
        (Board(left_s=CALL_S, spin_s=0.03), "leaves work for the time after it has returned"),
    ],
)
def test_a_cheat_is_refused_with_the_figures(board: Board, words: str) -> None:
    with pytest.raises(KernelRefused, match=words):
        board.examined()


def test_results_that_change_after_they_were_returned_are_refused() -> None:
    results = torch.zeros(10)
    clock = FakeClock()

    def run() -> torch.Tensor:
        clock.now_s += CALL_S
        return results

    def consume(tensor: Any) -> float:
        return float(tensor.sum())

    iteration = Iteration(run, consume=consume)
    window = measure(iteration, lambda: None, 0.1, clock)
    refuse_late_writes("mine", "step", iteration, window)
    results += 1
    with pytest.raises(KernelRefused, match="after it had returned"):
        refuse_late_writes("mine", "step", iteration, window)
