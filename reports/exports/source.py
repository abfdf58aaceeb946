"""What exports are made of: the rows of a run or of some of its cases, and their blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from reports.errors import GfbenchError
from reports.metrics import selectors
from reports.metrics.of_run import cases_of, compare
from reports.metrics.rows import Row, row_case
from reports.results.records import BlockRecord, PhaseTiming, Run, TargetRun
from workloads.spec.messages import Case

ATTRIBUTES = ("target", *selectors.ATTRIBUTES)


class ExportError(GfbenchError):
    """A run that cannot be exported in this format; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The timing windows of one case and phase, one for each good block, in order."""

    name: str
    group: str  # target, workload and phase, except those that are pinned
    row: Row  # the latency over these windows
    target: TargetRun
    case: Case
    blocks: tuple[tuple[BlockRecord, PhaseTiming], ...]

    @property
    def values_s(self) -> tuple[float, ...]:
        """The blocks' medians in seconds per iteration, which are independent samples."""
        return tuple(timing.median_s or 0.0 for _, timing in self.blocks)


@dataclass(frozen=True, kw_only=True)
class CaseSource:
    """One case on one target with all its rows; its name has no phase."""

    name: str
    target: TargetRun
    case: Case
    rows: tuple[Row, ...]

    def row(self, metric: str, phase: str = "") -> Row | None:
        """Return the row of a metric and phase; None if the case has no such row."""
        for row in self.rows:
            if (row.metric, row.phase) == (metric, phase):
                return row
        return None

    def blocks(self) -> Iterator[BlockRecord]:
        """Return all blocks of the case, whatever their status."""
        return (block for block in self.target.blocks if block.case == self.case)


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """A run and the rows to export; ``pinned`` are the attributes that the selector has fixed."""

    run: Run
    rows: tuple[Row, ...]
    pinned: frozenset[str] = frozenset()

    def name(self, row: Row) -> str:
        """Return ``board/early/gradient_filter-r2/torch/cpu/float32/b8/step``.

        Pinned attributes are left out, so that the files of two cases have the same names.
        """
        parts = self._parts(row)
        return "/".join([*parts, row.phase] if row.phase else parts)

    def _parts(self, row: Row) -> list[str]:
        """Return the parts of the name without the phase."""
        parts = {name: attribute(row, name) for name in ATTRIBUTES if name not in self.pinned}
        if parts.pop("patch_size", ""):
            method = parts.get("method")
            parts["method"] = f"{method}-r{row.patch_size}" if method else f"r{row.patch_size}"
        revision = parts.pop("revision", "")
        if revision:
            parts["kernel"] = f"{parts.get('kernel', '')}@{revision}"
        if "batch" in parts:
            parts["batch"] = f"b{row.batch}"
        return [parts[name] for name in ATTRIBUTES if parts.get(name)] or ["all"]

    def cases(self) -> tuple[CaseSource, ...]:
        """Return the cases that are exported, in order."""
        rows_of: dict[tuple[object, ...], list[Row]] = {}
        for row in self.rows:
            rows_of.setdefault(row.case, []).append(row)
        cases = []
        for key, rows in rows_of.items():
            cases.append(
                CaseSource(
                    name="/".join(self._parts(rows[0])),
                    target=self.run.target(rows[0].target),
                    case=self._cases[key],
                    rows=tuple(rows),
                )
            )
        return tuple(cases)

    def windows(self) -> tuple[Windows, ...]:
        """Return the windows behind each latency.

        Raises:
            ExportError: there is no latency.
        """
        timed = [row for row in self.rows if row.metric == "latency_s" and row.value is not None]
        if not timed:
            raise ExportError("nothing was measured, and this format has no way to say so")
        return tuple(self._windows(row) for row in timed)

    def _windows(self, row: Row) -> Windows:
        target = self.run.target(row.target)
        case = self._cases[row.case]
        blocks = []
        for block in target.blocks_of(case, "timing"):
            timing = block.timing.get(row.phase)
            if block.status == "ok" and timing is not None and timing.median_s:
                blocks.append((block, timing))
        group = [getattr(row, name) for name in ("target", "workload") if name not in self.pinned]
        return Windows(
            name=self.name(row),
            group="/".join([*group, row.phase]),
            row=row,
            target=target,
            case=case,
            blocks=tuple(blocks),
        )

    @cached_property
    def _cases(self) -> Mapping[tuple[object, ...], Case]:
        return {
            row_case(target.name, case): case
            for target in self.run.targets
            for case in cases_of(self.run, target)
        }


def source_of(run: Run, selector: str = "") -> ExportSource:
    """Return the source of a run's export: all of its rows, or those that match the selector.

    Raises:
        ExportError: the selector is not valid, or matches no row.
    """
    rows = compare(run)
    wanted = _wanted(selector)
    chosen = tuple(row for row in rows if _fits(row, wanted))
    if wanted and not chosen:
        raise ExportError(f"no case matches {selector}; choose from {_choices(rows, wanted)}")
    return ExportSource(run=run, rows=chosen, pinned=frozenset(wanted))


def _wanted(text: str) -> dict[str, str]:
    """Return the attributes of a case selector, which may also name a target."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    targets = [part for part in parts if part.startswith("target=")]
    rest = ",".join(part for part in parts if part not in targets)
    try:
        wanted = selectors.parse_selector(rest) if rest else {}
    except selectors.SelectorError as problem:
        raise ExportError(f"{problem}, or target") from None
    for part in targets:
        wanted["target"] = part.removeprefix("target=")
    return wanted


def moment(text: str) -> datetime | None:
    """Return the time in ISO 8601 text; None if it is not a time."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None


def attribute(row: Row, name: str) -> str:
    """Return one of ATTRIBUTES of a row as a selector writes it; empty if the row has none."""
    kernel, _, revision = row.kernel.partition("@")  # see ``Case.kernel_label``
    value = {"kernel": kernel, "revision": revision}.get(name)
    if value is None:
        value = getattr(row, name)
    return "" if value is None else str(value)


def _fits(row: Row, wanted: Mapping[str, str]) -> bool:
    return all(attribute(row, key) == value for key, value in wanted.items())


def _choices(rows: tuple[Row, ...], keys: Mapping[str, str]) -> str:
    values_of = {key: dict.fromkeys(attribute(row, key) for row in rows) for key in keys}
    return "; ".join(f"{key}={'|'.join(values)}" for key, values in values_of.items())
