"""What else than the code could have moved a figure: the board, its environment, noise. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.decision import LOOK_LEVEL
from reports.records import BlockRecord, MachineState, TargetRun
from reports.stats import hodges_lehmann, wilcoxon_interval

SENTINEL_TOLERANCE = 0.05  # of a logarithm, where no floor was calibrated
SENTINEL_SPREADS = 3.0  # a sentinel's floor, in standard deviations between rounds
FEWEST_STEADY = 4  # rounds, to tell an effect from the board's own moves
CLOCK_CHANGE = 0.02
TEMPERATURE_CHANGE_C = 5.0

# What must be the same in all blocks of a comparison; a boot only within a pair.
_STATE: Mapping[str, Callable[[MachineState], str]] = {
    "governor": lambda state: state.governor,
    "power mode": lambda state: state.power_mode,
    "clock limits in MHz": lambda state: ", ".join(f"{mhz:g}" for mhz in state.cpu_max_mhz if mhz),
    "processors online": lambda state: state.cpus_online,
}


@dataclass(frozen=True, kw_only=True)
class Sentinel:
    """How the sentinel went: by how much it moved, and in which rounds it stayed in its floor."""

    moved: float
    floor: float
    steady: frozenset[int]

    @property
    def beyond_floor(self) -> bool:
        """Tell whether the machine itself moved."""
        return self.moved > self.floor


def environment_changes(blocks: Sequence[BlockRecord]) -> tuple[str, ...]:
    """Return what changed between blocks that are compared, in words; empty where nothing did."""
    found = []
    for name, value in _STATE.items():
        found += _changes(name, ((block, value(state)) for block, state in _states(blocks)))
    found += _changes("threads", ((block, str(block.threads or "")) for block in blocks))
    by_round: dict[int, list[BlockRecord]] = {}
    for block in blocks:
        by_round.setdefault(block.round, []).append(block)
    for pair in by_round.values():
        boots = {state.boot_id for _, state in _states(pair) if state.boot_id}
        if len(boots) > 1:
            found.append(f"the machine restarted in round {pair[0].round}")
    return tuple(found)


def sentinel_of(target: TargetRun, spread: float | None) -> Sentinel | None:
    """Return how the sentinel went, against its calibrated spread; None where there is none."""
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
    """Tell whether the effect is beyond the limit in the rounds in which the board was steady.

    A pair is measured within one round, so that a board that moved between rounds does not make
    an effect: only one that is gone once the board holds still is the board's.
    """
    kept = [log for round_, log in log_ratios.items() if round_ in sentinel.steady]
    return len(kept) >= FEWEST_STEADY and hodges_lehmann(kept) > limit


def unequal_conditions(
    base: Mapping[int, BlockRecord], new: Mapping[int, BlockRecord]
) -> tuple[str, ...]:
    """Return in which machine states the two cases differ over their common rounds, in words.

    In rounds of random order they do so only by what came from outside, or by chance: hence an
    interval that leaves out zero and a size that could matter are asked for.
    """
    rounds = sorted(base.keys() & new.keys())
    found = []
    clocks = [_difference(base[r], new[r], _log_clock) for r in rounds]
    moved = _systematic(clocks, CLOCK_CHANGE)
    if moved is not None and moved < 0:  # a faster clock explains no slower block
        found.append(f"new ran at clocks {-math.expm1(moved):.1%} lower")
    warmer = _systematic(
        [_difference(base[r], new[r], _start_c) for r in rounds], TEMPERATURE_CHANGE_C
    )
    if warmer is not None and warmer > 0:
        found.append(f"new started {warmer:.0f} °C warmer")
    return tuple(found)


def _states(blocks: Iterable[BlockRecord]) -> Iterable[tuple[BlockRecord, MachineState]]:
    for block in blocks:
        for state in (block.state_before, block.state_after):
            if state is not None:
                yield block, state


def _changes(name: str, values: Iterable[tuple[BlockRecord, str]]) -> list[str]:
    """Return the first change of a value, as one phrase or none; empty values are not known."""
    earlier = ""
    for block, value in values:
        if value and earlier and value != earlier:
            return [f"{name} went from {earlier} to {value} in round {block.round}"]
        earlier = value or earlier
    return []


def _difference(
    base: BlockRecord, new: BlockRecord, figure: Callable[[BlockRecord], float | None]
) -> float | None:
    one, other = figure(base), figure(new)
    return None if one is None or other is None else other - one


def _log_clock(block: BlockRecord) -> float | None:
    mhz = [value for value in block.state_after.cpu_mhz if value] if block.state_after else []
    return math.log(float(np.mean(mhz))) if mhz else None


def _start_c(block: BlockRecord) -> float | None:
    zones = block.state_before.temperatures_c.values() if block.state_before else ()
    return max((value for value in zones if value is not None), default=None)


def _systematic(differences: Sequence[float | None], matters: float) -> float | None:
    """Return the differences' centre if it matters and its interval leaves out zero."""
    known = [value for value in differences if value is not None]
    if not known or abs(hodges_lehmann(known)) < matters:
        return None
    interval = wilcoxon_interval(known, LOOK_LEVEL)
    if interval is None or interval[0] <= 0 <= interval[1]:
        return None
    return hodges_lehmann(known)
