"""Causes of a difference other than the code: the board, its environment, noise. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.results.records import BlockRecord, MachineState, TargetRun
from reports.stats.intervals import hodges_lehmann, wilcoxon_interval
from reports.stats.sequential import LOOK_LEVEL

SENTINEL_TOLERANCE = 0.05  # of a logarithm, for a sentinel without a calibrated spread
SENTINEL_SPREADS = 3.0  # a sentinel's floor, in standard deviations between rounds
MIN_STEADY_ROUNDS = 4  # needed to separate an effect from changes of the board
MIN_CLOCK_CHANGE = 0.02
MIN_TEMPERATURE_CHANGE_C = 5.0

# What must be the same in all blocks of a comparison. The boot must be the same within a pair.
_CONDITIONS: Mapping[str, Callable[[MachineState], str]] = {
    "governor": lambda state: state.governor,
    "power mode": lambda state: state.power_mode,
    "clock limits in MHz": lambda state: ", ".join(f"{mhz:g}" for mhz in state.cpu_max_mhz if mhz),
    "processors online": lambda state: state.cpus_online,
}


@dataclass(frozen=True, kw_only=True)
class Sentinel:
    """How much the sentinel's latency moved in a run, compared with its floor; both logarithms.

    ``steady`` are the rounds in which it stayed within the floor of its median.
    """

    moved: float
    floor: float
    steady: frozenset[int]

    @property
    def beyond_floor(self) -> bool:
        """Whether the machine itself became slower or faster."""
        return self.moved > self.floor


def environment_changes(blocks: Sequence[BlockRecord]) -> tuple[str, ...]:
    """Return as text the conditions that changed between blocks that are compared."""
    changes = []
    for name, value_of in _CONDITIONS.items():
        changes += _changes(name, ((block, value_of(state)) for block, state in _states(blocks)))
    changes += _changes("threads", ((block, str(block.threads or "")) for block in blocks))
    by_round: dict[int, list[BlockRecord]] = {}
    for block in blocks:
        by_round.setdefault(block.round, []).append(block)
    for round_, pair in by_round.items():
        boots = {state.boot_id for _, state in _states(pair) if state.boot_id}
        if len(boots) > 1:
            changes.append(f"the machine was restarted in round {round_}")
    return tuple(changes)


def sentinel_of(target: TargetRun, spread: float | None) -> Sentinel | None:
    """Return how the sentinel's latency moved; None without at least two sentinel blocks.

    ``spread`` is its calibrated standard deviation between rounds (of the logarithm), if known.
    """
    logs: dict[int, float] = {}
    for block in target.sentinels:
        medians = [timing.median_s for timing in block.timing.values() if timing.median_s]
        if block.status == "ok" and medians:
            logs[block.round] = math.log(medians[0])
    if len(logs) < 2:
        return None
    floor = SENTINEL_TOLERANCE if spread is None else SENTINEL_SPREADS * spread
    middle = float(np.median(list(logs.values())))
    steady = frozenset(round_ for round_, log in logs.items() if abs(log - middle) <= floor)
    moved = max(abs(log - middle) for log in logs.values())
    return Sentinel(moved=moved, floor=floor, steady=steady)


def holds_while_steady(log_ratios: Mapping[int, float], sentinel: Sentinel, limit: float) -> bool:
    """Say whether the effect exceeds the limit (a logarithm) in the board's steady rounds alone.

    A pair is measured within one round, so a board that changes between rounds does not cause an
    effect by itself. Only an effect that vanishes in the steady rounds is put down to the board.
    """
    steady = [log for round_, log in log_ratios.items() if round_ in sentinel.steady]
    return len(steady) >= MIN_STEADY_ROUNDS and hodges_lehmann(steady) > limit


def unequal_conditions(
    base: Mapping[int, BlockRecord], new: Mapping[int, BlockRecord]
) -> tuple[str, ...]:
    """Return as text how the machine's state differed between the two cases over common rounds.

    The order within rounds is random, so a difference comes from outside or from chance. It only
    counts if its interval excludes zero and it is large enough to matter.
    """
    rounds = sorted(base.keys() & new.keys())
    conditions = []
    clocks = [_difference(base[r], new[r], _log_clock) for r in rounds]
    clock_change = _systematic(clocks, MIN_CLOCK_CHANGE)
    if clock_change is not None and clock_change < 0:  # a faster clock does not slow a block down
        conditions.append(f"new ran at {-math.expm1(clock_change):.1%} lower clocks")
    temperatures = [_difference(base[r], new[r], _start_c) for r in rounds]
    warmer_c = _systematic(temperatures, MIN_TEMPERATURE_CHANGE_C)
    if warmer_c is not None and warmer_c > 0:
        conditions.append(f"new started {warmer_c:.0f} °C warmer")
    return tuple(conditions)


def _states(blocks: Iterable[BlockRecord]) -> Iterable[tuple[BlockRecord, MachineState]]:
    for block in blocks:
        for state in (block.state_before, block.state_after):
            if state is not None:
                yield block, state


def _changes(name: str, values: Iterable[tuple[BlockRecord, str]]) -> list[str]:
    """Return the first change of a value as text, in a list; empty values are unknown."""
    earlier = ""
    for block, value in values:
        if value and earlier and value != earlier:
            return [f"{name} changed from {earlier} to {value} in round {block.round}"]
        earlier = value or earlier
    return []


def _difference(
    base: BlockRecord, new: BlockRecord, figure_of: Callable[[BlockRecord], float | None]
) -> float | None:
    base_figure, new_figure = figure_of(base), figure_of(new)
    if base_figure is None or new_figure is None:
        return None
    return new_figure - base_figure


def _log_clock(block: BlockRecord) -> float | None:
    mhz = [value for value in block.state_after.cpu_mhz if value] if block.state_after else []
    return math.log(float(np.mean(mhz))) if mhz else None


def _start_c(block: BlockRecord) -> float | None:
    zones = block.state_before.temperatures_c.values() if block.state_before else ()
    return max((value for value in zones if value is not None), default=None)


def _systematic(differences: Sequence[float | None], at_least: float) -> float | None:
    """Return the Hodges-Lehmann estimate if it is large enough and its interval excludes zero."""
    known = [value for value in differences if value is not None]
    if not known:
        return None
    estimate = hodges_lehmann(known)
    interval = wilcoxon_interval(known, LOOK_LEVEL)
    if abs(estimate) < at_least or interval is None or interval[0] <= 0 <= interval[1]:
        return None
    return estimate
