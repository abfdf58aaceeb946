"""Verification of a result folder: is it still what was measured, and does its report follow?

Four checks yield discrepancies with file, place, expected and found. The files must match the
manifest and follow the schema; the verdicts must be those of the rule when the run is judged again;
and the numbers of the report must be those that are computed from the raw samples again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.errors import GfbenchError
from reports.gate.document import from_document, has_rule
from reports.gate.judge import judge_by
from reports.gate.verdict import Gate
from reports.metrics.of_run import compare
from reports.page.generator import generator
from reports.page.render import render
from reports.results.manifest import manifest_changes
from reports.results.read import (
    GATE,
    MANIFEST,
    REPORT,
    ResultError,
    check_target_name,
    load_run,
    read_limited,
)
from reports.results.records import Run
from reports.verify.files import check_files
from reports.verify.page import (
    RELATIVE_TOLERANCE,
    ParsedPage,
    differences,
    embedded_rows,
    figure_differences,
    take_apart,
)

MAX_DISCREPANCIES = 1000
MAX_LINES = 50


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """A place in a file that is not as expected."""

    file: str
    place: str
    expected: str
    found: str

    @property
    def words(self) -> str:
        """The discrepancy as one line."""
        place = f", {self.place}" if self.place else ""
        return f"{self.file}{place}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of a verification: how much was checked, what differs, and notes."""

    run_id: str
    files: int
    blocks: int
    figures: int
    findings: tuple[Discrepancy, ...]
    notes: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether there are no discrepancies."""
        return not self.findings


def verify(folder: Path) -> Verification:
    """Check a run's files, verdicts and report.

    Raises:
        ResultError: the folder does not hold a run, or its major version is newer.
    """
    run = load_run(folder)
    notes = [*run.notes, *(f"{t.name}: {note}" for t in run.targets for note in t.notes)]
    findings = list(_manifest(run.path, notes))
    for violation in check_files(run.path):
        if violation.crash:
            notes.append(
                f"{violation.file}, {violation.place}: {violation.found} (left by a crash)"
            )
            continue
        place, expected = violation.place, violation.expected
        findings.append(
            Discrepancy(file=violation.file, place=place, expected=expected, found=violation.found)
        )
    findings += _gate(run, notes)
    findings += _report(run, notes)
    return Verification(
        run_id=run.run_id,
        files=sum(1 for path in run.path.rglob("*") if path.is_file()),
        blocks=sum(len(target.blocks) for target in run.targets),
        figures=sum(row.value is not None for row in compare(run)),
        findings=tuple(findings[:MAX_DISCREPANCIES]),
        notes=tuple(dict.fromkeys(notes)),
    )


def lines(folder: Path, checked: Verification) -> list[str]:
    """Return the lines that a terminal shows: each discrepancy, and a summary."""
    what = f"{checked.files} files, {checked.blocks} blocks, {checked.figures} figures"
    if checked.holds:
        return [f"{folder}: verified: {what}"]
    count = len(checked.findings)
    shown = [finding.words for finding in checked.findings[:MAX_LINES]]
    if count > len(shown):
        shown.append(f"... and {count - len(shown)} more (--json has all)")
    return [*shown, f"{folder}: {count} difference{'s' if count != 1 else ''} in {what}"]


def _manifest(folder: Path, notes: list[str]) -> Iterator[Discrepancy]:
    if not (folder / MANIFEST).is_file():
        notes.append(f"there is no {MANIFEST}: the run did not end, so its files cannot be checked")
        return
    for change in manifest_changes(folder):
        yield Discrepancy(
            file=change.name,
            place="",
            expected=f"sha256 {change.listed[:16]}" if change.listed else "no such file",
            found=f"sha256 {change.present[:16]}" if change.present else "no such file",
        )


def _gate(run: Run, notes: list[str]) -> Iterator[Discrepancy]:
    """Judge the run again by the rule and the noise floors in gate.json, and compare."""
    content = read_limited(run.path / GATE)
    if content is None:
        return
    try:
        data = json.loads(content)
        written = from_document(data)
    except (ValueError, RecursionError) as error:
        yield Discrepancy(file=GATE, place="", expected="the verdicts of a gate", found=str(error))
        return
    if not has_rule(data):
        notes.append(f"{GATE} does not say by which rule it was judged: it is not judged again")
        return
    try:
        judged = judge_by(written.rule, run, written.floors)
    except GfbenchError as error:
        yield Discrepancy(file=GATE, place="rule", expected="a rule that fits", found=str(error))
        return
    for place, ours, theirs in _verdict_figures(judged, written):
        if ours != theirs and not _alike(ours, theirs):
            yield Discrepancy(file=GATE, place=place, expected=str(ours), found=str(theirs))


def _verdict_figures(judged: Gate, written: Gate) -> Iterator[tuple[str, object, object]]:
    """Yield (place, figure as judged again, figure as written) for each figure of the verdicts."""
    yield "verdicts", len(judged.verdicts), len(written.verdicts)
    for index, (ours, theirs) in enumerate(zip(judged.verdicts, written.verdicts, strict=False)):
        place = f"verdicts.{index}"
        for name in ("target", "metric", "phase", "status", "rounds"):
            yield f"{place}.{name}", getattr(ours, name), getattr(theirs, name)
        yield f"{place}.base", ours.base.key, theirs.base.key
        yield f"{place}.new", ours.new.key, theirs.new.key
        yield f"{place}.margin.fraction", ours.margin.fraction, theirs.margin.fraction
        for name in ("ratio", "ci_low", "ci_high", "n"):
            our_figure = getattr(ours.effect, name, None)
            yield f"{place}.effect.{name}", our_figure, getattr(theirs.effect, name, None)


def _alike(ours: object, theirs: object) -> bool:
    """Say whether two figures are equal except for rounding on another processor."""
    if not isinstance(ours, (int, float)) or not isinstance(theirs, (int, float)):
        return False
    return math.isclose(ours, theirs, rel_tol=RELATIVE_TOLERANCE)


def _report(run: Run, notes: list[str]) -> Iterator[Discrepancy]:
    """Render the report again and compare the two."""
    content = read_limited(run.path / REPORT)
    if content is None:
        notes.append(f"there is no {REPORT} — `gfbench report {run.path}` renders it")
        return
    text = content.decode("utf-8", "replace")
    found = take_apart(text)
    try:
        runs = _runs_of(run, found)
    except ResultError as problem:
        yield Discrepancy(
            file=REPORT, place="row-data", expected="its runs beside it", found=str(problem)
        )
        return
    rendered = render(runs)
    if rendered == text:
        return
    if found.generator == generator():
        different = list(differences(take_apart(rendered), found))
        if not different:
            yield Discrepancy(
                file=REPORT,
                place="between the tags",
                expected="as rendered",
                found="different spaces",
            )
    else:
        rows = [row for shown in runs for row in compare(shown)]
        different, page_notes = figure_differences(rows, found)
        by = found.generator or "an earlier gfbench"
        notes.append(
            f"{REPORT} was rendered by {by}, this is {generator()}: only figures are compared"
        )
        notes += page_notes
    for difference in different:
        yield Discrepancy(
            file=REPORT,
            place=difference.place,
            expected=difference.expected,
            found=difference.found,
        )


def _runs_of(run: Run, found: ParsedPage) -> Sequence[Run]:
    """Return the runs that a report shows, in its order; the others lie beside this one.

    Raises:
        ResultError: one of them does not exist.
    """
    rows = embedded_rows(found.document("row-data")) or {}
    shown = list(dict.fromkeys(str(key[0]) for key in rows))
    if run.run_id not in shown or len(shown) == 1:
        return [run]
    beside = run.path.resolve().parent
    for name in shown:
        check_target_name(name)  # it comes from a file and becomes a path
    return [run if name == run.run_id else load_run(beside / name) for name in shown]
