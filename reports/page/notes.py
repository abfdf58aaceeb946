"""The notes of a page. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reports.metrics.baseline import LAYOUTS, baseline_phases, baselines_of
from reports.metrics.of_run import cases_of
from reports.metrics.subjects import Subject, workload_of_case
from reports.page.power import incomparable
from reports.results.records import Run
from reports.text.wording import cut, joined, quantity
from workloads.spec.kernels import KERNELS, twins
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE


def notes_of(runs: Sequence[Run], subjects: Sequence[Subject]) -> tuple[str, ...]:
    """Return what a reader has to know about how it was measured."""
    notes = [note for run in runs for note in run.notes]
    notes += _shared_machines(subjects)
    for subject in subjects:
        own = [*subject.target.session.notes, *subject.target.notes]
        own += [*_baseline_notes(subject), *_network_notes(subject)]
        notes += [f"{subject.label}: {note}" for note in own]
    notes += incomparable(subjects)
    return tuple(dict.fromkeys(cut(note) for note in notes))


def _shared_machines(subjects: Sequence[Subject]) -> list[str]:
    """Name the targets of each run that are one machine, once for all of them."""
    machines = set()
    for subject in subjects:
        others = subject.target.session.shares_machine_with
        if others:
            names = tuple(sorted({subject.target.name, *others}))
            machines.add((subject.run.run_id, names))
    return [
        f"{joined(list(names))} are one machine and were measured one after the other."
        for _, names in sorted(machines)
    ]


def _baseline_notes(subject: Subject) -> list[str]:
    """Say which layout the exact baseline has, if there was a choice."""
    cases = [case for case in _exact_cases(subject) if not case.is_network]
    measured = [block.case for block in subject.target.blocks if block.case in cases]
    if len({case.kernel for case in measured}) < 2:
        return []
    chosen: dict[str, list[str]] = {name: [] for name in LAYOUTS}
    order = list(subject.workloads)
    for case in sorted(cases, key=lambda case: order.index(workload_of_case(case))):
        phases = [p for p in baseline_phases(subject.target, case) if p != "forward"]
        if phases:
            label = subject.workloads[workload_of_case(case)]
            chosen[case.kernel].append(f"{label} ({joined(phases)})")
    parts = [
        f"{LAYOUTS[name]} for {', '.join(labels)}" for name, labels in chosen.items() if labels
    ]
    if not parts:
        return []
    return [
        f"The exact baseline is the faster layout: {'; '.join(parts)}.",
        *_unseen_steps(subject),
    ]


def _network_notes(subject: Subject) -> list[str]:
    """Say which exact kernel of a network is the baseline of which phase, and what compiling took.

    Only where there was a choice.
    """
    fastest: dict[str, list[str]] = {}
    compile_s: dict[str, float] = {}
    for case in _exact_cases(subject):
        if not case.is_network:
            continue
        label = subject.workloads[workload_of_case(case)]
        phases = [phase.replace("_", " ") for phase in baseline_phases(subject.target, case)]
        if phases and len(baselines_of(subject.target, case, "step")) > 1:
            fastest.setdefault(label, []).append(f"{case.kernel_label} ({joined(phases)})")
        for block in subject.target.blocks_of(case, "timing"):
            if block.compile_s is not None:
                compile_s[label] = max(block.compile_s, compile_s.get(label, 0.0))
    notes = []
    for label, kernels in fastest.items():
        notes.append(f"The fastest exact kernels of {label} are {joined(kernels)}.")
    for label, seconds in compile_s.items():
        notes.append(
            f"Compiling {label} took {quantity(seconds, 's')} before anything was timed; no figure "
            "has it."
        )
    return notes


def _exact_cases(subject: Subject) -> list[Case]:
    return [case for case in cases_of(subject.run, subject.target) if case.method == BASELINE]


def _unseen_steps(subject: Subject) -> list[str]:
    """Name the steps whose baseline has a layout in which no filtered layer was measured."""
    cases = [case for case in cases_of(subject.run, subject.target) if not case.is_network]
    exact = [case for case in cases if case.method == BASELINE]
    filtered = {case.kernel for case in cases if case.method != BASELINE and case.kernel in KERNELS}
    layouts = {KERNELS[name].layout for name in filtered}
    others = {other for name in filtered for other in twins(name)} - filtered
    notes = []
    for name, layout in LAYOUTS.items():
        fastest = set()
        for case in exact:
            if case.kernel == name and "step" in baseline_phases(subject.target, case):
                fastest.add(workload_of_case(case))
        missing = sorted(f"`--kernel {o}`" for o in others if KERNELS[o].layout == layout)
        if fastest and missing and layout not in layouts:
            labels = [label for key, label in subject.workloads.items() if key in fastest]
            notes.append(
                f"Exact steps are faster in {layout} for {', '.join(labels)}; no filtered steps "
                f"were measured in that layout: add {joined(missing)} for these."
            )
    return notes
