"""Estimates of memory against what blocks take and what autograd keeps."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from workloads.convolution import filter_module
from workloads.measure.saved import saved_bytes
from workloads.networks import build
from workloads.networks.batch_norm import set_batch_norm
from workloads.spec.architectures import trained_convolutions
from workloads.spec.layers import LAYERS
from workloads.spec.memory_estimates import kept_bytes, memory_estimate_bytes
from workloads.spec.messages import Case, Layer, Network, dump
from workloads.spec.methods import METHODS
from workloads.spec.networks import NETWORKS

PAPER = [layer for name, layer in LAYERS.items() if name.startswith("paper-")]

torch.set_num_threads(1)


def case_of(layer: Layer, method: str, patch_size: Any, batch: int = 1, **fields: Any) -> Case:
    case = Case(layer, method, patch_size, "torch", "cpu", "float32", batch)
    return case._replace(**fields)


def network_case(
    architecture: str = "mobilenet_v2",
    method: str = "exact",
    trained: Any = "all",
    batch: int = 4,
    size: int = 96,
    kernel: str = "torch",
) -> Case:
    network = Network(architecture, architecture, size, size, 10, trained)
    patch_size = 2 if METHODS[method].has_patch_size else None
    return Case(network, method, patch_size, kernel, "cpu", "float32", batch)


def test_a_larger_batch_needs_more() -> None:
    for method, patch_size in [("exact", None), ("gradient_filter", 2)]:
        one, eight = (case_of(PAPER[6], method, patch_size, batch) for batch in (1, 8))
        assert memory_estimate_bytes(eight) > memory_estimate_bytes(one)


def test_the_papers_largest_case_does_not_fit_a_board_of_1_gb_and_fits_8() -> None:
    needed = memory_estimate_bytes(case_of(PAPER[0], "exact", None, 32))
    assert 1.5e9 < needed < 4e9  # x, y and their gradients alone are 1.26 GB
    on_cuda = case_of(PAPER[0], "exact", None, 32, device="cuda")
    assert needed < memory_estimate_bytes(on_cuda) < 4e9


STEP = """
import json, sys
import torch
from workloads.measure import fidelity
from workloads.measure.layer import prepare
from workloads.spec.messages import case_from_json
torch.set_num_threads(1)
case = case_from_json(json.loads(sys.argv[1]))
if sys.argv[2] == "fidelity":
    fidelity.layer_fidelity(case, 1)
else:
    work = prepare(case, 1)
    work.step()
    work.backward()
with open("/proc/self/status") as file:  # ru_maxrss would be the parent's, if that has more
    peak = next(line.split()[1] for line in file if line.startswith("VmHWM"))
print(int(peak) * 1024)
"""


@pytest.mark.parametrize("method", ["exact", "gradient_filter"])
@pytest.mark.parametrize("kind", ["timing", "fidelity"])
def test_the_memory_estimate_is_a_little_more_than_a_block_takes(method: str, kind: str) -> None:
    case = case_of(PAPER[6], method, 2 if method != "exact" else None, 32)
    ran = subprocess.run(
        [sys.executable, "-c", STEP, dump(case), kind], capture_output=True, text=True, check=True
    )
    taken, estimate = int(ran.stdout), memory_estimate_bytes(case)
    assert 0.6 * estimate < taken < estimate


@pytest.mark.parametrize("method", ["exact", "gradient_filter"])
@pytest.mark.parametrize("trained", ["all", "last:3"])
@pytest.mark.parametrize("architecture", NETWORKS)
def test_what_a_network_keeps_is_about_what_is_estimated(
    architecture: str, trained: str, method: str
) -> None:
    case = network_case(architecture, method, trained, batch=2, size=96)
    network = set_batch_norm(build(architecture, num_classes=10))
    names = [layer.name for layer in trained_convolutions(case.network)]
    for name, part in network.named_modules():
        if isinstance(part, nn.Conv2d) and name not in names:
            part.requires_grad_(False)
    if method == "gradient_filter":
        filter_module(network, 2, layers=names)
    parameters = list(network.parameters())
    kept = saved_bytes(lambda: network(torch.zeros(2, 3, 96, 96)), parameters)
    assert kept is not None
    # Not counted: running statistics of BatchNorm, a few percent of maps as small as these.
    assert 0.65 * kept_bytes(case) < kept < 1.07 * kept_bytes(case)


def test_the_less_an_exact_step_keeps_the_less_memory_it_needs() -> None:
    ways = [
        network_case(method=method, kernel=kernel, batch=16)
        for method, kernel in (
            ("exact", "torch"),
            ("exact", "folded"),
            ("exact", "fused"),
            ("micro_batches", "fused"),
        )
    ]
    kept = [kept_bytes(case) for case in ways]
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == 4
    assert kept[3] == kept[2] // 4
    needed = [memory_estimate_bytes(case) for case in ways]
    assert needed == sorted(needed, reverse=True)
    checkpointed = kept_bytes(network_case(method="checkpoint", kernel="fused", batch=16))
    assert checkpointed < 0.7 * kept[2]


def test_a_network_needs_room_for_columns_a_compiler_and_cuda() -> None:
    case = network_case("resnet18")
    needed = memory_estimate_bytes(case)
    assert memory_estimate_bytes(case, unfolds=True) > needed
    assert memory_estimate_bytes(case._replace(kernel="compiled")) > needed
    assert memory_estimate_bytes(case._replace(device="cuda")) > needed
    trained_norms = case.network._replace(frozen_batch_norm=False)
    larger = case._replace(batch=16)
    whole = larger._replace(workload=trained_norms)  # verified with the whole batch at once
    assert memory_estimate_bytes(whole) > memory_estimate_bytes(larger)


NETWORK_STEP = """
import sys
import torch
from workloads.networks import build
from workloads.networks.batch_norm import set_batch_norm
torch.set_num_threads(1)
network = set_batch_norm(build(sys.argv[1], num_classes=10))
x = torch.zeros(int(sys.argv[2]), 3, 96, 96)
parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
for _ in range(3):
    gradients = torch.autograd.grad(network(x).sum(), parameters)
with open("/proc/self/status") as file:
    peak = next(line.split()[1] for line in file if line.startswith("VmHWM"))
print(int(peak) * 1024)
"""


@pytest.mark.parametrize(("architecture", "batch"), [("mobilenet_v2", 16), ("resnet18", 1)])
def test_a_networks_estimate_leaves_room_beside_a_step_to_verify_it(
    architecture: str, batch: int
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", NETWORK_STEP, architecture, str(batch)],
        capture_output=True,
        text=True,
        check=True,
    )
    estimate = memory_estimate_bytes(network_case(architecture, batch=batch))
    assert 0.4 * estimate < int(ran.stdout) < 0.95 * estimate
