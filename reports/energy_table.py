"""The energy of every timing window of a target: where traces and blocks meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np

from reports.energy import Energy, back_to_back, measure_energy
from reports.power_trace import FloatArray, RailMap, Trace, Window
from reports.reading import read_trace
from reports.records import PhaseTiming, TargetRun
from workloads.messages import Case

Energies = Mapping[tuple[Case, str], Mapping[int, Energy]]  # (case, phase) -> round -> energy
_MEASURED: WeakKeyDictionary[TargetRun, Energies] = WeakKeyDictionary()


def energies_of(target: TargetRun) -> Energies:
    """Return the energy of each good block's windows; empty without a sensor or a trace.

    Raises:
        ResultProblem: the trace is not one.
    """
    if target not in _MEASURED:
        trace = read_trace(target) if target.power else None
        _MEASURED[target] = _measure(target, target.power, trace) if target.power and trace else {}
    return _MEASURED[target]


def energy_j(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the joules per iteration by round, where they could be measured."""
    return _by_round(target, case, phase, lambda energy: energy.per_iteration_j)


def power_w(target: TargetRun, case: Case, phase: str) -> dict[int, float]:
    """Return the mean power by round, where it could be measured."""
    return _by_round(target, case, phase, lambda energy: energy.mean_power_w)


def _by_round(
    target: TargetRun, case: Case, phase: str, figure: Callable[[Energy], object]
) -> dict[int, float]:
    found = {}
    for round_, energy in energies_of(target).get((case, phase), {}).items():
        value = getattr(figure(energy), "value", None)
        if energy.status == "ok" and value is not None:
            found[round_] = float(value)
    return found


def _measure(target: TargetRun, rails: RailMap, trace: Trace) -> Energies:
    found: dict[tuple[Case, str], dict[int, Energy]] = {}
    for block in target.blocks:
        if block.kind == "timing" and block.status == "ok":
            for phase, timing in block.timing.items():
                if timing.window_s and timing.times_s:
                    rounds = found.setdefault((block.case, phase), {})
                    idle = idle_around(target.idle, timing.window_s)
                    rounds[block.round] = _window(rails, trace, timing, timing.window_s, idle)
    return found


def idle_around(idle: Sequence[Window], window: Window) -> tuple[Window, ...]:
    """Return the idle windows next to a measured one, before and after it, where there are."""
    before = [other for other in idle if other[1] <= window[0]]
    after = [other for other in idle if other[0] >= window[1]]
    return (*before[-1:], *after[:1])


def _window(
    rails: RailMap, trace: Trace, timing: PhaseTiming, window: Window, idle: Sequence[Window]
) -> Energy:
    return measure_energy(
        trace,
        rails,
        window,
        iterations=_marks(timing, window),
        loops=timing.loops,
        idle=idle,
    )


def _marks(timing: PhaseTiming, window: Window) -> FloatArray:
    """Return (start, end) of every timed sample: where it was noted, else one after the other."""
    if len(timing.starts_s) != len(timing.times_s):
        return back_to_back(window[0], timing.times_s, timing.loops)
    starts_s = np.array(timing.starts_s)
    return np.stack([starts_s, starts_s + np.array(timing.times_s) * timing.loops], axis=1)
