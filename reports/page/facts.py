"""The facts of the machines and the run that a page lists. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.metrics.subjects import Subject
from reports.results.records import Probe, Run
from reports.text.wording import cut, quantity


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact of all machines, and whether they differ in it."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the machines differ."""
        return len(set(self.values)) > 1


def facts_of(subjects: Sequence[Subject]) -> tuple[Fact, ...]:
    """Return the machines side by side; a fact that nobody has is left out."""
    facts = []
    for name, fact_of in FACTS:
        values = tuple(cut(fact_of(subject), 300) or "—" for subject in subjects)
        if set(values) != {"—"}:
            facts.append(Fact(name=name, values=values))
    return tuple(facts)


def run_facts_of(run: Run) -> tuple[tuple[str, str], ...]:
    """Return what the run was, for its corner of the page."""
    header = run.header
    git = header.tool.git
    checkout = ""
    if git:
        checkout = f" at {git.revision[:12]}"
        if git.dirty:
            checkout += " (changed)"
    kernels = [f"{k.name} {k.version} ({k.source_sha256[:12]})" for k in header.kernels]
    facts = [
        ("Run", header.run_id),
        ("Started", header.started_at),
        ("Finished", header.finished_at or "not finished"),
        ("Suite", header.suite.name),
        ("Rounds", _text(header.rounds)),
        ("Seed", _text(header.seed)),
        ("Shortest window", quantity(header.plan.min_window_s, "s")),
        ("Isolation", header.plan.isolation),
        ("gfbench", f"{header.tool.version}{checkout}, Python {header.tool.python}"),
        ("Payload", header.payload.name if header.payload else ""),
        ("Kernels", ", ".join(kernels)),
    ]
    for revision in header.revisions:
        payload = revision.payload.name if revision.payload else "payload unknown"
        what = f"{revision.subject} ({revision.asked}), {payload}"
        facts.append((f"Revision {revision.label}", what))
    return tuple((name, cut(value, 300)) for name, value in facts if value)


def _from_probe(fact_of: Callable[[Probe], str]) -> Callable[[Subject], str]:
    return lambda subject: fact_of(subject.target.probe) if subject.target.probe else ""


def _cpu(probe: Probe) -> str:
    cpu = probe.cpu
    if cpu is None:
        return ""
    cores = f"{_text(cpu.physical) or '?'} cores, {_text(cpu.logical) or '?'} threads"
    clock = f", up to {cpu.max_mhz:.0f} MHz" if cpu.max_mhz else ""
    return f"{cpu.name or cpu.model or probe.machine}: {cores}{clock}"


def _memory(probe: Probe) -> str:
    memory = probe.memory
    if memory is None or memory.total_bytes is None:
        return ""
    swap = quantity(memory.swap_total_bytes, "B") if memory.swap_total_bytes else "none"
    return f"{quantity(memory.total_bytes, 'B')}, swap {swap}"


def _torch(probe: Probe) -> str:
    if probe.torch is None:
        return f"none: {probe.torch_error}"
    return probe.torch.version + (", without oneDNN for the CPU" if probe.lacks_onednn else "")


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
