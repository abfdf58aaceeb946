"""How a case's latency went from run to run, as one line of characters. Pure.

A change of machine (its fingerprint) or of kernel version between two runs is drawn as a bar:
what stands on its two sides is not the same thing measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.metrics.of_run import cases_of
from reports.metrics.summary import environment_fingerprint, environment_of
from reports.metrics.values import latencies_s
from reports.results.records import Run, TargetRun
from workloads.spec.messages import Case

PHASE = "backward"
BARS = "▁▂▃▄▅▆▇"  # an odd number, so that the middle is one of them
NO_VALUE = "·"
CHANGED = "|"
MIN_SPAN = 0.2  # of the median: so much is the full height at least, or noise would look like news


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The median latency of a case's backward in each run, oldest first; None: not measured.

    ``changed`` says for each run whether machine or kernel differ from the last that was measured.
    """

    target: str
    case: Case
    values_s: tuple[float | None, ...]
    changed: tuple[bool, ...]

    @property
    def line(self) -> str:
        """The values as a sparkline."""
        return sparkline(self.values_s, self.changed)


def trends(runs: Sequence[Run]) -> tuple[Trend, ...]:
    """Return the trend of every case of the newest run that an earlier one has measured too."""
    if not runs:
        return ()
    ordered = sorted(runs, key=lambda run: (run.header.started_at, run.run_id))
    newest = ordered[-1]
    found = []
    for target in newest.targets:
        for case in cases_of(newest, target):
            trend = _trend(ordered, target.name, case)
            if sum(value is not None for value in trend.values_s) > 1:
                found.append(trend)
    return tuple(found)


def sparkline(values: Sequence[float | None], changed: Sequence[bool] = ()) -> str:
    """Return a character per value, low to high; a dot for None, a bar before a change."""
    known = [value for value in values if value is not None]
    if not known:
        return NO_VALUE * len(values)
    low, high = min(known), max(known)
    span = max(high - low, MIN_SPAN * abs(float(np.median(known))))
    middle = (low + high) / 2
    text = ""
    for place, value in enumerate(values):
        if place < len(changed) and changed[place]:
            text += CHANGED
        if value is None:
            text += NO_VALUE
        elif span:
            text += _bar((value - middle) / span)
        else:
            text += _bar(0.0)
    return text


def _bar(offset: float) -> str:
    """Return the bar for a value from -0.5 (lowest) to 0.5 (highest)."""
    return BARS[min(len(BARS) - 1, int((offset + 0.5) * len(BARS)))]


def _trend(runs: Sequence[Run], name: str, case: Case) -> Trend:
    values: list[float | None] = []
    changed: list[bool] = []
    last = None
    for run in runs:
        target = next((one for one in run.targets if one.name == name), None)
        rounds = latencies_s(target, case, PHASE) if target else {}
        values.append(float(np.median(list(rounds.values()))) if rounds else None)
        basis = _basis(run, target, case) if target and rounds else last
        changed.append(last is not None and basis != last)
        last = basis
    return Trend(target=name, case=case, values_s=tuple(values), changed=tuple(changed))


def _basis(run: Run, target: TargetRun, case: Case) -> tuple[str, str]:
    """Return what must be the same for two latencies to be comparable."""
    kernel = next((one for one in run.header.kernels if one.name == case.kernel), None)
    return environment_fingerprint(environment_of(target)), kernel.source_sha256 if kernel else ""
