"""The energy of every timing window of a target: where traces and blocks meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

from reports.energy import Energy, back_to_back, measure_energy
from reports.power_trace import RailMap, Trace
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
                    rounds[block.round] = _window(rails, trace, timing, timing.window_s)
    return found


def _window(
    rails: RailMap, trace: Trace, timing: PhaseTiming, window_s: tuple[float, float]
) -> Energy:
    return measure_energy(
        trace,
        rails,
        window_s,
        iterations=back_to_back(window_s[0], timing.times_s, timing.loops),
        loops=timing.loops,
    )
