"""What went wrong in a run, and what mends it, as a page lists it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.metrics.subjects import Subject
from reports.page.power import power_stories_of
from reports.text.wording import case_label, cut

MAX_PROBLEMS = 300
REMEDIES = {
    "out_of_memory": "use a smaller batch, a larger patch size, or a board with more memory",
    "timeout": "use a shorter min_window_s, a smaller batch, or a longer time limit for blocks",
    "throttled": "cool the machine or lower its clocks, then run again",
    "invalid": "find out what is wrong with the board or the kernel, then run again",
    "interrupted": "run again; what was finished is kept",
    "failed": "read the block's log below",
    "infra": "check the connection to the target, then run again",
    "left_out": "none needed: its figures are those of the pilot round",
    "running": "the run had not ended when this page was made; render it again afterwards",
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A case or a target that has no figures, or not all of them."""

    target: str
    what: str
    status: str
    reason: str
    remedy: str
    log: str = ""


def problems_of(subjects: Sequence[Subject]) -> tuple[Problem, ...]:
    """Return every failed target and every case that is skipped, failed or partial."""
    problems = []
    for subject in subjects:
        session = subject.target.session
        if session.status != "ok":
            problems.append(
                Problem(
                    target=subject.label,
                    what="the whole target",
                    status=session.status,
                    reason=cut(session.reason or session.error or "no reason recorded"),
                    remedy=cut(session.remedy or REMEDIES.get(session.status, "")),
                )
            )
        problems += _skipped(subject)
        problems += _bad_blocks(subject)
        problems += _invalid(subject)
    return tuple(problems[:MAX_PROBLEMS]) + _rest(len(problems) - MAX_PROBLEMS)


def _rest(count: int) -> tuple[Problem, ...]:
    if count <= 0:
        return ()
    what = f"{count} more"
    reason = "left out here; the journal in the result folder has them all"
    return (Problem(target="", what=what, status="", reason=reason, remedy=""),)


def _skipped(subject: Subject) -> list[Problem]:
    return [
        Problem(
            target=subject.label,
            what=case_label(skip.case),
            status="skipped",
            reason=cut(skip.reason or "no reason recorded"),
            remedy="none needed: it was left out on purpose",
        )
        for skip in subject.target.session.skipped
    ]


def _bad_blocks(subject: Subject) -> list[Problem]:
    """Return one problem per case, kind and reason, with the log of the first such block."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for block in subject.target.all_blocks:
        if block.status != "ok":
            key = (case_label(block.case), block.kind, block.status, block.reason)
            log = "\n".join(part for part in (block.traceback, block.log_tail) if part)
            groups.setdefault(key, []).append(log)
    return [
        Problem(
            target=subject.label,
            what=f"{what} ({len(logs)} {kind} block{'s' if len(logs) > 1 else ''})",
            status=status,
            reason=cut(reason or "no reason recorded"),
            remedy=REMEDIES.get(status, ""),
            log=cut(logs[0]),
        )
        for (what, kind, status, reason), logs in groups.items()
    ]


def _invalid(subject: Subject) -> list[Problem]:
    """Return one problem per reason for which windows have no energy."""
    return [
        Problem(
            target=subject.label,
            what=f"the energy of {group.count} window{'s' if group.count > 1 else ''}",
            status=group.text.split(":", 1)[0],
            reason=group.text.split(": ", 1)[-1],
            remedy=group.remedy,
        )
        for story in power_stories_of([subject])
        for group in story.invalid
    ]
