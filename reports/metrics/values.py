"""The figures of one case on one target by round. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from reports.energy.by_round import energies_of, energy_figures, power_figures
from reports.results.discounted import has_floor
from reports.results.records import BlockRecord, TargetRun
from workloads.spec.costs import floor_s
from workloads.spec.messages import Case

SPECTRA = {"": "one_over_f", "white_noise": "white_noise"}  # of a layer's fidelity, by phase
CAPTURED = "captured"  # a network's: the activations and gradients that its layers met


def latencies_s(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the block medians of one phase by round, in seconds per iteration."""
    medians = {}
    for block in target.blocks_of(case, "timing"):
        timing = block.timing.get(phase)
        if block.status != "ok" or timing is None:
            continue
        if timing.median_s is not None and timing.median_s > 0:
            medians[block.round] = timing.median_s
    return medians


def memory_figures(target: TargetRun, case: Case, metric: str) -> dict[int, float]:
    """Return one memory figure (a field of ``Memory``) by round, where it was measured."""
    return figures_by_round(
        (block, getattr(block.memory, metric, None)) for block in target.blocks_of(case, "memory")
    )


def fidelity_figures(target: TargetRun, case: Case, phase: str, metric: str) -> dict[int, float]:
    """Return one figure of fidelity (a field of ``Fidelity``) by round, on a phase's spectrum."""
    inputs = CAPTURED if case.is_network else SPECTRA[phase]
    return figures_by_round(
        (block, getattr(block.fidelity.get(inputs), metric, None))
        for block in target.blocks_of(case, "fidelity")
    )


def energies_j(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the joules per iteration by round, where they could be measured."""
    windows = energies_of(target).get((case, phase), {})
    return {round_: figure.value for round_, figure in energy_figures(windows).items()}


def powers_w(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the mean power by round, where it could be measured."""
    windows = energies_of(target).get((case, phase), {})
    return {round_: figure.value for round_, figure in power_figures(windows).items()}


def floor_fractions(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the floor, at the rates that this machine showed, over the measured time by round.

    Both of one round, as a machine's rates change with what else is done near it; a round without
    rates of its own takes those of the others.
    """
    rates = target.rates
    if rates is None or not has_floor(case):
        return {}
    return {
        round_: floor_s(case, phase, target.rates_by_round.get(round_, rates)) / latency_s
        for round_, latency_s in latencies_s(target, case, phase).items()
    }


def forward_shares(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the forward's time over the step's by round; the phase does not matter."""
    steps_s = latencies_s(target, case, "step")
    return {
        round_: forward_s / steps_s[round_]
        for round_, forward_s in latencies_s(target, case, "forward").items()
        if round_ in steps_s
    }


def temperatures_c(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the hottest zone after each timing block by round; the phase does not matter."""
    blocks = target.blocks_of(case, "timing")
    return figures_by_round((block, hottest_c(block)) for block in blocks)


def no_power_reason(target: TargetRun) -> str:
    """Say why a target has no energy, with the remedy where one is known."""
    if target.power is None or not target.power.rails:
        missing = "; ".join(target.power.missing if target.power else ()) or "no power sensor"
        return missing if "no power sensor" in missing else f"no power sensor; {missing}"
    return "no readings of the power sensor were recorded"


def hottest_c(block: BlockRecord) -> float | None:
    """Return the hottest zone right after the block."""
    zones = block.state_after.temperatures_c.values() if block.state_after else ()
    return max((value for value in zones if value is not None), default=None)


def log_ratios(base: Mapping[int, float], new: Mapping[int, float]) -> dict[int, float]:
    """Return the logarithms of new / base of the rounds that both have, in order of rounds."""
    return {
        round_: math.log(new[round_] / base[round_])
        for round_ in sorted(base.keys() & new.keys())
        if base[round_] > 0 and new[round_] > 0
    }


def figures_by_round(pairs: Iterable[tuple[BlockRecord, float | None]]) -> dict[int, float]:
    """Return the figure of each round whose block was measured well."""
    return {
        block.round: float(value)
        for block, value in pairs
        if value is not None and block.status == "ok"
    }
