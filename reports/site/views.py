"""The data that a site's pages show: newest figures of all cases, summaries, changes. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reports.charts.style import Colours
from reports.metrics.over_workloads import over_workloads
from reports.metrics.subjects import Method
from reports.metrics.table import columns_of, metric_label
from reports.site.archive import Archive, Machine, RunFacts, Series
from reports.site.names import colours_of, slug
from reports.site.trends import History, HistoryAnalysis, Level, LevelChange
from reports.stats.change_points import Floats
from reports.stats.intervals import Effect
from reports.text.wording import interval, method_label, quantity, significant
from workloads.spec.methods import BASELINE

SPARK_POINTS = 40

Case = tuple[str, str, str, int | None, str, str, str, int]


@dataclass(frozen=True, kw_only=True)
class FigureCell:
    """One figure in a table; ``reason`` says why it has no value, or what to know about it."""

    title: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = "1"
    of_exact: float | None = None
    n: int = 0
    status: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """The value with its unit."""
        return quantity(self.value, self.unit)

    @property
    def span(self) -> str:
        """The interval with its unit."""
        return interval(self.low, self.high, self.unit)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of a table: the newest figures of one case on one target, and a sparkline.

    ``is_network`` says whether its workload is a network.
    """

    case: Case
    run: int
    cells: tuple[FigureCell, ...]
    spark: tuple[float, ...]
    is_network: bool = False

    @property
    def method(self) -> Method:
        """Method, patch size and kernel."""
        return self.case[2], self.case[3], self.case[4]

    @property
    def label(self) -> str:
        """The method's label."""
        return method_label(*self.method)

    @property
    def setting(self) -> str:
        """Device, number type and batch."""
        return f"{self.case[5]} {self.case[6]} b{self.case[7]}"

    @property
    def exact(self) -> bool:
        """Whether the method is exact, the baseline."""
        return self.case[2] == BASELINE


@dataclass(frozen=True, kw_only=True)
class MethodSummary:
    """The newest figures of a method on a target, over all of its layers or of one ``network``.

    Ratios are over ``workloads`` (``reports.metrics.over_workloads``), ``low`` and ``high`` the
    smallest and the largest of them; ``cosine`` is the median.
    """

    target: str
    method: Method
    setting: str
    workloads: int
    run: int
    step: float | None
    step_low: float | None
    step_high: float | None
    backward: float | None
    energy: float | None
    energy_low: float | None
    energy_high: float | None
    cosine: float | None
    network: str = ""

    @property
    def label(self) -> str:
        """The method's label."""
        return method_label(*self.method)

    @property
    def label_and_network(self) -> str:
        """The method's label, and the network that it trains."""
        return f"{self.label}, {self.network}" if self.network else self.label


@dataclass(frozen=True, kw_only=True)
class Event:
    """Changes of one target that begin within two runs of each other, reported as one event."""

    target: str
    run: int
    changes: tuple[LevelChange, ...]

    @property
    def worse(self) -> tuple[LevelChange, ...]:
        """The changes for the worse, the largest first."""
        return tuple(change for change in self.changes if change.worse)

    @property
    def better(self) -> tuple[LevelChange, ...]:
        """The changes for the better, the largest first."""
        return tuple(change for change in self.changes if not change.worse)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The data of all pages."""

    archive: Archive
    lines: Mapping[Series, History]
    trends: Mapping[Series, HistoryAnalysis]
    events: tuple[Event, ...]
    watched: tuple[LevelChange, ...]

    @cached_property
    def runs(self) -> tuple[RunFacts, ...]:
        """The runs by number."""
        return tuple(self.archive.runs)

    @cached_property
    def newest_first(self) -> tuple[int, ...]:
        """The numbers of the runs, the newest first."""
        order = sorted(range(len(self.runs)), key=lambda n: (self.runs[n].started_at, n))
        return tuple(reversed(order))

    @cached_property
    def machines(self) -> tuple[Machine, ...]:
        """The machine states by number."""
        return tuple(self.archive.machines.all)

    @cached_property
    def colours(self) -> Colours:
        """A colour per method."""
        return colours_of((s.method, s.patch_size, s.kernel) for s in self.lines)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The newest figures of every case, by target and workload."""
        by_case: dict[Case, dict[tuple[str, str], History]] = {}
        for series, line in self.lines.items():
            by_case.setdefault(series.case, {})[series.metric, series.phase] = line
        words = self.archive.words.all
        entries = (_entry(case, lines, self.runs, words) for case, lines in by_case.items())
        return tuple(sorted(entries, key=lambda e: (e.case[:2], e.setting, _order(e.method))))

    @cached_property
    def standings(self) -> tuple[MethodSummary, ...]:
        """How each method does on each target: networks before layers, the fastest step first."""
        groups: dict[tuple[str, Method, str, str], list[Entry]] = {}
        exact = _exact_energy(self.entries)
        for entry in self.entries:
            if not entry.exact:
                network = entry.case[1] if entry.is_network else ""
                key = (entry.case[0], entry.method, entry.setting, network)
                groups.setdefault(key, []).append(entry)
        summaries = [_method_summary(*key, entries, exact) for key, entries in groups.items()]
        return tuple(sorted(summaries, key=_standing))

    def machine_now(self, target: str) -> Machine | None:
        """Return the target's machine in the state of the newest run."""
        newest = [
            (self.runs[line.run[-1]].started_at, int(line.machine[-1]))
            for series, line in self.lines.items()
            if series.target == target
        ]
        return self.machines[max(newest)[1]] if newest else None


def _standing(summary: MethodSummary) -> tuple[object, ...]:
    order = _order(summary.method)
    return not summary.network, -(summary.step or 0.0), summary.target, summary.network, order


def events_of(changes: Iterable[LevelChange], runs: Sequence[RunFacts]) -> tuple[Event, ...]:
    """Return the significant changes as events, the newest first."""
    by_target: dict[str, list[LevelChange]] = {}
    for change in changes:
        by_target.setdefault(change.series.target, []).append(change)
    # The number of each run among those of its target, in the order of time.
    numbers: dict[str, dict[str, int]] = {target: {} for target in by_target}
    for run in sorted(runs, key=_when):
        for target in run.targets:
            if target in numbers:
                numbers[target][run.run_id] = len(numbers[target])
    events: list[Event] = []
    for target, own in by_target.items():
        numbered = [(numbers[target][runs[change.run].run_id], change) for change in own]
        numbered.sort(key=lambda entry: entry[0])
        events += _clusters(target, numbered)
    return tuple(sorted(events, key=lambda e: (_when(runs[e.run]), e.target), reverse=True))


def _when(run: RunFacts) -> tuple[str, str]:
    return run.started_at, run.run_id


def _clusters(target: str, numbered: Sequence[tuple[int, LevelChange]]) -> list[Event]:
    """Return events of the changes, which are in the order of their runs' numbers."""
    clusters: list[list[LevelChange]] = []
    first = 0
    for number, change in numbered:
        if clusters and number - first <= 2:
            clusters[-1].append(change)
        else:
            clusters.append([change])
            first = number
    events = []
    for cluster in clusters:
        runs = [change.run for change in cluster]
        commonest = max(sorted(set(runs)), key=runs.count)
        largest_first = sorted(cluster, key=lambda change: -abs(np.log(change.ratio)))
        events.append(Event(target=target, run=commonest, changes=tuple(largest_first)))
    return events


def _order(method: Method) -> tuple[bool, str, int, bool, str]:
    """Put exact and the plain kernel first."""
    return method[0] != BASELINE, method[0], method[1] or 0, method[2] != "torch", method[2]


def _entry(
    case: Case,
    lines: Mapping[tuple[str, str], History],
    runs: Sequence[RunFacts],
    words: Sequence[str],
) -> Entry:
    run = max((int(line.run[-1]) for line in lines.values()), key=lambda n: _when(runs[n]))
    latency = lines.get(("latency_s", "step"))
    cells = tuple(
        _cell(title, lines.get((metric, phase)), run, words)
        for metric, phase, title in figure_columns()
    )
    spark = () if latency is None else _spark(latency.value)
    is_network = ("forward_share", "") in lines  # layers have no such figure
    return Entry(case=case, run=run, cells=cells, spark=spark, is_network=is_network)


def _cell(title: str, line: History | None, run: int, words: Sequence[str]) -> FigureCell:
    if line is None or line.run[-1] != run:
        return FigureCell(title=title, status="", reason="not measured in the newest run")
    value, low, high = (_number(column[-1]) for column in (line.value, line.low, line.high))
    return FigureCell(
        title=title,
        value=value,
        low=low,
        high=high,
        unit=line.series.unit,
        of_exact=_number(line.of_exact[-1]),
        n=int(line.n[-1]),
        status=words[line.status[-1]],
        reason=words[line.reason[-1]],
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _spark(values: Floats) -> tuple[float, ...]:
    """Return at most SPARK_POINTS medians of the values, in order."""
    finite = values[np.isfinite(values)]
    if len(finite) <= SPARK_POINTS:
        return tuple(finite.tolist())
    parts = np.array_split(finite, SPARK_POINTS)
    return tuple(float(np.median(part)) for part in parts)


def figure_columns() -> list[tuple[str, str, str]]:
    """Return the columns of every table of newest figures: metric, phase, title."""
    columns = columns_of(lambda metric: metric.site)
    return [(metric.name, column.phase, column.heading) for metric, column in columns]


def _figure(entry: Entry, metric: str, phase: str) -> FigureCell:
    index = [column[:2] for column in figure_columns()].index((metric, phase))
    return entry.cells[index]


def _exact_energy(entries: Sequence[Entry]) -> dict[tuple[object, ...], float]:
    """Return the least energy of a step that any exact layout took, by target and workload."""
    least_j: dict[tuple[object, ...], float] = {}
    for entry in entries:
        energy = _figure(entry, "energy_j", "step").value
        if entry.exact and energy:
            key = (*entry.case[:2], entry.setting, entry.run)
            least_j[key] = min(energy, least_j.get(key, energy))
    return least_j


def _method_summary(
    target: str,
    method: Method,
    setting: str,
    network: str,
    entries: Sequence[Entry],
    exact: Mapping[tuple[object, ...], float],
) -> MethodSummary:
    steps, backwards = (_speedups(entries, phase) for phase in ("step", "backward"))
    energies = _energies_of_exact(entries, exact)
    cosines = [_figure(entry, "cosine_gw", "").value for entry in entries]
    known_cosines = [cosine for cosine in cosines if cosine is not None]
    return MethodSummary(
        target=target,
        method=method,
        setting=setting,
        workloads=len(entries),
        run=max(entry.run for entry in entries),
        step=_over(steps),
        step_low=min((effect.ratio for effect in steps), default=None),
        step_high=max((effect.ratio for effect in steps), default=None),
        backward=_over(backwards),
        energy=_over(energies),
        energy_low=min((effect.ratio for effect in energies), default=None),
        energy_high=max((effect.ratio for effect in energies), default=None),
        cosine=float(np.median(known_cosines)) if known_cosines else None,
        network=network,
    )


def _speedups(entries: Sequence[Entry], phase: str) -> list[Effect]:
    """Return the speedup of each workload that has one."""
    effects = []
    for entry in entries:
        cell = _figure(entry, "speedup", phase)
        if cell.value:
            effects.append(Effect(ratio=cell.value, ci_low=cell.low, ci_high=cell.high, n=cell.n))
    return effects


def _energies_of_exact(
    entries: Sequence[Entry], exact: Mapping[tuple[object, ...], float]
) -> list[Effect]:
    """Return what is left of exact's energy in each workload, without an interval.

    Of a run that an earlier version summarised, which lacks the pairs of rounds, it is the quotient
    of the two figures.
    """
    effects = []
    for entry in entries:
        cell = _figure(entry, "energy_j", "step")
        ratio = cell.of_exact
        base = exact.get((*entry.case[:2], entry.setting, entry.run))
        if ratio is None and cell.value and base:
            ratio = cell.value / base
        if ratio is not None:
            effects.append(Effect(ratio=ratio, ci_low=None, ci_high=None, n=cell.n))
    return effects


def _over(effects: Sequence[Effect]) -> float | None:
    figure = over_workloads(effects)
    return None if figure is None else figure.ratio


def figure_name(series: Series) -> str:
    """Return metric, phase, workload, method and setting of a series in one line."""
    method = method_label(series.method, series.patch_size, series.kernel)
    what = " ".join(part for part in (metric_label(series.metric), series.phase) if part)
    return f"{what} of {series.workload}, {method}, {series.device} {series.dtype} b{series.batch}"


def change_words(change: LevelChange) -> str:
    """Return a change in percent, with its interval."""
    percent = 100 * (change.ratio - 1)
    low, high = (100 * (ratio - 1) for ratio in (change.low, change.high))
    decimals = 1 if abs(percent) < 10 else 0
    size = f"{percent:+.{decimals}f} %"
    span = f"95 %: {significant(low, 2)} to {significant(high, 2)} %"
    return f"{size} ({span})" if change.low != change.high else size


def history_href(target: str, workload: str) -> str:
    """Return the path of a history page in the site."""
    return f"history/{slug(target)}/{slug(workload)}.html"


def environment_change(before: Machine, after: Machine) -> str:
    """Return as text the facts that differ between two states of a machine."""
    old, new = (json.loads(machine.environment or "{}") for machine in (before, after))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    parts = [f"{name} {_known(old.get(name))} → {_known(new.get(name))}" for name in names]
    return "; ".join(parts) or "the machine's fingerprint"


def _known(value: object) -> str:
    return "unknown" if value in (None, "") else str(value)[:60]


def level_words(level: Level, unit: str) -> str:
    """Return a level's centre and interval."""
    span = interval(level.low, level.high, unit)
    return f"{quantity(level.centre, unit)}{f' ({span})' if span else ''}"
