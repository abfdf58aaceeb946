"""A network as a workload: its calls, how its inputs change, and how its results are verified."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
import torch

from workloads.measure import timing
from workloads.measure.block import Settings, run_block
from workloads.measure.check import KernelRefused
from workloads.measure.prepare import prepare, tiny
from workloads.spec.messages import Block, Case, Network
from workloads.spec.networks import NETWORKS

TINY = Network("tiny-8-all", "tiny", 8, 8, 10, optimizer="sgd")
EXACT = [
    ("exact", None, "torch"),
    ("exact", None, "torch-channels-last"),
    ("exact", None, "folded"),
    ("exact", None, "fused"),
    ("checkpoint", None, "fused"),
    ("micro_batches", None, "fused"),
]
FILTERED = [
    ("gradient_filter", 2, "torch"),
    ("gradient_filter", 2, "native"),
    ("gradient_filter", 4, "native-channels-last"),
    ("gradient_filter_published", 2, "torch"),
]
SETTINGS = Settings(min_window_s=0.01)


def case_of(method: str, patch_size: int | None, kernel: str, **changes: Any) -> Case:
    network = TINY._replace(**changes)
    return Case(network, method, patch_size, kernel, "cpu", "float32", 6)


def measured(case: Case, kind: str) -> dict[str, Any]:
    record = run_block(Block(0, 0, 0, kind, case, 5), 1, SETTINGS)
    assert record["status"] == "ok", record.get("traceback")
    return record


@pytest.mark.parametrize(("method", "patch_size", "kernel"), [*EXACT, *FILTERED])
def test_every_method_is_timed_and_verified_in_all_phases(
    method: str, patch_size: int | None, kernel: str
) -> None:
    record = measured(case_of(method, patch_size, kernel), "timing")
    assert tuple(record["timing"]) == ("forward", "backward", "step", "train_step")
    for verified in record["verified"].values():
        assert verified["iterations"] == 2
        assert 0 <= verified["error"] < 1e-3


@pytest.mark.parametrize(("method", "patch_size", "kernel"), [*EXACT, *FILTERED])
def test_memory_and_layers_tell_the_same_saved_bytes(
    method: str, patch_size: int | None, kernel: str
) -> None:
    case = case_of(method, patch_size, kernel)
    memory, by_layer = measured(case, "memory")["memory"], measured(case, "by_layer")["by_layer"]
    assert memory["inference_peak_rss_bytes"] is not None
    assert memory["saved_bytes"] == by_layer["saved_bytes"] > 0
    assert sum(layer["saved_bytes"] for layer in by_layer["layers"]) == by_layer["saved_bytes"]
    assert sum(tensor["bytes"] for tensor in by_layer["saved"]) == by_layer["saved_bytes"]


def test_micro_batches_keep_what_one_of_them_needs() -> None:
    whole, parts = (
        measured(case_of(method, None, "fused"), "memory")["memory"]["saved_bytes"]
        for method in ("exact", "micro_batches")
    )
    assert parts < whole / 2  # of 6 images, 2 at a time


@pytest.mark.parametrize(("method", "patch_size", "kernel"), EXACT[1:])
def test_exact_gradients_are_those_of_stock_torch(
    method: str, patch_size: int | None, kernel: str
) -> None:
    stock = prepare(case_of("exact", None, "torch")._replace(dtype="float64"), 3)
    other = prepare(case_of(method, patch_size, kernel)._replace(dtype="float64"), 3)
    for wanted, found in zip(stock.step(), other.step(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_micro_batches_of_a_whole_network_add_up_to_its_gradients(name: str) -> None:
    changes = {"architecture": name, "height": 32, "width": 32, "channels": 0.25}
    case = case_of("micro_batches", None, "fused", **changes)._replace(dtype="float64")
    work = prepare(case, 3)
    assert work.verify("step", work.inputs("step"), work.step()) < 1e-9


def test_the_last_convolutions_alone_can_be_trained() -> None:
    work = prepare(case_of("gradient_filter", 2, "torch", trained="last:1"), 3)
    assert [tuple(gradient.shape) for gradient in work.step()] == [(32, 16, 1, 1), (10, 32), (10,)]


def test_a_layer_can_have_a_patch_size_of_its_own() -> None:
    plain = prepare(case_of("gradient_filter", 2, "torch"), 3).step()
    mixed = prepare(case_of("gradient_filter", 2, "torch", patch_sizes=(("conv3", 1),)), 3).step()
    exact = prepare(case_of("exact", None, "torch"), 3).step()
    torch.testing.assert_close(mixed[2], exact[2])  # conv3: a 1x1 window at r = 1 is exact
    assert not torch.allclose(plain[2], exact[2])


def test_a_trained_batch_norm_is_measured_too() -> None:
    case = case_of("gradient_filter", 2, "native", frozen_batch_norm=False)
    record = measured(case, "timing")
    assert all(verified["error"] < 1e-3 for verified in record["verified"].values())


def test_fidelity_is_that_of_the_whole_gradient_and_of_each_layer() -> None:
    record = measured(case_of("gradient_filter", 2, "native"), "fidelity")
    whole = record["fidelity"]["captured"]
    assert 0 < whole["cosine_gw"] < 1
    assert [layer["name"] for layer in record["layer_fidelity"]] == ["conv1", "conv2", "conv3"]


def test_the_check_of_a_kernel_takes_each_filtered_layer() -> None:
    record = measured(case_of("gradient_filter", 2, "native"), "check")
    assert max(error for error in record["check"]["errors"].values() if error is not None) < 1e-4


def test_results_of_another_iteration_are_refused() -> None:
    work = prepare(case_of("gradient_filter", 2, "torch"), 3)
    remembered = work.step()
    work.change("step")
    with pytest.raises(KernelRefused, match=r"did not do the work of a timed step: .*gradient of"):
        work.verify("step", work.inputs("step"), remembered)


def test_an_optimizer_that_forgets_the_update_is_refused() -> None:
    work = prepare(case_of("exact", None, "torch"), 3)
    assert work.train_step is not None
    before = [parameter.clone() for parameter in work.inputs("step").parameters]
    results = work.train_step()
    after = work.inputs("step").parameters
    assert all(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert work.verify("train_step", work.inputs("train_step"), results) < 1e-4


def test_every_input_of_a_phase_changes_between_iterations() -> None:
    work = prepare(case_of("exact", None, "torch"), 3)
    seen = work.inputs("step")
    before = [tensor.clone() for tensor in (seen.x, seen.grad_output, *seen.parameters)]
    work.change("step")
    after = (seen.x, seen.grad_output, *seen.parameters)
    for one, other in zip(before, after, strict=True):
        assert not (one == other)[one != 0].any()  # the classifier's bias begins with zeros


def test_what_loads_the_libraries_is_the_smallest_network() -> None:
    choice = ("layer4.0.conv1", "layer4.0.conv2")
    big = case_of("gradient_filter", 2, "torch", architecture="resnet18", height=96, width=64)
    big = big._replace(workload=big.network._replace(trained=choice, patch_sizes=((choice[0], 4),)))
    small = tiny(big)
    assert (small.network.architecture, small.batch) == ("tiny", 1)
    assert prepare(small, 1).step()


def test_a_peak_holds_at_least_the_weights_and_the_gradients() -> None:
    case = case_of("exact", None, "torch", architecture="resnet18", height=32, width=32)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        memory = fresh.submit(measured, case, "memory").result()["memory"]
    weights = 4 * NETWORKS["resnet18"].parameters
    assert memory["peak_rss_bytes"] > 1.8 * weights
    assert 0.9 * weights < memory["inference_peak_rss_bytes"] < memory["peak_rss_bytes"]


def test_a_window_keeps_a_whole_iteration_of_a_network() -> None:
    work = prepare(case_of("exact", None, "torch"), 3)
    window = timing.measure(work.iteration("step"), work.synchronize, 0.01)
    assert window.kept is not None
    assert work.verify("step", window.kept.inputs, window.kept.results) < 1e-4
