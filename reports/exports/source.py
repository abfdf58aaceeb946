"""What is exported: the rows of a run, those of some cases only, and the blocks behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from reports import selectors
from reports.comparison import cases_of, compare
from reports.records import BlockRecord, PhaseTiming, Run, TargetRun
from reports.rows import Row, row_case
from workloads.messages import Case

ATTRIBUTES = ("target", *selectors.ATTRIBUTES)


class ExportProblem(Exception):
    """This cannot be exported so; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """All good windows of one case and phase: one for each block, in order."""

    name: str
    group: str  # target, workload and phase, as far as they are not pinned
    row: Row  # its latency
    target: TargetRun
    case: Case
    blocks: tuple[tuple[BlockRecord, PhaseTiming], ...]

    @property
    def values_s(self) -> tuple[float, ...]:
        """The blocks' medians, in seconds per iteration: what independent samples there are."""
        return tuple(timing.median_s or 0.0 for _, timing in self.blocks)


@dataclass(frozen=True, kw_only=True)
class CaseSource:
    """One case on one target with all its rows; the name is without a phase."""

    name: str
    target: TargetRun
    case: Case
    rows: tuple[Row, ...]

    def row(self, metric: str, phase: str = "") -> Row | None:
        """Return one row; None if there is none."""
        found = (row for row in self.rows if (row.metric, row.phase) == (metric, phase))
        return next(found, None)

    def blocks(self) -> Iterator[BlockRecord]:
        """Yield all blocks of the case."""
        return (block for block in self.target.blocks if block.case == self.case)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A run and its rows; ``pinned`` are the attributes that a selector has given one value."""

    run: Run
    rows: tuple[Row, ...]
    pinned: frozenset[str] = frozenset()

    def name(self, row: Row) -> str:
        """Return ``board/early/gradient_filter-r2/torch/cpu/float32/b8/step``.

        What is pinned is left out, so that names agree between files of two cases.
        """
        return "/".join([*self.parts(row), *([row.phase] if row.phase else [])])

    def parts(self, row: Row) -> list[str]:
        """Return the parts of the name without the phase."""
        words = {name: attribute(row, name) for name in ATTRIBUTES if name not in self.pinned}
        if words.get("patch_size"):
            words["method"] = "-".join(filter(None, (words.get("method"), f"r{row.patch_size}")))
        if words.get("revision"):
            words["kernel"] = f"{words.get('kernel', '')}@{words['revision']}"
        if "batch" in words:
            words["batch"] = f"b{row.batch}"
        joined = ("patch_size", "revision")
        return [words[n] for n in ATTRIBUTES if words.get(n) and n not in joined] or ["all"]

    def cases(self) -> tuple[CaseSource, ...]:
        """Return the cases that are exported, in order."""
        rows: dict[tuple[object, ...], list[Row]] = {}
        for row in self.rows:
            rows.setdefault(row.case, []).append(row)
        return tuple(
            CaseSource(
                name="/".join(self.parts(own[0])),
                target=self.run.target(own[0].target),
                case=self._cases[key],
                rows=tuple(own),
            )
            for key, own in rows.items()
        )

    def windows(self) -> Iterator[Windows]:
        """Yield the windows behind every latency that there is.

        Raises:
            ExportProblem: there is none at all.
        """
        found = False
        for row in self.rows:
            if row.metric == "latency_s" and row.value is not None:
                found = True
                yield self._windows(row)
        if not found:
            raise ExportProblem("nothing was measured, and this format has no way to say so")

    def _windows(self, row: Row) -> Windows:
        target = self.run.target(row.target)
        case = self._cases[row.case]
        timed = (
            (block, block.timing.get(row.phase))
            for block in target.blocks_of(case, "timing")
            if block.status == "ok"
        )
        blocks = tuple((block, t) for block, t in timed if t is not None and t.median_s)
        grouped = [getattr(row, key) for key in ("target", "workload") if key not in self.pinned]
        return Windows(
            name=self.name(row),
            group="/".join([*grouped, row.phase]),
            row=row,
            target=target,
            case=case,
            blocks=blocks,
        )

    @cached_property
    def _cases(self) -> Mapping[tuple[object, ...], Case]:
        return {
            row_case(target.name, case): case
            for target in self.run.targets
            for case in cases_of(self.run, target)
        }


def source_of(run: Run, selector: str = "") -> Source:
    """Return the run's rows, or those that the selector fits.

    Raises:
        ExportProblem: the selector is none, or fits no row.
    """
    rows = compare(run)
    wanted = _wanted(selector)
    chosen = tuple(row for row in rows if _fits(row, wanted))
    if wanted and not chosen:
        raise ExportProblem(f"no case matches {selector}; choose from {_choices(rows, wanted)}")
    return Source(run=run, rows=chosen, pinned=frozenset(wanted))


def _wanted(text: str) -> dict[str, str]:
    """Read a case selector, in which ``target`` may stand as well."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    ours = [part for part in parts if part.startswith("target=")]
    rest = ",".join(part for part in parts if part not in ours)
    try:
        wanted = selectors.parse_selector(rest) if rest else {}
    except selectors.SelectorProblem as problem:
        raise ExportProblem(f"{problem}, or target") from None
    for part in ours:
        wanted["target"] = part.removeprefix("target=")
    return wanted


def moment(text: str) -> datetime | None:
    """Return the time that a file says; None where it is none."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None


def attribute(row: Row, name: str) -> str:
    """Return one of ATTRIBUTES of a row as a selector writes it; empty where there is none."""
    kernel, _, revision = row.kernel.partition("@")  # see ``Case.kernel_label``
    value = {"kernel": kernel, "revision": revision}.get(name)
    if value is None:
        value = getattr(row, name)
    return "" if value is None else str(value)


def _fits(row: Row, wanted: Mapping[str, str]) -> bool:
    return all(attribute(row, key) == value for key, value in wanted.items())


def _choices(rows: tuple[Row, ...], keys: Mapping[str, str]) -> str:
    found = {key: dict.fromkeys(attribute(row, key) for row in rows) for key in keys}
    return "; ".join(f"{key}={'|'.join(values)}" for key, values in found.items())
