"""The words of the page: subjects, facts of the machines, notes, and what went wrong. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.baseline import EXACT, LAYOUTS, baseline_phases
from reports.chart_style import Subject, workload_of_case
from reports.comparison import cases_of, compare, no_power_reason
from reports.headline import Headline, headlines
from reports.power_facts import incomparable, power_stories_of
from reports.records import Probe, RevisionFacts, Run
from reports.wording import case_label, cut, joined, quantity, without_numbers
from workloads.catalog import KERNELS, twins

MAX_PROBLEMS = 300
GOOD = ("ok", "partial")
REMEDIES = {
    "out_of_memory": "use a smaller batch, a larger patch size, or a board with more memory",
    "timeout": "use a shorter min_window_s, a smaller batch, or a longer time limit for blocks",
    "throttled": "cool the machine or lower its clocks, then run again",
    "interrupted": "run again; what was finished is kept",
    "failed": "read the block's own log below",
    "infra": "check the connection to the target, then run again",
    "running": "the run had not ended when this page was made; render it again afterwards",
}


@dataclass(frozen=True, kw_only=True)
class Story:
    """One subject's part of the summary."""

    subject: Subject
    headlines: tuple[Headline, ...]

    @property
    def no_energy(self) -> str:
        """Why no method's energy was measured, if that is so and for one reason; said once."""
        if self.subject.target.power is None:
            return no_power_reason(self.subject.target)
        reasons = {without_numbers(h.energy_reason): h.energy_reason for h in self.headlines}
        return next(iter(reasons.values())) if len(reasons) == 1 else ""

    @property
    def failed(self) -> bool:
        """Whether the session itself went wrong."""
        return self.subject.target.session.status != "ok"

    @property
    def best(self) -> Headline | None:
        """What the one sentence is of: the quickest decidable step that one can train with.

        Where none is decidably quicker than exact, the quickest of what was measured.
        """
        known = [h for h in self.headlines if h.usable and h.step is not None]
        return max(known, key=lambda h: (h.decided > 0, _ratio(h)), default=None)

    @property
    def shown(self) -> tuple[Headline, ...]:
        """The headlines worth a paragraph: on a failed target only those that have a figure."""
        return tuple(h for h in self.headlines if h.measured or not self.failed)


def _ratio(h: Headline) -> float:
    return h.step.ratio if h.step else 0.0


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A case or a target that has no figures, or not all of them."""

    target: str
    what: str
    status: str
    reason: str
    remedy: str
    log: str = ""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact of all machines, and whether they differ in it."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the machines differ."""
        return len(set(self.values)) > 1


def subjects_of(runs: Sequence[Run]) -> tuple[Subject, ...]:
    """Return one subject per target of each run; the run's id joins the label where needed."""
    subjects: list[Subject] = []
    for run in runs:
        rows = compare(run)
        for target in run.targets:
            subjects.append(
                Subject(
                    label=target.name if len(runs) == 1 else f"{target.name} · {run.run_id}",
                    run=run,
                    target=target,
                    rows=tuple(row for row in rows if row.target == target.name),
                    first_row=sum(len(subject.rows) for subject in subjects),
                )
            )
    return tuple(subjects)


def stories_of(subjects: Sequence[Subject]) -> tuple[Story, ...]:
    """Return the summary of each subject."""
    return tuple(
        Story(subject=subject, headlines=headlines(subject.run, subject.target, subject.rows))
        for subject in subjects
    )


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
    cases = [c for c in cases_of(subject.run, subject.target) if c.method == EXACT]
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
    filtered = {case.kernel for case in cases if case.method != EXACT and case.kernel in KERNELS}
    others = {other for name in filtered for other in twins(name)} - filtered
    notes = []
    for name, layout in LAYOUTS.items():
        exact = [case for case in cases if case.method == EXACT and case.kernel == name]
        fast = [case for case in exact if "step" in baseline_phases(subject.target, case)]
        unseen = [f"`--kernel {other}`" for other in others if KERNELS[other].layout == layout]
        if fast and unseen and layout not in {KERNELS[seen].layout for seen in filtered}:
            where = {workload_of_case(case) for case in fast}
            labels = ", ".join(label for key, label in subject.workloads.items() if key in where)
            notes.append(
                f"Exact steps are faster in {layout} for {labels}; no filtered steps were measured "
                f"in that layout: add {joined(sorted(unseen))} for these."
            )
    return notes


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


def facts_of(subjects: Sequence[Subject]) -> tuple[Fact, ...]:
    """Return the machines side by side; a fact that nobody has is left out."""
    facts = (
        Fact(name=name, values=tuple(cut(tell(subject), 300) or "—" for subject in subjects))
        for name, tell in FACTS
    )
    return tuple(fact for fact in facts if set(fact.values) != {"—"})


def run_facts_of(run: Run) -> tuple[tuple[str, str], ...]:
    """Return what the run was, for its corner of the page."""
    header = run.header
    git = header.tool.git
    revision = f" at {git.revision[:12]}{' (changed)' if git.dirty else ''}" if git else ""
    kernels = [f"{k.name} {k.version} ({k.source_sha256[:12]})" for k in header.kernels]
    facts = (
        ("Run", header.run_id),
        ("Started", header.started_at),
        ("Finished", header.finished_at or "not finished"),
        ("Suite", header.suite.name),
        ("Rounds", _text(header.rounds)),
        ("Seed", _text(header.seed)),
        ("Shortest window", quantity(header.plan.min_window_s, "s")),
        ("Isolation", header.plan.isolation),
        ("gfbench", f"{header.tool.version}{revision}, Python {header.tool.python}"),
        ("Payload", header.payload.name if header.payload else ""),
        ("Kernels", ", ".join(kernels)),
        *(
            (f"Revision {one.label}", f"{one.subject} ({one.asked}), {_payload_name(one)}")
            for one in header.revisions
        ),
    )
    return tuple((name, cut(value, 300)) for name, value in facts if value)


def _payload_name(revision: RevisionFacts) -> str:
    return revision.payload.name if revision.payload else "payload unknown"


def _from_probe(tell: Callable[[Probe], str]) -> Callable[[Subject], str]:
    return lambda subject: tell(subject.target.probe) if subject.target.probe else ""


def _cpu(probe: Probe) -> str:
    cpu = probe.cpu
    if cpu is None:
        return ""
    cores = f"{_text(cpu.physical) or '?'} cores, {_text(cpu.logical) or '?'} threads"
    clock = f", up to {cpu.max_mhz:.0f} MHz" if cpu.max_mhz else ""
    return f"{cpu.model or probe.machine}: {cores}{clock}"


def _memory(probe: Probe) -> str:
    memory = probe.memory
    if memory is None or memory.total_bytes is None:
        return ""
    swap = quantity(memory.swap_total_bytes, "B") if memory.swap_total_bytes else "none"
    return f"{quantity(memory.total_bytes, 'B')}, swap {swap}"


def _torch(probe: Probe) -> str:
    return probe.torch.version if probe.torch else f"none: {probe.torch_error}"


def _cuda(probe: Probe) -> str:
    cuda = probe.torch.cuda if probe.torch else None
    if cuda is None:
        return ""
    return f"{cuda.device}, capability {cuda.capability}, CUDA {cuda.version}"


def _power(subject: Subject) -> str:
    rails = subject.target.power
    if rails is None or not rails.rails:
        return "none"
    return f"{rails.source}: {' + '.join(rails.total)} ({rails.scope}); {rails.rule}"


def _power_mode(subject: Subject) -> str:
    """Return what nvpmodel said around the blocks: more than one mode if it was changed."""
    states = (block.state_before for block in subject.target.blocks)
    modes = dict.fromkeys(state.power_mode for state in states if state and state.power_mode)
    return ", then ".join(" ".join(mode.split()) for mode in modes)


def _blocks(subject: Subject) -> str:
    good = sum(block.status == "ok" for block in subject.target.all_blocks)
    planned = subject.target.session.blocks_planned
    return f"{good} of {planned} good" if planned is not None else f"{good} good"


def _threads(subject: Subject) -> str:
    counts = {block.threads for block in subject.target.blocks if block.threads is not None}
    return ", ".join(str(count) for count in sorted(counts))


def _allocator(subject: Subject) -> str:
    """Return the settings of the timing blocks."""
    for block in subject.target.blocks:
        if block.kind == "timing" and block.allocator:
            settings = block.allocator.items()
            return ", ".join(f"{name} {_setting(value)}" for name, value in sorted(settings))
    return ""


def _setting(value: float | str | None) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return _text(value) or "default"


def _text(value: object) -> str:
    return "" if value is None else str(value)


FACTS: tuple[tuple[str, Callable[[Subject], str]], ...] = (
    ("Status", lambda subject: subject.target.session.status),
    ("Platform", lambda subject: subject.target.platform),
    ("Model", _from_probe(lambda probe: probe.model)),
    ("Host name", _from_probe(lambda probe: probe.hostname)),
    ("Processor", _from_probe(_cpu)),
    ("Governor", _from_probe(lambda probe: probe.cpu.governor if probe.cpu else "")),
    ("Memory", _from_probe(_memory)),
    ("CUDA", _from_probe(_cuda)),
    ("System", _from_probe(lambda probe: probe.os)),
    ("L4T", _from_probe(lambda probe: probe.l4t)),
    ("Linux", _from_probe(lambda probe: probe.kernel)),
    ("C library", _from_probe(lambda probe: probe.libc)),
    ("Python", _from_probe(lambda probe: probe.python)),
    ("torch", _from_probe(_torch)),
    ("Threads used", _threads),
    ("Allocator", _allocator),
    ("Power mode", _power_mode),
    ("Power sensor", _power),
    ("Blocks", _blocks),
    ("Measured from", lambda subject: subject.target.session.started_at),
    ("Measured until", lambda subject: subject.target.session.finished_at),
)
