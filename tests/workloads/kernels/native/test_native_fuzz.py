"""Kernel native's memory: a short fuzz in every build, and whether the fuzz would find faults.

``make fuzz`` goes on for longer. Objects are kept in build/fuzz, by what they are made of.
"""

from __future__ import annotations

import ast
import ctypes
import mmap
import os
import random
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import faults
import pytest
import torch
from fuzz import AT_A_TIME, Outcome, run
from fuzz_builds import refusal
from fuzz_configurations import drawn
from guarded_memory import GuardedMemory
from network_layers import NETWORKS, distinct_layers

import workloads
from workloads.kernels.native import compiler

PACKAGE = Path(workloads.__file__).parent
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "release: reported shapes and layers of networks": ("release", ("--short",)),
    **{
        f"{build}: drawn": (build, ("--seed", "2026", "--configurations", str(number)))
        for build, number in (
            ("asan", 200),
            ("avx512", 150),
            ("avx2", 150),
            ("sse", 150),
            ("tsan", 150),
            ("clang", 60),
            ("msan", 40),
            ("neon", 60),
        )
    },
}
# Where each fault is looked for, and a word of what is said of it.
FOUND = {
    "use after free": ("release", "SIGSEGV"),
    "workspace too small": ("avx512", "taken == desc->workspace"),
    "overrun": ("unoptimized", ""),
    "underrun": ("unoptimized", ""),
    "overrun within the workspace": ("unoptimized", "guards_are_intact"),
    # A thread that nobody waits for may also be first to touch memory that is gone by then.
    "lost join": ("tsan", "data race|Segmentation fault"),
    "unwritten scratch": ("msan", "use-of-uninitialized-value"),
}


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Future[Outcome]]]:
    """Start all runs that can be, two at a time."""
    runs = dict(RUNS)
    for fault, (build, _) in FOUND.items():
        runs[fault] = (build, ("--seed", "1", "--configurations", "60", "--fault", fault))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {
            name: pool.submit(run, build, options)
            for name, (build, options) in runs.items()
            if refusal(build) is None
        }


def outcome_of(name: str, build: str, outcomes: dict[str, Future[Outcome]]) -> Outcome:
    """Wait for a run; where it cannot be, skip, but in CI only what needs another processor."""
    why_not = refusal(build)
    if why_not is None:
        return outcomes[name].result()
    if os.environ.get("CI") and build not in ("avx512", "avx2", "sse"):
        pytest.fail(why_not)
    pytest.skip(why_not)


@pytest.mark.parametrize("name", RUNS)
def test_no_configuration_touches_what_is_not_its_own_or_errs(
    name: str, outcomes: dict[str, Future[Outcome]]
) -> None:
    outcome = outcome_of(name, RUNS[name][0], outcomes)
    assert not outcome.finding, f"{outcome.finding}\n{outcome.report}"
    ways = {way.removesuffix(", streaming") for way in outcome.counts}
    assert ways >= {f"gfb_filtered, {layout}, apart" for layout in ("nchw", "nhwc")}
    assert ways >= {f"gfb_depthwise, {layout}" for layout in ("nchw", "nhwc")}


@pytest.mark.parametrize("fault", FOUND)
def test_a_fault_that_is_put_in_is_found(fault: str, outcomes: dict[str, Future[Outcome]]) -> None:
    build, word = FOUND[fault]
    outcome = outcome_of(fault, build, outcomes)
    assert f"--fault '{fault}'" in outcome.finding or f"--fault {fault} " in outcome.finding
    assert "--seed 1 --only" in outcome.finding
    assert re.search(word, outcome.finding + outcome.report)


def test_every_fault_changes_what_is_compiled() -> None:
    assert set(FOUND) <= set(faults.FAULTS)
    for source, old, _ in faults.CHANGES.values():
        assert compiler.__dict__["_text"](source).decode().count(old) == 1


# what the fuzz goes through --------------------------------------------------------------------


def test_the_networks_have_as_many_convolutions_as_is_known() -> None:
    counts = {name: len(network()) for name, network in NETWORKS.items()}
    assert counts == {
        "MobileNetV2": 52,
        "ResNet-18": 20,
        "MCUNet-5fps": 42,
        "EfficientNet-Lite0": 49,
    }
    weights = {
        name: sum(
            layer.out_channels * layer.in_channels // layer.groups * layer.kernel**2
            for layer in network()
        )
        for name, network in NETWORKS.items()
    }
    assert weights["MobileNetV2"] == 2_189_760  # 3 504 872 less the linear layer's and the norms'
    assert weights["ResNet-18"] == 11_166_912  # 11 689 512 less the same
    assert all(layer.height >= 7 for layer in distinct_layers())


def test_a_configuration_is_told_by_its_seed_and_number() -> None:
    assert drawn(3, 17, large=False) == drawn(3, 17, large=False)
    assert drawn(3, 17, large=False) != drawn(4, 17, large=False)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_beside_a_tensor_is_told(seed: int) -> None:
    memory = GuardedMemory(random.Random(seed))
    tensor = memory.placed(torch.zeros(3), copied=True)
    assert not memory.complaints()
    at_start = tensor.data_ptr() % mmap.PAGESIZE == 0
    ctypes.memset(tensor.data_ptr() + (12 if at_start else -1), 0, 1)
    (words,) = memory.complaints()
    assert words == f"written {'after' if at_start else 'before'} a tensor of 12 bytes"


# addresses -------------------------------------------------------------------------------------


def test_addresses_are_taken_of_tensors_that_have_a_name() -> None:
    unnamed = [
        f"{path.relative_to(PACKAGE)}:{call.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("data_ptr", "address")
        and not is_named(call.func.value)
    ]
    assert not unnamed, "the tensor may be gone before its address is used"


def is_named(receiver: ast.expr) -> bool:
    """Return whether an expression is a name, or an attribute or item of one."""
    while isinstance(receiver, ast.Attribute | ast.Subscript):
        receiver = receiver.value
    return isinstance(receiver, ast.Name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("x", True), ("x.tensor", True), ("x[0].tensor", True), ("f(x)", False), ("f(x).y", False)],
)
def test_what_a_call_returns_has_no_name(text: str, expected: bool) -> None:
    assert is_named(ast.parse(text, mode="eval").body) is expected
