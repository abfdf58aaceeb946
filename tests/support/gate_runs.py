"""Small runs in memory for gates: what each block measured is said by the test."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reports.results.records import (
    BlockRecord,
    MachineState,
    Memory,
    PhaseTiming,
    Run,
    RunHeader,
    RunPlan,
    SessionRecord,
    TargetRun,
)
from workloads.spec.messages import Case, Layer

LAYER = Layer("early", 16, 16, 56, 56)
TORCH = Case(LAYER, "gradient_filter", 2, "torch", "cpu", "float32", 8)
NATIVE = TORCH._replace(kernel="native")
QUIET = 0.003  # standard deviation of a block's logarithm
BLOCK_S = 20.0
Measures = Callable[[Case, int], float]


@dataclass(frozen=True, kw_only=True)
class FakeBoard:
    """One target: the true effect of each case on a latency of 1 ms, and what goes wrong.

    ``status`` and ``state`` are asked for every block by case and round; ``sentinel`` gives the
    sentinel's factor by round.
    """

    name: str = "board"
    effects: Mapping[Case, float] = field(default_factory=lambda: {TORCH: 0.0, NATIVE: 0.0})
    rounds: int = 8
    verification: int = 0
    verified_effect: float | None = None  # of all cases but the first
    noise: float = QUIET
    seed: int = 1
    status: Callable[[Case, int], tuple[str, str]] = lambda case, round_: ("ok", "")
    state: Callable[[Case, int], MachineState] = lambda case, round_: MachineState()
    sentinel: Callable[[int], float] | None = None
    disturbance: Callable[[Case, int], float] = lambda case, round_: 0.0  # of the logarithm
    memory_bytes: Callable[[Case, int], int] | None = None
    memory_rounds: int = 0
    session: SessionRecord = field(default_factory=lambda: SessionRecord(status="ok"))
    phases: tuple[str, ...] = ("backward", "step")


def make_gate_run(*boards: FakeBoard, run_id: str = "gate-run") -> Run:
    """Return the run of these boards."""
    cases = tuple(dict.fromkeys(case for board in boards for case in board.effects))
    header = RunHeader(
        schema="gfbench/1",
        run_id=run_id,
        rounds=boards[0].rounds,
        plan=RunPlan(cases=cases, phases=("forward", "backward", "step")),
    )
    return Run(path=Path("/nowhere"), header=header, targets=tuple(map(make_target, boards)))


def make_target(board: FakeBoard) -> TargetRun:
    """Return one board's part of a run."""
    random = np.random.default_rng(board.seed)
    blocks = _timing(board, range(board.rounds), board.effects, random)
    again = dict(board.effects)
    if board.verified_effect is not None:
        again = {case: board.verified_effect if n else 0.0 for n, case in enumerate(again)}
    first = board.rounds
    verification = _timing(board, range(first, first + board.verification), again, random, True)
    if board.memory_bytes is not None:
        blocks += _memory(board, board.memory_bytes)
    return TargetRun(
        name=board.name,
        folder=Path("/nowhere") / board.name,
        session=board.session,
        probe=None,
        blocks=tuple(blocks),
        verification=tuple(verification),
        sentinels=_sentinels(board),
        power=None,
    )


def _timing(
    board: FakeBoard,
    rounds: Sequence[int],
    effects: Mapping[Case, float],
    random: np.random.Generator,
    verification: bool = False,
) -> list[BlockRecord]:
    blocks = []
    for round_ in rounds:
        order = list(effects)
        random.shuffle(order)
        for slot, case in enumerate(order):
            status, reason = board.status(case, round_)
            log = math.log1p(effects[case]) + random.normal(0, board.noise)
            time_s = 1e-3 * math.exp(log + board.disturbance(case, round_))
            start_s = BLOCK_S * (round_ * len(order) + slot)
            timing = {
                phase: PhaseTiming(times_s=(time_s,) * 3, window_s=(start_s, start_s + 1))
                for phase in board.phases
            }
            blocks.append(
                BlockRecord(
                    order=round_ * 100 + slot,
                    round=round_,
                    slot=slot,
                    kind="timing",
                    case=case,
                    status=status,
                    reason=reason,
                    window_s=(start_s, start_s + BLOCK_S),
                    verification=verification,
                    timing=timing if status in ("ok", "throttled") else {},
                    state_before=board.state(case, round_),
                    state_after=board.state(case, round_),
                )
            )
    return blocks


def _memory(board: FakeBoard, of: Callable[[Case, int], int]) -> list[BlockRecord]:
    return [
        BlockRecord(
            order=10_000 + round_ * 100 + slot,
            round=round_,
            slot=slot,
            kind="memory",
            case=case,
            status="ok",
            window_s=(0.0, 1.0),
            memory=Memory(peak_rss_bytes=of(case, round_)),
        )
        for round_ in range(board.memory_rounds or board.rounds)
        for slot, case in enumerate(board.effects)
    ]


def _sentinels(board: FakeBoard) -> tuple[BlockRecord, ...]:
    if board.sentinel is None:
        return ()
    case = Case(Layer("sentinel", 32, 32, 28, 28), "exact", None, "torch", "cpu", "float32", 1)
    return tuple(
        BlockRecord(
            order=20_000 + round_,
            round=round_,
            kind="sentinel",
            case=case,
            status="ok",
            timing={"step": PhaseTiming(times_s=(1e-3 * board.sentinel(round_),))},
        )
        for round_ in range(board.rounds)
    )
