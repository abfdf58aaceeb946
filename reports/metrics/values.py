"""The value of each metric, by round, of one case on one target. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reports.results.records import BlockRecord, TargetRun
from workloads.spec.messages import Case


def latencies_s(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the block medians of one phase by round, in seconds per iteration."""
    timings = (
        (block.round, block.timing.get(phase))
        for block in target.blocks_of(case, "timing")
        if block.status == "ok"
    )
    medians = ((round_, timing.median_s) for round_, timing in timings if timing)
    return {round_: median for round_, median in medians if median is not None and median > 0}


def memory_figures(target: TargetRun, case: Case, metric: str) -> dict[int, float]:
    """Return one memory figure (a field of ``Memory``) by round, where it was measured."""
    return figures_by_round(
        (block, getattr(block.memory, metric, None)) for block in target.blocks_of(case, "memory")
    )


def no_power_reason(target: TargetRun) -> str:
    """Say why a target has no energy, with the remedy where one is known."""
    if target.power is None or not target.power.rails:
        words = "; ".join(target.power.missing if target.power else ()) or "no power sensor"
        return words if "no power sensor" in words else f"no power sensor; {words}"
    return "no readings of the power sensor were recorded"


def hottest_c(block: BlockRecord) -> float | None:
    """Return the hottest zone right after the block."""
    zones = block.state_after.temperatures_c.values() if block.state_after else ()
    return max((value for value in zones if value is not None), default=None)


def paired(
    base: Mapping[int, float], new: Mapping[int, float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the values of the rounds that both have, in order of rounds."""
    rounds = sorted(base.keys() & new.keys())
    return tuple(base[r] for r in rounds), tuple(new[r] for r in rounds)


def figures_by_round(pairs: Iterable[tuple[BlockRecord, float | None]]) -> dict[int, float]:
    """Return the figure of each round whose block was measured well."""
    return {
        block.round: float(value)
        for block, value in pairs
        if value is not None and block.status == "ok"
    }
