"""What a result folder says, typed: the dataclasses that ``results.load_run`` returns.

The field names are those of the files (schema gfbench/2). None means not measured, never 0;
a field that a file lacks takes its default. Clocks: ``window_s`` and ``t_s`` are seconds of the
board's monotonic clock, ``*_at`` are wall time (ISO 8601, UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np

from reports.results.fields import (
    CaseField,
    Count,
    Factor,
    Figure,
    Figures,
    Instant,
    Names,
    Seconds,
    Settings,
    SomeSeconds,
    Span,
    Text,
    Texts,
    Version,
    Whole,
    absent_as,
)
from reports.results.power import RailMap
from reports.results.sampler_cost import SamplerCost
from workloads.spec import costs
from workloads.spec.costs import Rates
from workloads.spec.messages import Case


@dataclass(frozen=True, kw_only=True)
class PhaseTiming:
    """One window of one phase: seconds per iteration, in order, already divided by ``loops``."""

    loops: Count = 1
    warmup_s: tuple[Seconds, ...] = ()
    times_s: tuple[Seconds, ...] = ()
    window_s: Span | None = None
    starts_s: Annotated[tuple[Instant, ...], absent_as(())] = ()  # older runs: with pauses only
    sets: Count = 1  # of inputs, each changed before it is used again
    changes_s: Annotated[tuple[Span, ...], absent_as(())] = ()  # bursts of changes alone

    @cached_property
    def median_s(self) -> float | None:
        """The median seconds per iteration; None where nothing was measured."""
        return float(np.median(self.times_s)) if self.times_s else None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The figures of a memory block, each measured apart."""

    saved_bytes: Count | None = None
    peak_rss_bytes: Count | None = None
    peak_rss_method: Text = ""
    cuda_peak_bytes: Count | None = None
    system_dip_bytes: Count | None = None
    inference_peak_rss_bytes: Count | None = None  # networks: of the forward alone, nothing saved
    inference_cuda_peak_bytes: Count | None = None


@dataclass(frozen=True, kw_only=True)
class SavedTensor:
    """One tensor that autograd keeps for the backward, each storage counted once.

    ``kept_by`` is the module in which it was saved, ``kind`` that module's class.
    """

    kept_by: Text = ""
    kind: Text = ""
    shape: Annotated[tuple[Count, ...], absent_as(())] = ()
    bytes: Count = 0


@dataclass(frozen=True, kw_only=True)
class LayerShare:
    """What one module of a network takes of a step; modules are in the order in which they run."""

    name: Text = ""
    kind: Text = ""
    forward_s: SomeSeconds | None = None
    backward_s: SomeSeconds | None = None
    saved_bytes: Count | None = None


@dataclass(frozen=True, kw_only=True)
class ByLayer:
    """Where a step of a network goes: ``layers`` and ``saved`` each add up to their totals."""

    layers: Annotated[tuple[LayerShare, ...], absent_as(())] = ()
    saved: Annotated[tuple[SavedTensor, ...], absent_as(())] = ()
    forward_s: SomeSeconds | None = None
    backward_s: SomeSeconds | None = None
    saved_bytes: Count | None = None


@dataclass(frozen=True, kw_only=True)
class LayerFidelity:
    """One filtered convolution against the exact one, on what it met in the network.

    ``cosine_gw_network`` is that of the weight's gradient with all of the network filtered.
    """

    name: Text = ""
    cosine_gx: Figure | None = None
    cosine_gw: Figure | None = None
    cosine_gw_network: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """The filtered gradients against the exact ones of the same run."""

    cosine_gx: Figure | None = None
    scale_gx: Figure | None = None
    rel_error_gx: Figure | None = None
    cosine_gw: Figure | None = None
    scale_gw: Figure | None = None
    rel_error_gw: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class Bandwidth:
    """Bytes per second while a working set of so many bytes is gone through again and again."""

    working_set_bytes: Count
    read: Figure
    write: Figure
    copy: Figure


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """What the machine itself gives, as its payload measured it in float32."""

    threads: Count
    bandwidths: tuple[Bandwidth, ...]
    flops_per_s: Figure

    @property
    def rates(self) -> Rates | None:
        """What ``costs.floor_s`` takes; None where a board sent what no machine has."""
        sets = [(b.working_set_bytes, b.read, b.write, b.copy) for b in self.bandwidths]
        if not sets or self.flops_per_s <= 0 or any(min(rates) <= 0 for rates in sets):
            return None
        bandwidths = tuple(costs.Bandwidth(*rates) for rates in sorted(sets))
        return Rates(self.threads, bandwidths, self.flops_per_s)


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Timed results held against the reference: of how many iterations, and the largest error.

    ``late_cpu_s`` is the processor time used after the last call of a user's kernel had returned.
    """

    iterations: Count = 0
    error: Figure | None = None
    late_cpu_s: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """The machine right before or after a block."""

    t_s: Instant | None = None
    temperatures_c: Figures = field(default_factory=dict)
    boot_id: Text = ""
    cpu_mhz: Annotated[tuple[Figure | None, ...], absent_as(())] = ()
    cpu_max_mhz: Annotated[tuple[Figure | None, ...], absent_as(())] = ()
    cpus_online: Text = ""
    governor: Text = ""
    throttle: Settings = field(default_factory=dict)
    get_throttled: Text = ""
    power_mode: Text = ""
    fan: Figures = field(default_factory=dict)
    mem_available_bytes: Count | None = None
    load_1m: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class BlockRecord:
    """One line of the journal: one fresh process that measured one case."""

    order: Count
    round: Count
    slot: Count = 0
    kind: str
    case: CaseField
    status: str
    reason: Text = ""
    traceback: Text = ""
    log_tail: Text = ""
    pid: Count | None = None
    seed: Whole | None = None
    threads: Count | None = None
    isolation: Text = ""
    started_at: Text = ""
    window_s: Span | None = None
    sampling: Factor = 1.0
    verification: Annotated[bool, absent_as(False)] = False
    refused: Annotated[bool, absent_as(False)] = False  # its kernel did not do what was timed
    sampler_cpu_s: Figure | None = None
    allocator: Settings = field(default_factory=dict)
    timing: Annotated[dict[str, PhaseTiming], absent_as({})] = field(default_factory=dict)
    verified: Annotated[dict[str, Verified], absent_as({})] = field(default_factory=dict)
    memory: Memory | None = None
    roofline: Roofline | None = None
    fidelity: Annotated[dict[str, Fidelity], absent_as({})] = field(default_factory=dict)
    layer_fidelity: Annotated[tuple[LayerFidelity, ...], absent_as(())] = ()
    by_layer: ByLayer | None = None
    compile_s: Seconds | None = None  # what torch.compile took before anything was timed
    state_before: MachineState | None = None
    state_after: MachineState | None = None


@dataclass(frozen=True, kw_only=True)
class SkippedCase:
    """A case that was left out on purpose, and why."""

    case: CaseField
    reason: Text = ""


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """How the session with one target went, as the controller saw it."""

    target: Text = ""
    platform: Text = ""
    status: str = "missing"
    reason: Text = ""
    remedy: Text = ""
    error: Text = ""
    started_at: Text = ""
    finished_at: Text = ""
    boot_id: Text = ""
    shares_machine_with: Texts = ()
    blocks_planned: Count | None = None
    cases: Annotated[tuple[CaseField, ...], absent_as(())] = ()
    skipped: Annotated[tuple[SkippedCase, ...], absent_as(())] = ()
    notes: Texts = ()


Reasons = Annotated[dict[str, str | None], absent_as({})]


@dataclass(frozen=True, kw_only=True)
class CudaFacts:
    """The CUDA device that torch sees."""

    device: Text = ""
    capability: Version = ""
    version: Text = ""
    memory_bytes: Count | None = None


@dataclass(frozen=True, kw_only=True)
class TorchFacts:
    """The torch on the board."""

    version: Text = ""
    threads: Count | None = None
    cuda: CudaFacts | None = None
    mkldnn: bool | None = None  # whether it has oneDNN for the CPU


@dataclass(frozen=True, kw_only=True)
class CpuFacts:
    """The processor; ``logical`` and ``physical`` count cores.

    ``model`` is what its kernel says, by which calibrations know the machine; ``name`` is for
    people where that is numbers.
    """

    model: Text = ""
    name: Text = ""
    logical: Count | None = None
    physical: Count | None = None
    governor: Text = ""
    max_mhz: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class MemoryFacts:
    """The machine's memory."""

    total_bytes: Count | None = None
    available_bytes: Count | None = None
    swap_total_bytes: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The machine, as far as plans and reports ask for it.

    ``kernels`` says by kernel and device why it cannot run there, None where it can; ``env`` is
    what the board turned out to need in the environment. ``torch_ended`` says that importing torch
    did not come to an end: it took too long, or ended Python, by ``torch_signal`` if by a signal.
    """

    python: Text = ""
    executable: Text = ""
    torch: TorchFacts | None = None
    torch_error: Text = ""
    torch_remedy: Text = ""
    torch_ended: Annotated[bool, absent_as(False)] = False
    torch_signal: int | None = None
    machine: Text = ""
    kernel: Text = ""
    os: Text = ""
    libc: Text = ""
    hostname: Text = ""
    boot_id: Text = ""
    model: Text = ""
    l4t: Text = ""
    cpu: CpuFacts | None = None
    memory: MemoryFacts | None = None
    threads: Count | None = None
    kernels: Annotated[dict[str, Reasons], absent_as({})] = field(default_factory=dict)
    env: Annotated[dict[str, str], absent_as({})] = field(default_factory=dict)

    @property
    def lacks_onednn(self) -> bool:
        """Whether torch is known to have no oneDNN for the CPU."""
        return self.torch is not None and self.torch.mkldnn is False


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetRun:
    """All that was measured on one target; ``folder`` is where its files lie.

    ``blocks`` are those that figures are made of. ``sentinels`` show only whether the machine
    moved, and ``verification`` is the batch that had to confirm a FAIL: neither is in ``blocks``.
    """

    name: str
    folder: Path
    session: SessionRecord
    probe: Probe | None
    blocks: tuple[BlockRecord, ...]
    power: RailMap | None
    notes: tuple[str, ...] = ()
    idle: tuple[Span, ...] = ()  # windows without workload, in order
    sampler_cost: SamplerCost | None = None  # as calibrated on this machine before
    sentinels: tuple[BlockRecord, ...] = ()
    verification: tuple[BlockRecord, ...] = ()

    @property
    def platform(self) -> str:
        """The platform's id, empty where the session never learned it."""
        return self.session.platform

    @property
    def all_blocks(self) -> tuple[BlockRecord, ...]:
        """Every block of the journal, what no figure is made of too."""
        return (*self.blocks, *self.sentinels, *self.verification)

    @cached_property
    def verification_run(self) -> TargetRun:
        """The same target with the verification batch as its blocks, for the same figures."""
        return replace(self, blocks=self.verification, verification=())

    def blocks_of(self, case: Case, kind: str) -> tuple[BlockRecord, ...]:
        """Return the case's blocks of one kind, in order."""
        return tuple(self._blocks_by_case.get((case, kind), ()))

    @cached_property
    def rates_by_round(self) -> dict[int, Rates]:
        """What the machine gave in each round in which that was measured."""
        return {
            block.round: block.roofline.rates
            for block in self.blocks
            if block.roofline and block.status == "ok" and block.roofline.rates
        }

    @cached_property
    def rates(self) -> Rates | None:
        """What the machine gave, medians over rounds; None where that was not measured."""
        return costs.median_rates(list(self.rates_by_round.values()))

    @cached_property
    def _blocks_by_case(self) -> dict[tuple[Case, str], list[BlockRecord]]:
        grouped: dict[tuple[Case, str], list[BlockRecord]] = {}
        for block in self.blocks:
            grouped.setdefault((block.case, block.kind), []).append(block)
        return grouped


@dataclass(frozen=True, kw_only=True)
class GitState:
    """The tool's revision."""

    revision: Text = ""
    dirty: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Tool:
    """What measured."""

    version: Text = ""
    python: Text = ""
    git: GitState | None = None


@dataclass(frozen=True, kw_only=True)
class PayloadFacts:
    """The program that ran on the boards."""

    name: Text = ""
    sha256: Text = ""


@dataclass(frozen=True, kw_only=True)
class KernelFacts:
    """One kernel that the plan uses; a user's has a ``kind``, and the file or kernel it is of."""

    name: Text = ""
    version: Version = ""
    source_sha256: Text = ""
    kind: Text = ""
    of: Text = ""


@dataclass(frozen=True, kw_only=True)
class RevisionFacts:
    """One git revision that the run compares: its cases carry the label."""

    label: Text = ""
    asked: Text = ""
    commit: Text = ""
    subject: Text = ""
    payload: PayloadFacts | None = None


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What was to be measured."""

    cases: Annotated[tuple[CaseField, ...], absent_as(())] = ()
    phases: tuple[str, ...] = ("forward", "backward", "step")
    min_window_s: Figure | None = None
    isolation: Text = ""


@dataclass(frozen=True, kw_only=True)
class SuiteFacts:
    """What the suite says of itself."""

    name: Text = ""
    title: Text = ""
    description: Text = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a run is judged by: which cases are compared, in what, and how much matters.

    ``base`` and ``new`` are case selectors (``reports.metrics.selectors``), ``margin`` is a
    fraction, ``inconclusive`` says which exit code an INCONCLUSIVE has: warn (3), fail (1) or pass
    (0). A run that is measured ``until_decided`` gets more rounds as long as a verdict is open.
    """

    base: str
    new: str
    metrics: tuple[str, ...] = ("latency",)
    phases: tuple[str, ...] = ("backward",)  # what kernels differ in; a step adds the forward
    margin: Figure = 0.03
    inconclusive: Annotated[str, absent_as("warn")] = "warn"
    until_decided: bool = True


@dataclass(frozen=True, kw_only=True)
class RunHeader:
    """run.json."""

    schema: str
    run_id: str
    started_at: Text = ""
    finished_at: Text = ""
    argv: Texts = ()
    seed: Whole | None = None
    rounds: Count | None = None
    suite: Annotated[SuiteFacts, absent_as({})] = field(default_factory=SuiteFacts)
    plan: Annotated[RunPlan, absent_as({})] = field(default_factory=RunPlan)
    tool: Annotated[Tool, absent_as({})] = field(default_factory=Tool)
    payload: PayloadFacts | None = None
    kernels: Annotated[tuple[KernelFacts, ...], absent_as(())] = ()
    revisions: Annotated[tuple[RevisionFacts, ...], absent_as(())] = ()
    gate: Rule | None = None  # where the run was measured to be judged
    targets: Names = ()


@dataclass(frozen=True, kw_only=True)
class Run:
    """One result folder, read."""

    path: Path
    header: RunHeader
    targets: tuple[TargetRun, ...]
    notes: tuple[str, ...] = ()

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.header.run_id

    def target(self, name: str) -> TargetRun:
        """Return the target of that name.

        Raises:
            KeyError: the run has no such target.
        """
        for target in self.targets:
            if target.name == name:
                return target
        raise KeyError(name)
