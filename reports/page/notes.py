"""The notes of a page. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reports.metrics.baseline import LAYOUTS, baseline_phases
from reports.metrics.of_run import cases_of
from reports.metrics.subjects import Subject, workload_of_case
from reports.page.power import incomparable
from reports.results.records import Run
from reports.text.wording import cut, joined
from workloads.spec.kernels import KERNELS, twins
from workloads.spec.methods import BASELINE


def notes_of(runs: Sequence[Run], subjects: Sequence[Subject]) -> tuple[str, ...]:
    """Return what a reader has to know about how it was measured."""
    notes = [note for run in runs for note in run.notes]
    shared = {
        (s.run.run_id, tuple(sorted({s.target.name, *s.target.session.shares_machine_with})))
        for s in subjects
        if s.target.session.shares_machine_with
    }
    notes += [
        f"{joined(list(names))} are one machine and were measured one after the other."
        for _, names in sorted(shared)
    ]
    for subject in subjects:
        notes += [f"{subject.label}: {note}" for note in subject.target.session.notes]
        notes += [f"{subject.label}: {note}" for note in subject.target.notes]
        notes += [f"{subject.label}: {note}" for note in _baseline_notes(subject)]
    notes += incomparable(subjects)
    return tuple(dict.fromkeys(cut(note) for note in notes))


def _baseline_notes(subject: Subject) -> list[str]:
    """Say which layout the exact baseline has, if there was a choice."""
    found: dict[str, list[str]] = {name: [] for name in LAYOUTS}
    cases = [c for c in cases_of(subject.run, subject.target) if c.method == BASELINE]
    if len({block.case.kernel for block in subject.target.blocks if block.case in cases}) < 2:
        return []
    order = list(subject.workloads)
    for case in sorted(cases, key=lambda case: order.index(workload_of_case(case))):
        phases = [p for p in baseline_phases(subject.target, case) if p != "forward"]
        if phases:
            label = subject.workloads[workload_of_case(case)]
            found[case.kernel].append(f"{label} ({joined(phases)})")
    parts = [f"{LAYOUTS[name]} for {', '.join(won)}" for name, won in found.items() if won]
    if not parts:
        return []
    return [
        f"The exact baseline is the faster layout: {'; '.join(parts)}.",
        *_unseen_steps(subject),
    ]


def _unseen_steps(subject: Subject) -> list[str]:
    """Tell of steps whose baseline has a layout in which no filtered layer was measured."""
    cases = cases_of(subject.run, subject.target)
    filtered = {case.kernel for case in cases if case.method != BASELINE and case.kernel in KERNELS}
    others = {other for name in filtered for other in twins(name)} - filtered
    notes = []
    for name, layout in LAYOUTS.items():
        exact = [case for case in cases if case.method == BASELINE and case.kernel == name]
        fast = [case for case in exact if "step" in baseline_phases(subject.target, case)]
        unseen = [f"`--kernel {other}`" for other in others if KERNELS[other].layout == layout]
        if fast and unseen and layout not in {KERNELS[seen].layout for seen in filtered}:
            where = {workload_of_case(case) for case in fast}
            labels = ", ".join(label for key, label in subject.workloads.items() if key in where)
            notes.append(
                f"Exact steps are faster in {layout} for {labels}; no filtered ones were measured "
                f"in that layout: add {joined(sorted(unseen))} for these."
            )
    return notes
