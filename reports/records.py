"""What a result folder says, typed: the dataclasses that ``results.load_run`` returns.

The field names are those of the files (schema gfbench/1). None means not measured, never 0;
a field that a file lacks takes its default. Clocks: ``window_s`` and ``t_s`` are seconds of the
board's monotonic clock, ``*_at`` are wall time (ISO 8601, UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, FiniteFloat, PlainValidator

from workloads.messages import Case, case_from_json

Span = tuple[FiniteFloat, FiniteFloat]


def _case(data: Any) -> Case:
    """Rebuild a case and check what the rest of the reports relies on."""
    if isinstance(data, Case):
        return data
    try:
        case = case_from_json(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a case: {error}") from error
    layer = case.layer
    axes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    sizes = (layer.in_channels, layer.out_channels, layer.height, layer.width, layer.groups)
    names = (layer.name, case.method, case.kernel, case.device, case.dtype)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a case has names that are not text")
    if any(len(pair) != 2 for pair in axes):
        raise ValueError("a case has window sizes that are not pairs")
    if not all(type(size) is int for size in (*sizes, *sum(axes, ()), case.batch)):
        raise ValueError("a case has sizes that are not whole numbers")
    if case.patch_size is not None and type(case.patch_size) is not int:
        raise ValueError("a case has a patch size that is not a whole number")
    return case


CaseField = Annotated[Case, PlainValidator(_case)]


def _absent_as(default: Any) -> BeforeValidator:
    """Let a null stand for the default: a board may write null where nothing was recorded."""
    return BeforeValidator(lambda value: default if value is None else value)


Text = Annotated[str, _absent_as("")]
Texts = Annotated[tuple[str, ...], _absent_as(())]
Version = Annotated[str, BeforeValidator(lambda value: "" if value is None else str(value))]
Figures = Annotated[dict[str, FiniteFloat | None], _absent_as({})]
Settings = Annotated[dict[str, FiniteFloat | str | None], _absent_as({})]


@dataclass(frozen=True, kw_only=True)
class PhaseTiming:
    """One window of one phase: seconds per iteration, in order, already divided by ``loops``."""

    loops: int = 1
    warmup_s: tuple[FiniteFloat, ...] = ()
    times_s: tuple[FiniteFloat, ...] = ()
    window_s: Span | None = None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The figures of a memory block, each measured apart."""

    saved_bytes: int | None = None
    peak_rss_bytes: int | None = None
    peak_rss_method: Text = ""
    cuda_peak_bytes: int | None = None
    system_dip_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """The filtered gradients against the exact ones of the same run."""

    cosine_gx: FiniteFloat | None = None
    scale_gx: FiniteFloat | None = None
    rel_error_gx: FiniteFloat | None = None
    cosine_gw: FiniteFloat | None = None
    scale_gw: FiniteFloat | None = None
    rel_error_gw: FiniteFloat | None = None


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """The machine right before or after a block."""

    t_s: FiniteFloat | None = None
    temperatures_c: Figures = field(default_factory=dict)
    cpu_mhz: Annotated[tuple[FiniteFloat | None, ...], _absent_as(())] = ()
    governor: Text = ""
    throttle: Settings = field(default_factory=dict)
    mem_available_bytes: int | None = None
    load_1m: FiniteFloat | None = None


@dataclass(frozen=True, kw_only=True)
class BlockRecord:
    """One line of the journal: one fresh process that measured one case."""

    order: int
    round: int
    slot: int = 0
    kind: str
    case: CaseField
    status: str
    reason: Text = ""
    traceback: Text = ""
    log_tail: Text = ""
    pid: int | None = None
    seed: int | None = None
    threads: int | None = None
    isolation: Text = ""
    started_at: Text = ""
    window_s: Span | None = None
    allocator: Settings = field(default_factory=dict)
    timing: Annotated[dict[str, PhaseTiming], _absent_as({})] = field(default_factory=dict)
    memory: Memory | None = None
    fidelity: Annotated[dict[str, Fidelity], _absent_as({})] = field(default_factory=dict)
    state_before: MachineState | None = None
    state_after: MachineState | None = None


@dataclass(frozen=True, kw_only=True)
class SkippedCase:
    """A case that was left out on purpose, and why."""

    case: CaseField
    reason: Text = ""


@dataclass(frozen=True, kw_only=True)
class Session:
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
    blocks_planned: int | None = None
    skipped: Annotated[tuple[SkippedCase, ...], _absent_as(())] = ()
    notes: Texts = ()


@dataclass(frozen=True, kw_only=True)
class CudaFacts:
    """The CUDA device that torch sees."""

    device: Text = ""
    capability: Annotated[
        str, BeforeValidator(lambda value: "" if value is None else str(value))
    ] = ""
    version: Text = ""


@dataclass(frozen=True, kw_only=True)
class TorchFacts:
    """The torch on the board."""

    version: Text = ""
    threads: int | None = None
    cuda: CudaFacts | None = None


@dataclass(frozen=True, kw_only=True)
class CpuFacts:
    """The processor; ``logical`` and ``physical`` count cores."""

    model: Text = ""
    logical: int | None = None
    physical: int | None = None
    governor: Text = ""
    max_mhz: FiniteFloat | None = None


@dataclass(frozen=True, kw_only=True)
class MemoryFacts:
    """The machine's memory."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    swap_total_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The machine, as far as a report shows it."""

    python: Text = ""
    torch: TorchFacts | None = None
    torch_error: Text = ""
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
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One file or field that was read, and the unit it speaks."""

    id: str
    path: Text = ""
    unit: Text = ""


@dataclass(frozen=True, kw_only=True)
class Rail:
    """One measured rail and the channels that make it."""

    name: str
    kind: Text = ""
    channels: Texts = ()
    conversion: Text = ""
    update_interval_s: FiniteFloat | None = None
    resolution: Annotated[tuple[FiniteFloat | None, ...], _absent_as(())] = ()
    tolerance: FiniteFloat | None = None
    wrap_j: FiniteFloat | None = None


@dataclass(frozen=True, kw_only=True)
class MissingSensor:
    """A sensor that could not be read, and what would help."""

    what: Text = ""
    reason: Text = ""
    remedy: Text = ""


@dataclass(frozen=True, kw_only=True)
class RailMap:
    """How the readings of power.csv.gz become watts or joules."""

    source: Text = ""
    scope: Text = ""
    rule: Text = ""
    total: Texts = ()
    rails: Annotated[tuple[Rail, ...], _absent_as(())] = ()
    channels: Annotated[tuple[Channel, ...], _absent_as(())] = ()
    interval_s: FiniteFloat | None = None
    missing: Annotated[tuple[MissingSensor, ...], _absent_as(())] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """The raw readings in order of time: ``channel[i]`` indexes ``channels``."""

    channels: tuple[str, ...]
    t_s: npt.NDArray[np.float64]
    channel: npt.NDArray[np.int32]
    raw: npt.NDArray[np.float64]
    unreadable: int = 0

    def of(self, channel_id: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return times and readings of one channel; empty where it was never read."""
        if channel_id not in self.channels:
            return np.empty(0), np.empty(0)
        mine = self.channel == self.channels.index(channel_id)
        return self.t_s[mine], self.raw[mine]


@dataclass(frozen=True, kw_only=True)
class TargetRun:
    """All that was measured on one target; ``folder`` is where its files lie."""

    name: str
    folder: Path
    session: Session
    probe: Probe | None
    blocks: tuple[BlockRecord, ...]
    power: RailMap | None
    notes: tuple[str, ...] = ()

    @property
    def platform(self) -> str:
        """The platform's id, empty where the session never learned it."""
        return self.session.platform


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
class Payload:
    """The program that ran on the boards."""

    name: Text = ""
    sha256: Text = ""


@dataclass(frozen=True, kw_only=True)
class KernelFacts:
    """One kernel that the plan uses."""

    name: Text = ""
    version: Version = ""
    source_sha256: Text = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was to be measured."""

    cases: Annotated[tuple[CaseField, ...], _absent_as(())] = ()
    phases: tuple[str, ...] = ("forward", "backward", "step")
    min_window_s: FiniteFloat | None = None
    isolation: Text = ""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The suite's own words."""

    name: Text = ""
    title: Text = ""
    description: Text = ""


@dataclass(frozen=True, kw_only=True)
class RunHeader:
    """run.json."""

    schema: str
    run_id: str
    started_at: Text = ""
    finished_at: Text = ""
    argv: Texts = ()
    seed: int | None = None
    rounds: int | None = None
    suite: Annotated[Suite, _absent_as({})] = field(default_factory=Suite)
    plan: Annotated[Plan, _absent_as({})] = field(default_factory=Plan)
    tool: Annotated[Tool, _absent_as({})] = field(default_factory=Tool)
    payload: Payload | None = None
    kernels: Annotated[tuple[KernelFacts, ...], _absent_as(())] = ()


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
