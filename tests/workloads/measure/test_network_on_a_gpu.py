"""Every network and method on a real GPU."""

from __future__ import annotations

import pytest
import torch

from workloads.measure.block import Settings, run_block
from workloads.spec.messages import Block, Case, Network
from workloads.spec.networks import NETWORKS
from workloads.spec.refusals import case_refusal

pytestmark = [
    pytest.mark.board,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
WAYS = [
    ("exact", None, "torch"),
    ("exact", None, "torch-channels-last"),
    ("exact", None, "folded"),
    ("exact", None, "fused"),
    ("exact", None, "compiled"),
    ("checkpoint", None, "fused"),
    ("micro_batches", None, "fused"),
    ("gradient_filter", 2, "torch"),
    ("gradient_filter", 2, "cuda"),
    ("gradient_filter_published", 2, "torch"),
]


@pytest.mark.parametrize(("method", "patch_size", "kernel"), WAYS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_trains_by_every_method_on_a_gpu(
    name: str, method: str, patch_size: int | None, kernel: str
) -> None:
    info = NETWORKS[name]
    network = Network(name, name, info.input_size, info.input_size, 10, optimizer="sgd")
    case = Case(network, method, patch_size, kernel, "cuda", "float32", 4)
    if case_refusal(case):
        pytest.skip(str(case_refusal(case)))
    for kind in ("timing", "memory", "by_layer"):
        record = run_block(Block(0, 0, 0, kind, case, 3), 4, Settings(0.05))
        assert record["status"] == "ok", record.get("traceback")
        if kind == "memory":
            assert record["memory"]["cuda_peak_bytes"] > record["memory"]["saved_bytes"] > 0
