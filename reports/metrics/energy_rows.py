"""How rows come about from a sensor's readings, and what a comparison has to know of them. Pure.

A row's interval also holds what the sensor may be off by: see ``reports.energy.by_round``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from reports.energy.by_round import (
    commonest_reason,
    energies_of,
    energy_figures,
    energy_ratios,
    over_rounds,
    power_figures,
)
from reports.energy.energy import Energy, UncertainValue
from reports.metrics.metric import RowBuilder, SensorFigures
from reports.metrics.rows import Row
from reports.metrics.status import FEWEST_FOR_INTERVAL, Status, without_value
from reports.metrics.values import no_power_reason
from reports.results.records import TargetRun
from workloads.spec.messages import Case

FEW_WINDOWS = "fewer than 6 rounds: the interval is the windows' own uncertainty"


def energy_rows(builder: RowBuilder) -> Iterator[Row]:
    """Yield the joules per iteration in each phase; of the step alone, without a sensor."""
    return _rows(builder, energy_figures)


def power_rows(builder: RowBuilder) -> Iterator[Row]:
    """Yield the mean power in each phase; of the step alone, without a sensor."""
    return _rows(builder, power_figures)


def _rows(
    builder: RowBuilder, figures: Callable[[Mapping[int, Energy]], Mapping[int, UncertainValue]]
) -> Iterator[Row]:
    energies = energies_of(builder.target)
    timing = builder.status
    if not energies and timing.has_value:
        timing = Status(status="missing", reason=no_power_reason(builder.target))
    for phase in builder.phases if energies else ("step",):
        windows = energies.get((builder.case, phase), {})
        status = _status_of_windows(timing, tuple(windows.values()))
        measured = over_rounds(tuple(figures(windows).values()))
        if measured is None:
            yield builder.row(phase, without_value(status, "not measured"))
        else:
            interval = (measured.low, measured.high)
            yield builder.row(phase, status, measured.value, interval, measured.n)


def _status_of_windows(timing: Status, energies: Sequence[Energy]) -> Status:
    """Say how the energy of a case's windows went, on top of how its blocks went."""
    if not timing.has_value:
        return timing
    bad = [energy for energy in energies if energy.status != "ok"]
    if not bad:
        return _with_doubts(timing, energies)
    status, reason = commonest_reason(bad)
    if len(bad) == len(energies):
        return Status(status=status, reason=reason)
    return Status(status="partial", reason=f"{len(bad)} of {len(energies)} windows: {reason}")


def _with_doubts(status: Status, energies: Sequence[Energy]) -> Status:
    """Say what an interval is made of if it is not made as usual."""
    doubts = [FEW_WINDOWS] if 0 < len(energies) < FEWEST_FOR_INTERVAL else []
    for energy in energies:
        for flag in energy.flags:
            if "tolerance" in flag and flag not in doubts:
                doubts.append(flag)
    if status.status != "ok" or not doubts:
        return status
    return Status(status="ok", reason="; ".join(doubts))


def _incomparable(target: TargetRun, base: Case, new: Case, phase: str) -> str:
    energies = energies_of(target)
    ratios = energy_ratios(energies.get((base, phase), {}), energies.get((new, phase), {}))
    return ratios if isinstance(ratios, str) else ""


def _missing(target: TargetRun, case: Case, phase: str, round_: int) -> Status:
    """Return why the window of a good block has no energy; ok where that is not what is missing."""
    energy = energies_of(target).get((case, phase), {}).get(round_)
    if energy is None or energy.status == "ok":
        return Status()
    reason = "; ".join(part for part in (energy.reason, energy.remedy) if part)
    return Status(status=energy.status, reason=reason)


def _uncertainty(target: TargetRun, case: Case, phase: str, rounds: Collection[int]) -> float:
    """Return what windows that err alike leave open; the sensor's gain cancels in a ratio."""
    figures = energy_figures(energies_of(target).get((case, phase), {}))
    shares = [figures[round_].relative_u95 for round_ in rounds if round_ in figures]
    return float(np.median(shares)) if shares else 0.0


def _no_readings(target: TargetRun) -> str:
    return "" if energies_of(target) else no_power_reason(target)


ENERGY_SENSOR = SensorFigures(
    incomparable=_incomparable,
    missing=_missing,
    uncertainty=_uncertainty,
    no_readings=_no_readings,
)
