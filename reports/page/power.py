"""What a page says beside the energy: what the sensor sees, how sure it is, what did not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from reports.energy.by_round import (
    WindowEnergy,
    kind_of_reason,
    trace_of,
    why_incomparable,
    windows_of,
)
from reports.energy.energy import Energy
from reports.metrics.subjects import Subject
from reports.metrics.values import no_power_reason
from reports.results.power import FloatArray, Rail, RailMap, Trace
from reports.results.records import TargetRun
from reports.text.wording import cut, quantity, significant, without_numbers


@dataclass(frozen=True, kw_only=True)
class Share:
    """One cause of uncertainty, as a share of the gross energy of a window."""

    cause: str
    median: float
    largest: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A flag or a reason, and of how many windows it is."""

    text: str
    remedy: str
    count: int


@dataclass(frozen=True, kw_only=True)
class PowerStory:
    """What a reader has to know about one target's energy."""

    subject: Subject
    facts: tuple[tuple[str, str], ...]
    windows: int
    good: int
    budget: tuple[Share, ...]
    flags: tuple[Counted, ...]
    invalid: tuple[Counted, ...]

    @property
    def summary(self) -> str:
        """How many windows have an energy figure."""
        if not self.windows:
            return no_power_reason(self.subject.target)
        return f"{self.good} of {self.windows} windows have an energy figure"


def power_stories_of(subjects: Sequence[Subject]) -> tuple[PowerStory, ...]:
    """Return the story of each target that has a power sensor."""
    return tuple(_story(s, s.target.power) for s in subjects if s.target.power is not None)


def incomparable(subjects: Sequence[Subject]) -> tuple[str, ...]:
    """Return which targets' energies must not be compared, and why."""
    notes = []
    for first, second in combinations(subjects, 2):
        reason = why_incomparable(first.target, second.target)
        if reason:
            notes.append(f"The energies of {first.label} and {second.label} are {reason}.")
    return tuple(notes)


def _story(subject: Subject, power: RailMap) -> PowerStory:
    windows = windows_of(subject.target)
    energies = [window.energy for window in windows]
    good = [energy for energy in energies if energy.status == "ok"]
    facts = _facts(subject, power, windows)
    return PowerStory(
        subject=subject,
        facts=tuple((name, cut(text, 400)) for name, text in facts if text),
        windows=len(windows),
        good=len(good),
        budget=_budget(good),
        flags=_flags(good),
        invalid=_invalid([energy for energy in energies if energy.status != "ok"]),
    )


def _facts(
    subject: Subject, power: RailMap, windows: Sequence[WindowEnergy]
) -> list[tuple[str, str]]:
    rails = [rail for name in power.total if (rail := power.rail(name))]
    nested = [rail.name for rail in power.rails if rail.name not in power.total]
    trace = trace_of(subject.target)
    methods = Counter(w.energy.method for w in windows if w.energy.method)
    return [
        ("Scope", power.scope),
        ("Total", " + ".join(power.total)),
        ("Rule", power.rule),
        ("Source", power.source),
        ("Sampling", _sampling(power, rails, trace)),
        ("Sensor", "; ".join(dict.fromkeys(_sensor(rail) for rail in rails))),
        ("Inside the total, not added", ", ".join(nested)),
        ("Estimator", ", ".join(f"{name} ({n} windows)" for name, n in methods.most_common())),
        ("Idle power", _idle(windows)),
        ("Sampler in this run", _sampler_cpu(subject.target)),
        ("Sampler's own cost", _calibration(subject.target)),
        ("Not read", "; ".join(power.missing)),
    ]


def _sampling(power: RailMap, rails: Sequence[Rail], trace: Trace | None) -> str:
    """Say how often the sensor was asked for and was read."""
    asked = f"asked every {quantity(power.interval_s, 's')}" if power.interval_s else ""
    times_s = _first_times(rails, trace)
    if times_s is None or len(times_s) < 2 or times_s[-1] <= times_s[0]:
        return asked
    mean_s = float(times_s[-1] - times_s[0]) / (len(times_s) - 1)
    rate = f"every {quantity(mean_s, 's')} ({significant(1 / mean_s)} Hz) on average"
    read = f"read {len(times_s)} times, {rate}"
    return f"{read}, {asked}" if asked else read


def _first_times(rails: Sequence[Rail], trace: Trace | None) -> FloatArray | None:
    """Return the instants of the first channel that was read."""
    for rail in rails:
        for channel in rail.channels:
            if trace and channel.id in trace:
                return trace[channel.id][0]
    return None


def _sensor(rail: Rail) -> str:
    if rail.kind == "energy":
        kind = "counts energy"
    elif rail.conversion == "average":
        kind = "averages"
    else:
        kind = "samples an instant"
    update = "on each read"
    if rail.update_interval_s is not None:
        update = f"new value every {quantity(rail.update_interval_s, 's')}"
    tolerance = "tolerance unknown"
    if rail.tolerance is not None:
        tolerance = f"tolerance {100 * rail.tolerance:.2g} %"
    return f"{rail.name} {kind}, {update}, {tolerance}"


def _idle(windows: Sequence[WindowEnergy]) -> str:
    powers = [w.energy.idle_power_w for w in windows if w.energy.idle_power_w]
    if not powers:
        return "not measured, so there is no net energy" if windows else ""
    middle = float(np.median([power.value for power in powers]))
    u95 = float(np.median([power.random_u95 for power in powers]))
    return f"{quantity(middle, 'W')} ± {quantity(u95, 'W')}, measured before and after the run"


def _sampler_cpu(target: TargetRun) -> str:
    shares = []
    for block in target.blocks:
        if block.sampler_cpu_s is not None and block.window_s:
            begin_s, end_s = block.window_s
            if end_s > begin_s:
                shares.append(block.sampler_cpu_s / (end_s - begin_s))
    if not shares:
        return ""
    return f"{significant(100 * float(np.median(shares)), 2)} % of one core during the blocks"


def _calibration(target: TargetRun) -> str:
    """Say what ``gfbench calibrate --sampler-overhead`` found."""
    if target.sampler_cost is not None:
        return target.sampler_cost.summary
    return "not calibrated (gfbench calibrate --sampler-overhead)"


def _budget(good: Sequence[Energy]) -> tuple[Share, ...]:
    """Return each cause's share of the gross energy over all good windows, 95 %."""
    causes: tuple[tuple[str, Callable[[Energy], float | None], str], ...] = (
        ("quantisation", _term("quantisation_j"), "the steps in which the sensor counts"),
        (
            "sampling",
            _term("sampling_j"),
            "what the power did between readings, its drift included",
        ),
        ("edges", _term("edges_j"), "iterations cut at the ends of the window"),
        (
            "tolerance",
            _term("tolerance_j"),
            "the sensor's gain, which cancels in ratios on one sensor",
        ),
        ("all together", _gross, "the uncertainty of one window"),
        ("idle, in net only", _idle_share, "idle power's own noise and its change over the run"),
    )
    shares = []
    for cause, share, note in causes:
        values = [value for energy in good if (value := share(energy)) is not None]
        if values:
            middle = float(np.median(values))
            shares.append(Share(cause=cause, median=middle, largest=max(values), note=note))
    return tuple(shares)


def _term(name: str) -> Callable[[Energy], float | None]:
    def share(energy: Energy) -> float | None:
        if energy.uncertainty is None or energy.gross_j is None:
            return None
        return float(getattr(energy.uncertainty, name)) / energy.gross_j.value

    return share


def _gross(energy: Energy) -> float | None:
    return None if energy.gross_j is None else energy.gross_j.u95 / energy.gross_j.value


def _idle_share(energy: Energy) -> float | None:
    if energy.idle_power_w is None or energy.mean_power_w is None:
        return None
    return energy.idle_power_w.random_u95 / energy.mean_power_w.value


def _flags(good: Sequence[Energy]) -> tuple[Counted, ...]:
    """Return the flags with how many windows have them; numbers in them do not tell them apart."""
    kinds: dict[str, list[str]] = {}
    for energy in good:
        for flag in energy.flags:
            kinds.setdefault(without_numbers(flag), []).append(flag)
    counted = [Counted(text=cut(f[0], 400), remedy="", count=len(f)) for f in kinds.values()]
    return tuple(sorted(counted, key=lambda item: -item.count))


def _invalid(bad: Sequence[Energy]) -> tuple[Counted, ...]:
    """Return every reason for which windows have no energy, with their number."""
    groups: dict[tuple[str, str], list[Energy]] = {}
    for energy in bad:
        groups.setdefault(kind_of_reason(energy), []).append(energy)
    counted = [
        Counted(
            text=cut(f"{energies[0].status}: {energies[0].reason}", 400),
            remedy=cut(energies[0].remedy or "", 400),
            count=len(energies),
        )
        for energies in groups.values()
    ]
    return tuple(sorted(counted, key=lambda item: -item.count))
