"""The energy of every timing window of a target: where traces and blocks meet.

A figure of several rounds is their median. Its interval holds both what the rounds scattered and
what the sensor may be off by: from six rounds on it is the 95 % interval of the median, at least
as wide as what one window's own random uncertainty leaves open (windows may err alike), both ends
moved out by the sensor's tolerance; of fewer rounds it is all that the windows' own intervals
cover together. In a ratio of figures of one sensor the tolerance cancels; figures of different
sensors or scopes are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from reports.energy.energy import Energy, Figure, back_to_back, comparable, measure_energy
from reports.results.power import FloatArray, RailMap, Trace, Window
from reports.results.read import read_trace
from reports.results.records import BlockRecord, PhaseTiming, TargetRun
from reports.stats.intervals import median_interval
from reports.text.wording import without_numbers
from workloads.spec.messages import Case

MARGIN_S = 300.0  # of the trace around a window: some readings of even a slow meter
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
class Measured:
    """A figure over rounds with its interval, in which the sensor's tolerance is included."""

    value: float
    low: float
    high: float
    n: int


_TRACES: WeakKeyDictionary[TargetRun, Trace | None] = WeakKeyDictionary()
_MEASURED: WeakKeyDictionary[TargetRun, tuple[WindowEnergy, ...]] = WeakKeyDictionary()
_BY_CASE: WeakKeyDictionary[TargetRun, Energies] = WeakKeyDictionary()


def trace_of(target: TargetRun) -> Trace | None:
    """Return the readings of a target's power sensor, read once; None where there are none.

    Raises:
        ResultProblem: the trace is not one.
    """
    if target not in _TRACES:
        _TRACES[target] = read_trace(target) if target.power else None
    return _TRACES[target]


def windows_of(target: TargetRun) -> tuple[WindowEnergy, ...]:
    """Return each timing window with its energy, in order; empty without a sensor or a trace.

    A throttled block's windows are there, and invalid.

    Raises:
        ResultProblem: the trace is not one.
    """
    if target not in _MEASURED:
        trace = trace_of(target)
        _MEASURED[target] = _measure(target, target.power, trace) if target.power and trace else ()
    return _MEASURED[target]


def energies_of(target: TargetRun) -> Energies:
    """Return the energy of each timing window by case and phase, then by round."""
    if target not in _BY_CASE:
        found: dict[tuple[Case, str], dict[int, Energy]] = {}
        for window in windows_of(target):
            rounds = found.setdefault((window.block.case, window.phase), {})
            rounds[window.block.round] = window.energy
        _BY_CASE[target] = found
    return _BY_CASE[target]


def energy_figures(energies: Mapping[int, Energy]) -> dict[int, Figure]:
    """Return the joules per iteration by round, where they could be measured."""
    return _figures(energies, lambda energy: energy.per_iteration_j)


def power_figures(energies: Mapping[int, Energy]) -> dict[int, Figure]:
    """Return the mean power by round, where it could be measured."""
    return _figures(energies, lambda energy: energy.mean_power_w)


def net_figures(energies: Mapping[int, Energy]) -> dict[int, Figure]:
    """Return the joules per iteration above idle by round, where idle power was measured too."""
    return _figures(energies, lambda energy: energy.net_per_iteration_j)


def over_rounds(figures: Sequence[Figure]) -> Measured | None:
    """Return the median of one figure per round with its interval; None without any."""
    if not figures:
        return None
    values = [figure.value for figure in figures]
    middle = float(np.median(values))
    spread = median_interval(values)
    if spread is None:
        low = min(figure.value - figure.random_u95 - figure.systematic_u95 for figure in figures)
        high = max(figure.value + figure.random_u95 + figure.systematic_u95 for figure in figures)
        return Measured(value=middle, low=low, high=high, n=len(values))
    random_u95 = float(np.median([figure.random_u95 for figure in figures]))
    tolerance = max(figure.systematic_u95 for figure in figures)
    return Measured(
        value=middle,
        low=min(spread[0], middle - random_u95) - tolerance,
        high=max(spread[1], middle + random_u95) + tolerance,
        n=len(values),
    )


def energy_ratios(base: Mapping[int, Energy], new: Mapping[int, Energy]) -> dict[int, float] | str:
    """Return new / base of the joules per iteration by round, or why they must not be compared.

    Rounds in which either is not measured are left out.
    """
    ours, theirs = energy_figures(new), energy_figures(base)
    rounds = sorted(ours.keys() & theirs.keys())
    refusals = (comparable(base[round_], new[round_]) for round_ in rounds)
    refusal = next((words for words in refusals if words), None)
    return refusal or {round_: ours[round_].value / theirs[round_].value for round_ in rounds}


def why_incomparable(one: TargetRun, other: TargetRun) -> str | None:
    """Return why energies of two targets must not be compared; None if they may, or lack any."""
    pair = [_first_good(target) for target in (one, other)]
    return comparable(pair[0], pair[1]) if pair[0] and pair[1] else None


def commonest_reason(energies: Sequence[Energy]) -> tuple[str, str]:
    """Return (status, reason with what to change) of most of the energies that are not ok.

    Reasons that differ in their numbers only are one.
    """
    groups = Counter(kind_of_reason(energy) for energy in energies)
    ((status, words), _) = groups.most_common(1)[0]
    chosen = next(energy for energy in energies if kind_of_reason(energy) == (status, words))
    return status, "; ".join(part for part in (chosen.reason, chosen.remedy) if part) or status


def kind_of_reason(energy: Energy) -> tuple[str, str]:
    """Return the status and the reason without its numbers."""
    return energy.status, without_numbers(energy.reason or "")


def idle_around(idle: Sequence[Window], window: Window) -> tuple[Window, ...]:
    """Return the idle windows next to a measured one, before and after it, where there are."""
    before = [other for other in idle if other[1] <= window[0]]
    after = [other for other in idle if other[0] >= window[1]]
    return (*before[-1:], *after[:1])


def marks_of(timing: PhaseTiming, window: Window) -> FloatArray:
    """Return (start, end) of every timed sample: where it was noted, else one after the other."""
    if len(timing.starts_s) != len(timing.times_s):
        return back_to_back(window[0], timing.times_s, timing.loops)
    starts_s = np.array(timing.starts_s)
    return np.stack([starts_s, starts_s + np.array(timing.times_s) * timing.loops], axis=1)


def _figures(
    energies: Mapping[int, Energy], figure: Callable[[Energy], Figure | None]
) -> dict[int, Figure]:
    pairs = ((round_, figure(energy)) for round_, energy in energies.items())
    return {round_: value for round_, value in pairs if value is not None}


def _first_good(target: TargetRun) -> Energy | None:
    energies = (window.energy for window in windows_of(target))
    return next((energy for energy in energies if energy.status == "ok"), None)


def _measure(target: TargetRun, rails: RailMap, trace: Trace) -> tuple[WindowEnergy, ...]:
    ordered = {name: _in_order(*readings) for name, readings in trace.items()}
    return tuple(
        WindowEnergy(
            block=block,
            phase=phase,
            timing=timing,
            window_s=timing.window_s,
            energy=_energy(target, rails, ordered, block, timing, timing.window_s),
        )
        for block in target.blocks
        if block.kind == "timing" and block.status in ("ok", "throttled")
        for phase, timing in block.timing.items()
        if timing.window_s and timing.times_s
    )


def _energy(
    target: TargetRun,
    rails: RailMap,
    trace: Trace,
    block: BlockRecord,
    timing: PhaseTiming,
    window: Window,
) -> Energy:
    idle = idle_around(target.idle, window)
    return measure_energy(
        _near(trace, (window, *idle)),
        rails,
        window,
        iterations=marks_of(timing, window),
        loops=timing.loops,
        idle=idle,
        changes=timing.changes_s,
        throttled=block.reason or True if block.status == "throttled" else False,
    )


def _in_order(times_s: FloatArray, raw: FloatArray) -> tuple[FloatArray, FloatArray]:
    order = np.argsort(times_s, kind="stable")
    return times_s[order], raw[order]


def _near(trace: Trace, windows: Sequence[Window]) -> Trace:
    """Cut a long ordered trace down to what lies around the windows: each is one of thousands."""
    found = {}
    for name, (times_s, raw) in trace.items():
        edges = [(begin - MARGIN_S, end + MARGIN_S) for begin, end in windows]
        parts = [slice(*np.searchsorted(times_s, edge)) for edge in edges]
        found[name] = (
            np.concatenate([times_s[part] for part in parts]),
            np.concatenate([raw[part] for part in parts]),
        )
    return found
