"""The energy of every timing window of a target, by case, phase and round.

The figure for several rounds is their median. Its interval covers the scatter between rounds and
the sensor's tolerance. From six rounds on it is the 95 % interval of the median, at least as wide
as the random uncertainty of one window (the errors of windows may be the same in all), with both
ends moved outwards by the tolerance; for fewer rounds it spans the intervals of all windows. In a
ratio of figures from one sensor the tolerance cancels; figures from different sensors or scopes
are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from reports.energy.energy import (
    Energy,
    UncertainValue,
    back_to_back,
    measure_energy,
    why_not_comparable,
)
from reports.energy.excerpts import LongTrace
from reports.results.power import FloatArray, RailMap, Trace, Window
from reports.results.read import read_trace
from reports.results.records import BlockRecord, PhaseTiming, TargetRun
from reports.stats.intervals import median_interval
from reports.text.wording import without_numbers
from workloads.spec.messages import Case

Energies = Mapping[tuple[Case, str], Mapping[int, Energy]]  # (case, phase) -> round -> energy


@dataclass(frozen=True, kw_only=True)
class WindowEnergy:
    """One timing window of one block and its energy."""

    block: BlockRecord
    phase: str
    timing: PhaseTiming
    window_s: Window
    energy: Energy


@dataclass(frozen=True, kw_only=True)
class MedianOverRounds:
    """The median of a figure over ``n`` rounds; the interval includes the sensor's tolerance."""

    value: float
    low: float
    high: float
    n: int


# Caches: reading a trace and integrating its windows takes seconds.
_TRACES: WeakKeyDictionary[TargetRun, Trace | None] = WeakKeyDictionary()
_WINDOWS: WeakKeyDictionary[TargetRun, tuple[WindowEnergy, ...]] = WeakKeyDictionary()
_BY_CASE: WeakKeyDictionary[TargetRun, Energies] = WeakKeyDictionary()


def trace_of(target: TargetRun) -> Trace | None:
    """Return the readings of a target's power sensor; None without a sensor or a trace."""
    if target not in _TRACES:
        _TRACES[target] = read_trace(target) if target.power else None
    return _TRACES[target]


def windows_of(target: TargetRun) -> tuple[WindowEnergy, ...]:
    """Return each timing window with its energy, in order; empty without a sensor or a trace.

    Windows of throttled blocks are included; their energy is invalid.
    """
    if target not in _WINDOWS:
        trace = trace_of(target)
        _WINDOWS[target] = _measure(target, target.power, trace) if target.power and trace else ()
    return _WINDOWS[target]


def energies_of(target: TargetRun) -> Energies:
    """Return the energy of each timing window by case and phase, then by round."""
    if target not in _BY_CASE:
        by_case: dict[tuple[Case, str], dict[int, Energy]] = {}
        for window in windows_of(target):
            by_round = by_case.setdefault((window.block.case, window.phase), {})
            by_round[window.block.round] = window.energy
        _BY_CASE[target] = by_case
    return _BY_CASE[target]


def energy_figures(energies: Mapping[int, Energy]) -> dict[int, UncertainValue]:
    """Return the joules per iteration by round; rounds without a figure are left out."""
    return _figures(energies, lambda energy: energy.per_iteration_j)


def power_figures(energies: Mapping[int, Energy]) -> dict[int, UncertainValue]:
    """Return the mean power in watts by round; rounds without a figure are left out."""
    return _figures(energies, lambda energy: energy.mean_power_w)


def net_figures(energies: Mapping[int, Energy]) -> dict[int, UncertainValue]:
    """Return the joules per iteration above idle by round, if idle power was measured too."""
    return _figures(energies, lambda energy: energy.net_per_iteration_j)


def over_rounds(figures: Sequence[UncertainValue]) -> MedianOverRounds | None:
    """Return the median of one figure per round with its interval; None without any figure."""
    if not figures:
        return None
    values = [figure.value for figure in figures]
    median = float(np.median(values))
    interval = median_interval(values)
    if interval is None:
        low = min(figure.value - figure.random_u95 - figure.systematic_u95 for figure in figures)
        high = max(figure.value + figure.random_u95 + figure.systematic_u95 for figure in figures)
        return MedianOverRounds(value=median, low=low, high=high, n=len(values))
    random_u95 = float(np.median([figure.random_u95 for figure in figures]))
    tolerance = max(figure.systematic_u95 for figure in figures)
    return MedianOverRounds(
        value=median,
        low=min(interval[0], median - random_u95) - tolerance,
        high=max(interval[1], median + random_u95) + tolerance,
        n=len(values),
    )


def energy_ratios(base: Mapping[int, Energy], new: Mapping[int, Energy]) -> dict[int, float] | str:
    """Return new / base of the joules per iteration by round, or why they must not be compared.

    Rounds in which either energy is not measured are left out.
    """
    base_j, new_j = energy_figures(base), energy_figures(new)
    ratios = {}
    for round_ in sorted(base_j.keys() & new_j.keys()):
        reason = why_not_comparable(base[round_], new[round_])
        if reason is not None:
            return reason
        ratios[round_] = new_j[round_].value / base_j[round_].value
    return ratios


def why_incomparable(first: TargetRun, second: TargetRun) -> str | None:
    """Return why the energies of two targets must not be compared.

    None if they may be compared, or if one of them has no energies at all.
    """
    first_energy, second_energy = _first_measured(first), _first_measured(second)
    if first_energy is None or second_energy is None:
        return None
    return why_not_comparable(first_energy, second_energy)


def commonest_reason(energies: Sequence[Energy]) -> tuple[str, str]:
    """Return (status, reason and remedy) that most of the energies, none of them ok, share.

    Reasons that only differ in their numbers are the same.
    """
    groups: dict[tuple[str, str], list[Energy]] = {}
    for energy in energies:
        groups.setdefault(kind_of_reason(energy), []).append(energy)
    (status, _), members = max(groups.items(), key=lambda group: len(group[1]))
    reason, remedy = members[0].reason, members[0].remedy
    return status, "; ".join(part for part in (reason, remedy) if part) or status


def kind_of_reason(energy: Energy) -> tuple[str, str]:
    """Return the status and the reason without its numbers."""
    return energy.status, without_numbers(energy.reason or "")


def idle_around(idle: Sequence[Window], window: Window) -> tuple[Window, ...]:
    """Return the last idle window before a measured one and the first after it, if any."""
    before = [(begin, end) for begin, end in idle if end <= window[0]]
    after = [(begin, end) for begin, end in idle if begin >= window[1]]
    return (*before[-1:], *after[:1])


def marks_of(timing: PhaseTiming, window: Window) -> FloatArray:
    """Return (start, end) of every timed sample; without noted starts, they are back to back."""
    if len(timing.starts_s) != len(timing.times_s):
        return back_to_back(window[0], timing.times_s, timing.loops)
    starts_s = np.array(timing.starts_s)
    return np.stack([starts_s, starts_s + np.array(timing.times_s) * timing.loops], axis=1)


def _figures(
    energies: Mapping[int, Energy], figure_of: Callable[[Energy], UncertainValue | None]
) -> dict[int, UncertainValue]:
    figures = {}
    for round_, energy in energies.items():
        figure = figure_of(energy)
        if figure is not None:
            figures[round_] = figure
    return figures


def _first_measured(target: TargetRun) -> Energy | None:
    energies = (window.energy for window in windows_of(target))
    return next((energy for energy in energies if energy.status == "ok"), None)


def _measure(target: TargetRun, rails: RailMap, trace: Trace) -> tuple[WindowEnergy, ...]:
    whole = LongTrace(trace, rails)
    windows = []
    for block in target.blocks:
        if block.kind != "timing" or block.status not in ("ok", "throttled"):
            continue
        for phase, timing in block.timing.items():
            if not timing.window_s or not timing.times_s:
                continue
            windows.append(
                WindowEnergy(
                    block=block,
                    phase=phase,
                    timing=timing,
                    window_s=timing.window_s,
                    energy=_energy(target, rails, whole, block, timing, timing.window_s),
                )
            )
    return tuple(windows)


def _energy(
    target: TargetRun,
    rails: RailMap,
    trace: LongTrace,
    block: BlockRecord,
    timing: PhaseTiming,
    window: Window,
) -> Energy:
    throttled: bool | str = False
    if block.status == "throttled":
        throttled = block.reason or True
    idle = idle_around(target.idle, window)
    return measure_energy(
        trace.around((window, *idle)),
        rails,
        window,
        iterations=marks_of(timing, window),
        loops=timing.loops,
        idle=idle,
        changes=timing.changes_s,
        throttled=throttled,
    )
