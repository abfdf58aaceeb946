"""Whether a result folder still is what was measured, and its report what follows from it.

Three questions, each answered with file, place, expected and found: are the files those of the
manifest, do they keep to the schema, and are the numbers of the report those that the raw samples
give when everything is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports import page, results
from reports.comparison import compare
from reports.generator import generator
from reports.reading import MANIFEST, REPORT, ResultProblem, load_run, read_limited
from reports.records import Run
from reports.verify_files import check_files
from reports.verify_page import (
    Page,
    differences,
    embedded_rows,
    figure_differences,
    take_apart,
)

MAX_FINDINGS = 1000
MAX_LINES = 50


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be: where, what was expected and what was found."""

    file: str
    place: str
    expected: str
    found: str

    @property
    def words(self) -> str:
        """One line for people."""
        place = f", {self.place}" if self.place else ""
        return f"{self.file}{place}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was checked, what differs, and what a reader should know."""

    run_id: str
    files: int
    blocks: int
    figures: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.findings


def verify(folder: Path) -> Verification:
    """Check a run's manifest, schema and report.

    Raises:
        ResultProblem: no run there, or one of a newer major version.
    """
    run = load_run(folder)
    notes = [*run.notes, *(f"{t.name}: {note}" for t in run.targets for note in t.notes)]
    findings = list(_manifest(run.path, notes))
    for complaint in check_files(run.path):
        if complaint.crash:
            notes.append(
                f"{complaint.file}, {complaint.place}: {complaint.found} (left by a crash)"
            )
            continue
        place, expected = complaint.place, complaint.expected
        findings.append(
            Finding(file=complaint.file, place=place, expected=expected, found=complaint.found)
        )
    findings += _report(run, notes)
    return Verification(
        run_id=run.run_id,
        files=sum(1 for path in run.path.rglob("*") if path.is_file()),
        blocks=sum(len(target.blocks) for target in run.targets),
        figures=sum(row.value is not None for row in compare(run)),
        findings=tuple(findings[:MAX_FINDINGS]),
        notes=tuple(dict.fromkeys(notes)),
    )


def lines(folder: Path, checked: Verification) -> list[str]:
    """Return what a terminal shows of a verification: each finding, and the sum of it."""
    told = [one.words for one in checked.findings[:MAX_LINES]]
    left = len(checked.findings) - len(told)
    told += [f"... and {left} more (--json has all)"] if left else []
    what = f"{checked.files} files, {checked.blocks} blocks, {checked.figures} figures"
    if checked.holds:
        return [f"{folder}: verified: {what}"]
    count = len(checked.findings)
    return [*told, f"{folder}: {count} difference{'s' if count != 1 else ''} in {what}"]


def _manifest(folder: Path, notes: list[str]) -> Iterator[Finding]:
    if not (folder / MANIFEST).is_file():
        notes.append(f"there is no {MANIFEST}: the run did not end, so its files cannot be checked")
        return
    for change in results.manifest_changes(folder):
        yield Finding(
            file=change.name,
            place="",
            expected=f"sha256 {change.listed[:16]}" if change.listed else "no such file",
            found=f"sha256 {change.present[:16]}" if change.present else "no such file",
        )


def _report(run: Run, notes: list[str]) -> Iterator[Finding]:
    """Render the report again and compare the two."""
    content = read_limited(run.path / REPORT)
    if content is None:
        notes.append(f"there is no {REPORT} — `gfbench report {run.path}` renders it")
        return
    text = content.decode("utf-8", "replace")
    found = take_apart(text)
    try:
        runs = _runs_of(run, found)
    except ResultProblem as problem:
        yield Finding(
            file=REPORT, place="row-data", expected="its runs beside it", found=str(problem)
        )
        return
    rendered = page.render(runs)
    if rendered == text:
        return
    if found.generator == generator():
        wrong = list(differences(take_apart(rendered), found))
        if not wrong:
            yield Finding(
                file=REPORT,
                place="between the tags",
                expected="as rendered",
                found="different spaces",
            )
    else:
        wrong, told = figure_differences([row for one in runs for row in compare(one)], found)
        by = found.generator or "an earlier gfbench"
        notes.append(
            f"{REPORT} was rendered by {by}, this is {generator()}: only figures are compared"
        )
        notes += told
    for one in wrong:
        yield Finding(file=REPORT, place=one.place, expected=one.expected, found=one.found)


def _runs_of(run: Run, found: Page) -> Sequence[Run]:
    """Return the runs that a report shows, in its order: the others lie beside this one.

    Raises:
        ResultProblem: one is not there.
    """
    rows = embedded_rows(found.document("row-data")) or {}
    shown = list(dict.fromkeys(str(key[0]) for key in rows))
    if run.run_id not in shown or len(shown) == 1:
        return [run]
    beside = run.path.resolve().parent
    for name in shown:
        results.check_target_name(name)  # it comes from a file and becomes a path
    return [run if name == run.run_id else load_run(beside / name) for name in shown]
