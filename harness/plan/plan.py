"""Suite x target -> cases -> rounds -> blocks, in seeded order. Pure: nothing is run here."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from harness.plan.suites import EXACT_KERNELS, Suite
from reports.results.records import CudaFacts, Probe
from workloads.spec.costs import flops
from workloads.spec.kernels import KERNELS, KernelInfo
from workloads.spec.layers import SENTINEL_SEED, SENTINEL_WINDOW_S, sentinel_case
from workloads.spec.memory_estimates import memory_estimate_bytes
from workloads.spec.messages import Block, Case, Workload, kind_of
from workloads.spec.methods import BASELINE, METHODS
from workloads.spec.refusals import case_refusal

# For the estimate of a run's length only: a small board's rate, and what a block costs beside
# its windows (a fork; a fresh interpreter that imports torch).
ESTIMATE_FLOPS_PER_S = 3e10
BLOCK_OVERHEAD_S = {"fork": 0.35, "spawn": 5.0}
WARM_UP_SHARE = 0.6
NETWORK_OVERHEAD_S = 0.4  # to build it, and once more to verify it
COMPILE_S = 60.0
STEPS = {"memory": 3, "fidelity": 4, "by_layer": 12}  # in a block of a kind; 2 in others
ENERGY_FACTOR = 1.8  # changes between the iterations come on top of these, and changes alone
MEMORY_HEADROOM = 0.95
FALLBACK = "torch"  # runs wherever torch does


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A case that is not measured, and why."""

    case: Case
    reason: str


@dataclass(frozen=True, kw_only=True)
class TargetPlan:
    """What one target measures, in order, what it does not, and what a reader has to know."""

    cases: tuple[Case, ...]
    skipped: tuple[Skipped, ...]
    blocks: tuple[Block, ...]
    estimate_s: float
    notes: tuple[str, ...] = ()


def make_plan(suite: Suite, *, seed: int, probe: Probe | None = None) -> TargetPlan:
    """Plan a suite for a target; without a probe (a dry run) everything is taken to be there.

    Where none of the suite's kernels can run on a device, ``torch`` is measured there instead.
    """
    cases: list[Case] = []
    skipped: list[Skipped] = []
    for case in all_cases(suite, probe):
        reason = _refused(suite, case, probe)
        if reason is None:
            cases.append(case)
        else:
            skipped.append(Skipped(case=case, reason=reason))
    blocks = plan_rounds(suite, cases, range(suite.rounds), seed=seed, order=0)
    return TargetPlan(
        cases=tuple(cases),
        skipped=tuple(skipped),
        blocks=blocks,
        estimate_s=estimate_s(
            _after_pilot(suite, blocks), suite.min_window_s, suite.isolation, suite.energy
        ),
        notes=_kernel_notes(suite, probe),
    )


def all_cases(suite: Suite, probe: Probe | None = None) -> tuple[Case, ...]:
    """Return every case the suite names, workload by workload, the baseline first."""
    devices = tuple(dict.fromkeys(_device(name, probe) for name in suite.devices))
    revisions = suite.revisions or ("",)
    cases: list[Case] = []
    settings = product(suite.workloads, suite.batches, suite.dtypes, devices, suite.methods)
    for workload, batch, dtype, device, method in settings:
        if kind_of(workload) not in METHODS[method].workloads:
            continue
        patch_sizes: tuple[int | None, ...] = (None,)
        if METHODS[method].has_patch_size:
            patch_sizes = suite.patch_sizes
        kernels = _kernels(suite, workload, method, device, probe)
        for patch_size, kernel, revision in product(patch_sizes, kernels, revisions):
            case = Case(workload, method, patch_size, kernel, device, dtype, batch, revision)
            cases.append(case)
    return tuple(cases)


def estimate_s(
    blocks: Sequence[Block], min_window_s: float, isolation: str, energy: bool = False
) -> float:
    """Return about how long the blocks take, in seconds."""
    window_s = min_window_s * (ENERGY_FACTOR if energy else 1.0)
    return sum(_block_estimate_s(block, window_s, isolation) for block in blocks)


def _after_pilot(suite: Suite, blocks: Sequence[Block]) -> list[Block]:
    """Return as many blocks as are measured, if not the same: the pilot round chooses kernels."""
    if not suite.pilot:
        return list(blocks)
    measured = []
    kernels: Counter[tuple[Any, ...]] = Counter()
    for block in blocks:
        case = block.case
        if block.kind == "timing" and case.is_network and case.method == BASELINE and block.round:
            group = (block.round, case._replace(kernel=""))
            kernels[group] += 1
            if kernels[group] > suite.pilot:
                continue
        measured.append(block)
    return measured


def _device(name: str, probe: Probe | None) -> str:
    if name != "auto":
        return name
    return "cuda" if _cuda(probe) else "cpu"


def _cuda(probe: Probe | None) -> CudaFacts | None:
    return probe.torch.cuda if probe and probe.torch else None


def _refused(suite: Suite, case: Case, probe: Probe | None) -> str | None:
    """Return why the case cannot be measured on this target; None if it can."""
    reason = case_refusal(case)
    if reason is not None:
        return reason
    kernel = suite.kernel(case.kernel)
    if case.method not in kernel.methods:
        return f"the kernel {case.kernel} does not implement {case.method}"
    reason = _unavailable(kernel, case.device, probe)
    if reason is not None:
        return reason
    if case.dtype not in kernel.dtypes:
        offered = ", ".join(kernel.dtypes)
        return f"the kernel {case.kernel} does not support {case.dtype}, only {offered}"
    if probe is None:
        return None
    if case.device == "cuda" and _cuda(probe) is None:
        return "torch sees no CUDA device on this target; see `gfbench doctor`"
    return _does_not_fit(case, probe)


def _unavailable(kernel: KernelInfo, device: str, probe: Probe | None) -> str | None:
    """Return why the kernel cannot run on a device of this target; None if it can."""
    if device not in kernel.devices:
        return f"the kernel {kernel.name} runs on {', '.join(kernel.devices)}, not on {device}"
    reason = probe.kernels.get(kernel.name, {}).get(device) if probe else None
    return f"the kernel {kernel.name} cannot run here: {reason}" if reason else None


def _kernels(
    suite: Suite, workload: Workload, method: str, device: str, probe: Probe | None
) -> tuple[str, ...]:
    """Return the kernels of a method; of filtered ones FALLBACK too where no other can run."""
    if METHODS[method].exact:
        names = suite.exact_kernels if method == BASELINE else EXACT_KERNELS
        kind = kind_of(workload)
        computing = [KERNELS[name] for name in names if method in KERNELS[name].methods]
        return tuple(kernel.name for kernel in computing if kind in kernel.workloads)
    names = suite.kernels
    if suite.revisions:  # another kernel's figures would answer another question
        return names
    if not any(method in suite.kernel(name).methods for name in names):
        return (FALLBACK,)
    if any(_unavailable(suite.kernel(name), device, probe) is None for name in names):
        return names
    return tuple(dict.fromkeys((*names, FALLBACK)))


def _kernel_notes(suite: Suite, probe: Probe | None) -> tuple[str, ...]:
    """Say which kernels this target lacks, and what was measured instead."""
    notes = []
    for device in dict.fromkeys(_device(name, probe) for name in suite.devices):
        reasons = [_unavailable(suite.kernel(name), device, probe) for name in suite.kernels]
        has_fallback = not suite.revisions and None not in reasons
        instead = f"; {FALLBACK} was measured instead" if has_fallback else ""
        notes += [f"{reason}{instead}" for reason in reasons if reason]
    return tuple(dict.fromkeys(notes))


def _does_not_fit(case: Case, probe: Probe) -> str | None:
    """Return the estimate and what there is, if the case needs more than that."""
    needed = memory_estimate_bytes(case, probe.lacks_onednn)
    where = "the board"
    available = probe.memory.available_bytes if probe.memory else None
    cuda = _cuda(probe)
    if case.device == "cuda" and cuda and cuda.memory_bytes:
        where = "the CUDA device"
        available = cuda.memory_bytes
    if available is None or needed <= MEMORY_HEADROOM * available:
        return None
    return (
        f"needs about {needed / 1e9:.2f} GB and {where} has {available / 1e9:.2f} GB available; "
        "choose a smaller --batch"
    )


def plan_rounds(
    suite: Suite,
    cases: Sequence[Case],
    rounds: Iterable[int],
    *,
    seed: int,
    order: int,
    verification: bool = False,
) -> tuple[Block, ...]:
    """Return the blocks of these rounds, numbered from ``order`` on.

    A round depends on the run's seed and on its own number alone, so that a run can be extended
    by rounds later, of fewer cases too.
    """
    planned: list[Block] = []
    for round_ in rounds:
        for block in _round(suite, cases, round_, seed):
            numbered = block._replace(order=order + len(planned), verification=verification)
            planned.append(numbered)
    return tuple(planned)


def _round(suite: Suite, cases: Sequence[Case], round_: int, seed: int) -> Iterable[Block]:
    """Yield a round's blocks: machine and sentinel, then per workload one of every case, shuffled.

    Cases of one workload stand next to each other, so that what drifts over minutes meets all of
    them alike; memory and fidelity blocks follow their workload's timing.
    """
    shuffler = random.Random(f"{seed}/{round_}")
    on_cpu = [case for case in cases if case.device == "cpu"]
    if suite.roofline and on_cpu:  # filed under a case, as every block is
        yield Block(0, round_, 0, "roofline", on_cpu[0], 0)
    if suite.sentinel:
        for slot, device in enumerate(dict.fromkeys(case.device for case in cases)):
            yield Block(0, round_, slot, "sentinel", sentinel_case(device), SENTINEL_SEED)
    groups: dict[tuple[Any, ...], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.workload, case.device, case.dtype, case.batch), []).append(case)
    keys = list(groups)
    shuffler.shuffle(keys)
    for key in keys:
        block_seed = shuffler.randrange(2**31)  # all methods of a pair see the same data
        for kind in _kinds(suite, round_):
            chosen = [case for case in groups[key] if _is_planned(suite, kind, case)]
            _shuffle(chosen, shuffler)
            for slot, case in enumerate(chosen):
                yield Block(0, round_, slot, kind, case, block_seed)


def _shuffle(cases: list[Case], shuffler: random.Random) -> None:
    """Put the cases in random order; the revisions of one stay next to each other."""
    shuffler.shuffle(cases)
    if any(case.revision for case in cases):
        first: dict[Case, int] = {}  # index of a case's first revision
        for index, case in enumerate(cases):
            first.setdefault(case._replace(revision=""), index)
        cases.sort(key=lambda case: first[case._replace(revision="")])


def _kinds(suite: Suite, round_: int) -> tuple[str, ...]:
    kinds = ["timing"] if round_ else ["check", "timing"]
    if round_ < suite.memory_rounds:
        kinds.append("memory")
    if round_ < suite.fidelity_rounds:
        kinds.append("fidelity")
    if round_ == 0:
        kinds.append("by_layer")
    return tuple(kinds)


def _is_planned(suite: Suite, kind: str, case: Case) -> bool:
    """Return whether a case gets blocks of this kind."""
    if kind == "check":
        return suite.is_checked(case)
    if kind == "by_layer":
        return case.is_network
    if not METHODS[case.method].usable:  # no gradients: nothing to compare, nothing to keep
        return kind == "timing"
    return kind != "fidelity" or not METHODS[case.method].exact


def _block_estimate_s(block: Block, min_window_s: float, isolation: str) -> float:
    case = block.case
    overhead_s = BLOCK_OVERHEAD_S[isolation]
    if block.kind == "sentinel":
        return overhead_s + (1 + WARM_UP_SHARE) * SENTINEL_WINDOW_S
    if case.is_network:
        overhead_s += NETWORK_OVERHEAD_S
        if case.kernel == "compiled":
            overhead_s += COMPILE_S
    once_s = _step_estimate_s(case)
    if block.kind != "timing":
        return overhead_s + STEPS.get(block.kind, 2) * once_s
    window_s = max((1 + WARM_UP_SHARE) * min_window_s, 3 * once_s)
    if case.is_network:
        window_s += once_s  # by stock torch, to verify one
    return overhead_s + len(case.phases) * window_s


def _step_estimate_s(case: Case) -> float:
    """Return about how long a step takes on a small board.

    A filtered step of a network is taken to be as long as the exact one: normalisations,
    activations and the forward take their time in both.
    """
    if case.is_network and not METHODS[case.method].exact:
        case = case._replace(method=BASELINE)
    return sum(flops(case)) / ESTIMATE_FLOPS_PER_S
