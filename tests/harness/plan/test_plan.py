"""The plan: pure, seeded, fair to every case."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest

from harness.plan.plan import TargetPlan, all_cases, estimate_s, make_plan, plan_rounds
from harness.plan.suites import EXACT_KERNELS, Overrides, Suite, load_suite
from reports.results.records import CudaFacts, MemoryFacts, Probe, TorchFacts
from workloads.spec.memory_estimates import memory_estimate_bytes
from workloads.spec.messages import Block, Case, Layer

SUITE = replace(load_suite("quick"), exact_kernels=EXACT_KERNELS)
GB = 10**9


def probe(*, available_bytes: int | None = 64 * GB, cuda: CudaFacts | None = None) -> Probe:
    return Probe(
        torch=TorchFacts(version="2.13", cuda=cuda),
        memory=MemoryFacts(available_bytes=available_bytes),
    )


def timing_blocks(plan: TargetPlan) -> list[Block]:
    return [block for block in plan.blocks if block.kind == "timing"]


def case_blocks(plan: TargetPlan) -> list[Block]:
    return [block for block in plan.blocks if block.kind != "sentinel"]


def with_layers(*layers: Layer, **changes: Any) -> Suite:
    return replace(SUITE, layers=layers, **changes)


def test_every_round_has_one_timing_block_of_each_case() -> None:
    plan = make_plan(SUITE, seed=1)
    for round_ in range(SUITE.rounds):
        cases = [block.case for block in timing_blocks(plan) if block.round == round_]
        assert sorted(case.key for case in cases) == sorted(case.key for case in plan.cases)


def test_orders_are_the_places_in_the_run() -> None:
    plan = make_plan(SUITE, seed=1)
    assert [block.order for block in plan.blocks] == list(range(len(plan.blocks)))
    rounds = [block.round for block in plan.blocks]
    assert rounds == sorted(rounds)


def test_cases_of_one_workload_stand_next_to_each_other() -> None:
    plan = make_plan(SUITE, seed=1)
    blocks = case_blocks(plan)
    runs = [key for key, _ in groupby(blocks, lambda block: (block.round, block.case.layer))]
    assert len(runs) == len(set(runs)) == SUITE.rounds * len(SUITE.layers)
    kinds = [
        [kind for kind, _ in groupby(block.kind for block in group)]
        for _, group in groupby(blocks, lambda block: (block.round, block.case.layer))
    ]
    assert all(kind[:2] == ["check", "timing"] for kind in kinds[: len(SUITE.layers)])
    assert all(kind[0] == "timing" for kind in kinds[len(SUITE.layers) :])
    assert all(len(kind) == len(set(kind)) for kind in kinds)


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert make_plan(SUITE, seed=5) == make_plan(SUITE, seed=5)
    assert make_plan(SUITE, seed=5).blocks != make_plan(SUITE, seed=6).blocks


def test_rounds_differ_in_order_and_in_data() -> None:
    plan = make_plan(SUITE, seed=3)
    orders = {
        tuple(block.case.key for block in timing_blocks(plan) if block.round == round_)
        for round_ in range(SUITE.rounds)
    }
    assert len(orders) == SUITE.rounds
    by_workload: dict[Layer, set[int]] = {}
    for block in case_blocks(plan):
        by_workload.setdefault(block.case.layer, set()).add(block.seed)
    assert all(len(seeds) == SUITE.rounds for seeds in by_workload.values())


def test_no_case_is_always_first() -> None:
    plan = make_plan(replace(SUITE, rounds=40), seed=2)
    first = [block.case.method for block in timing_blocks(plan) if block.slot == 0]
    share = first.count("exact") / len(first)
    assert 0.35 < share < 0.65  # two in four, by chance


def test_all_methods_of_a_pair_see_the_same_data() -> None:
    plan = make_plan(SUITE, seed=1)
    for _, group in groupby(plan.blocks, lambda block: (block.round, block.case.layer)):
        assert len({block.seed for block in group}) == 1


def test_the_baseline_has_no_fidelity_blocks_and_every_other_case_has() -> None:
    plan = make_plan(SUITE, seed=1)
    methods = [block.case.method for block in plan.blocks if block.kind == "fidelity"]
    assert methods == ["gradient_filter"] * (2 * 3 * SUITE.fidelity_rounds)


def test_memory_and_fidelity_rounds_may_be_fewer() -> None:
    suite = replace(SUITE, memory_rounds=1, fidelity_rounds=0)
    kinds = [block.kind for block in make_plan(suite, seed=1).blocks]
    assert kinds.count("memory") == 12
    assert kinds.count("fidelity") == 0


def test_exact_has_no_patch_size_and_is_measured_in_both_layouts() -> None:
    cases = all_cases(SUITE)
    exact = [case for case in cases if case.method == "exact"]
    layouts = [(None, "torch"), (None, "torch-channels-last")]
    assert [(case.patch_size, case.kernel) for case in exact] == layouts * 3
    assert len({case.key for case in cases}) == len(cases) == 12
    one = all_cases(replace(SUITE, exact_kernels=("torch",)))
    assert {case.kernel for case in one} == {"torch"}


def test_a_case_that_does_not_fit_is_skipped_with_the_estimate() -> None:
    large = load_suite("paper-latency", Overrides(workloads=["paper-0"], batches=[64]))
    plan = make_plan(large, seed=1, probe=probe(available_bytes=1 * GB))
    assert not plan.cases
    assert not plan.blocks
    assert len(plan.skipped) == len(all_cases(large))
    for skipped in plan.skipped:
        needed = memory_estimate_bytes(skipped.case) / 1e9
        assert skipped.reason.startswith(f"needs about {needed:.2f} GB and the board has 1.00 GB")
        assert "--batch" in skipped.reason


def test_a_torch_without_onednn_needs_room_for_the_columns_of_its_convolution() -> None:
    """Measured with torch 1.10: 1.69 GB of this case, 1.34 GB without the columns of 0.92 GB."""
    suite = with_layers(Layer("large", 64, 64, 224, 224), batches=(8,), methods=("exact",))
    board = probe(available_bytes=16 * GB // 10)
    assert make_plan(suite, seed=1, probe=board).cases
    slow = replace(board, torch=TorchFacts(version="1.10.2", mkldnn=False))
    plan = make_plan(suite, seed=1, probe=slow)
    assert not plan.cases
    assert plan.skipped[0].reason.startswith("needs about 2.27 GB and the board has 1.60 GB")


def test_only_what_does_not_fit_is_skipped() -> None:
    layers = (Layer("small", 4, 4, 8, 8), Layer("large", 512, 512, 512, 512))
    plan = make_plan(with_layers(*layers), seed=1, probe=probe(available_bytes=1 * GB))
    assert {case.layer.name for case in plan.cases} == {"small"}
    assert {skipped.case.layer.name for skipped in plan.skipped} == {"large"}


def test_unknown_memory_skips_nothing() -> None:
    layer = Layer("large", 512, 512, 512, 512)
    assert not make_plan(with_layers(layer), seed=1, probe=probe(available_bytes=None)).skipped
    assert not make_plan(with_layers(layer), seed=1, probe=Probe(torch=TorchFacts())).skipped


def test_what_the_published_form_cannot_do_is_skipped_with_the_reason() -> None:
    grouped = Layer("grouped", 8, 8, 8, 8, groups=2)
    suite = with_layers(grouped, methods=("exact", "gradient_filter", "gradient_filter_published"))
    plan = make_plan(suite, seed=1)
    assert {case.method for case in plan.cases} == {"exact", "gradient_filter"}
    assert {skipped.case.method for skipped in plan.skipped} == {"gradient_filter_published"}
    assert all("groups" in skipped.reason for skipped in plan.skipped)


def test_a_layer_that_cannot_be_is_skipped_with_the_reason() -> None:
    plan = make_plan(with_layers(Layer("bad", 5, 4, 8, 8, groups=2)), seed=1)
    assert not plan.cases
    assert all("groups" in skipped.reason for skipped in plan.skipped)


def test_cuda_that_is_asked_for_and_not_there_is_skipped() -> None:
    plan = make_plan(replace(SUITE, devices=("cpu", "cuda")), seed=1, probe=probe())
    assert {case.device for case in plan.cases} == {"cpu"}
    assert {skipped.reason for skipped in plan.skipped} == {
        "torch sees no CUDA device on this target; see `gfbench doctor`"
    }


def test_auto_takes_cuda_where_there_is_one() -> None:
    cuda = CudaFacts(device="Orin", memory_bytes=8 * GB)
    plan = make_plan(SUITE, seed=1, probe=probe(cuda=cuda))
    assert {case.device for case in plan.cases} == {"cuda"}
    assert {case.device for case in make_plan(SUITE, seed=1, probe=probe()).cases} == {"cpu"}
    both = all_cases(replace(SUITE, devices=("auto", "cpu")), probe())
    assert len(both) == len(set(both)) == 12


def test_on_cuda_the_devices_own_memory_counts() -> None:
    cuda = CudaFacts(device="small", memory_bytes=GB // 4)
    plan = make_plan(SUITE, seed=1, probe=probe(cuda=cuda))
    assert not plan.cases
    assert "the CUDA device has 0.25 GB" in plan.skipped[0].reason


def test_a_dtype_that_the_kernel_lacks_is_skipped_with_the_reason() -> None:
    plan = make_plan(replace(SUITE, dtypes=("float32", "float16")), seed=1)
    assert {case.dtype for case in plan.cases} == {"float32"}
    assert "float16" in plan.skipped[0].reason


def test_the_estimate_grows_with_windows_rounds_and_fresh_processes() -> None:
    blocks = make_plan(SUITE, seed=1).blocks
    base = estimate_s(blocks, 0.1, "fork")
    assert estimate_s(blocks, 1.0, "fork") > base
    assert estimate_s(blocks, 0.1, "spawn") > base
    assert estimate_s(blocks[: len(blocks) // 2], 0.1, "fork") < base
    assert estimate_s([], 1.0, "fork") == 0


def test_the_quick_suite_is_estimated_within_its_promise() -> None:
    assert 20 < make_plan(SUITE, seed=1).estimate_s < 180


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_seeds_of_blocks_fit_every_torch(seed: int) -> None:
    assert all(0 <= block.seed < 2**31 for block in make_plan(SUITE, seed=seed).blocks)


def test_every_case_is_planned_or_skipped() -> None:
    suite = load_suite("mobile-layers", Overrides(methods=["gradient_filter_published"]))
    plan = make_plan(suite, seed=1)
    keys: list[Case] = [*plan.cases, *(skipped.case for skipped in plan.skipped)]
    assert sorted(case.key for case in keys) == sorted(case.key for case in all_cases(suite))


NO_COMPILER = "no C compiler: cc, gcc and clang are not on PATH"


def with_native(reason: str | None, **more: Any) -> Probe:
    kernels: dict[str, dict[str, str | None]] = {
        "native": {"cpu": reason, "cuda": "kernel native runs on the CPU, not on cuda"},
        "torch": {"cpu": None, "cuda": None},
    }
    return replace(probe(**more), kernels=kernels)


def test_kernels_are_measured_in_the_same_rounds() -> None:
    plan = make_plan(replace(SUITE, kernels=("torch", "native")), seed=1, probe=with_native(None))
    for round_ in range(SUITE.rounds):
        keys = {b.case.key for b in timing_blocks(plan) if b.round == round_}
        native = {key.replace("/native/", "/torch/") for key in keys if "/native/" in key}
        assert len(native) == 2 * len(SUITE.layers)
        assert native <= keys
    assert plan.notes == ()


def test_a_kernel_that_the_target_lacks_is_skipped_and_said() -> None:
    suite = replace(SUITE, kernels=("torch", "native"))
    plan = make_plan(suite, seed=1, probe=with_native(NO_COMPILER))
    assert {skipped.case.kernel for skipped in plan.skipped} == {"native"}
    assert all(NO_COMPILER in skipped.reason for skipped in plan.skipped)
    (note,) = plan.notes
    assert NO_COMPILER in note
    assert "instead" not in note


def test_torch_is_measured_where_the_only_kernel_cannot_run() -> None:
    plan = make_plan(replace(SUITE, kernels=("native",)), seed=1, probe=with_native(NO_COMPILER))
    filtered = [case for case in plan.cases if case.method != "exact"]
    assert {case.kernel for case in filtered} == {"torch"}
    assert len(filtered) == 2 * len(SUITE.layers)
    assert {skipped.case.kernel for skipped in plan.skipped} == {"native"}
    (note,) = plan.notes
    assert NO_COMPILER in note
    assert note.endswith("torch was measured instead")


def test_a_kernel_of_the_cpu_falls_back_where_the_device_is_cuda() -> None:
    here = with_native(None, cuda=CudaFacts(device="x", memory_bytes=64 * GB))
    plan = make_plan(replace(SUITE, kernels=("native",)), seed=1, probe=here)
    assert {case.kernel for case in plan.cases if case.method != "exact"} == {"torch"}
    assert {case.device for case in plan.cases} == {"cuda"}
    assert plan.notes == ("the kernel native runs on cpu, not on cuda; torch was measured instead",)


def test_each_round_begins_with_the_same_sentinel_on_every_device() -> None:
    suite = replace(SUITE, devices=("cpu", "cuda"))
    blocks = make_plan(suite, seed=1).blocks
    for round_ in range(suite.rounds):
        first, second, *others = (block for block in blocks if block.round == round_)
        assert (first.kind, second.kind) == ("sentinel", "sentinel")
        assert {first.case.device, second.case.device} == {"cpu", "cuda"}
        assert first.case.method == "exact"
        assert "sentinel" not in {block.kind for block in others}
    same = {(block.case, block.seed) for block in blocks if block.kind == "sentinel"}
    elsewhere = make_plan(load_suite("mobile-layers"), seed=77).blocks
    assert len(same) == 2
    assert {(b.case, b.seed) for b in elsewhere if b.kind == "sentinel"} <= same


def test_a_suite_may_go_without_a_sentinel() -> None:
    suite = replace(SUITE, sentinel=False)
    kinds = {block.kind for block in make_plan(suite, seed=1).blocks}
    assert kinds == {"check", "timing", "memory", "fidelity"}


def test_the_sentinel_is_a_small_part_of_the_quick_suite() -> None:
    quick = load_suite("quick")
    whole_s = make_plan(quick, seed=1).estimate_s
    without_s = make_plan(replace(quick, sentinel=False), seed=1).estimate_s
    assert 1 < whole_s / without_s < 1.06


def test_a_run_is_extended_by_the_rounds_that_a_longer_one_would_have_had() -> None:
    short = make_plan(replace(SUITE, rounds=2), seed=4)
    more = plan_rounds(SUITE, short.cases, range(2, 6), seed=4, order=len(short.blocks))
    assert (*short.blocks, *more) == make_plan(replace(SUITE, rounds=6), seed=4).blocks


def test_a_batch_of_verification_is_told_apart_and_may_have_fewer_cases() -> None:
    plan = make_plan(SUITE, seed=4)
    pair = plan.cases[:2]
    batch = plan_rounds(SUITE, pair, range(6, 14), seed=4, order=500, verification=True)
    assert all(block.verification for block in batch)
    assert not any(block.verification for block in plan.blocks)
    assert [block.order for block in batch] == list(range(500, 500 + len(batch)))
    timed = [block for block in batch if block.kind == "timing"]
    assert {block.case for block in timed} == set(pair)
    assert len(timed) == 16
    assert {block.slot for block in timed if block.case == pair[0]} == {0, 1}


# Networks ----------------------------------------------------------------------------------------

NETWORKS = replace(load_suite("networks-quick"), kernels=("native", "torch"), pilot=0)


def test_a_networks_cases_are_the_exact_kernels_and_the_methods_that_train_it() -> None:
    methods = ("exact", "gradient_filter", "checkpoint", "micro_batches")
    one = replace(NETWORKS, networks=NETWORKS.networks[:1], methods=methods, rounds=2)
    plan = make_plan(one, seed=1)
    assert not plan.skipped
    assert [case.key.partition("/")[2] for case in plan.cases] == [
        "exact/torch/cpu/float32/b4",
        "exact/torch-channels-last/cpu/float32/b4",
        "exact/folded/cpu/float32/b4",
        "exact/fused/cpu/float32/b4",
        "gradient_filter-r2/native/cpu/float32/b4",
        "gradient_filter-r2/torch/cpu/float32/b4",
        "gradient_filter-r4/native/cpu/float32/b4",
        "gradient_filter-r4/torch/cpu/float32/b4",
        "checkpoint/fused/cpu/float32/b4",
        "micro_batches/fused/cpu/float32/b4",
    ]
    kinds = Counter((block.round, block.kind) for block in case_blocks(plan))
    assert kinds == {
        (0, "check"): 4,
        (0, "timing"): 10,
        (0, "memory"): 10,
        (0, "fidelity"): 4,
        (0, "by_layer"): 10,
        (1, "timing"): 10,
    }


def test_layers_get_no_method_and_no_exact_kernel_of_networks() -> None:
    suite = replace(SUITE, methods=("exact", "checkpoint", "micro_batches"))
    assert {(case.method, case.kernel) for case in all_cases(suite)} == {
        ("exact", "torch"),
        ("exact", "torch-channels-last"),
    }


def test_a_method_that_none_of_the_kernels_implements_is_measured_by_torch() -> None:
    suite = replace(SUITE, methods=("gradient_filter_published",), kernels=("native",))
    assert {case.kernel for case in make_plan(suite, seed=1).cases} == {"torch"}


def test_a_network_that_cannot_be_is_skipped_with_the_layer() -> None:
    suite = load_suite("networks", Overrides(workloads=["efficientnet_lite0-224-all"]))
    plan = make_plan(suite, seed=1)
    assert {skipped.case.method for skipped in plan.skipped} == {"gradient_filter_published"}
    words = "gradient_filter_published does not support the layer _conv_stem: padding"
    assert all(skipped.reason.startswith(words) for skipped in plan.skipped)
    small = make_plan(suite, seed=1, probe=probe(available_bytes=2 * GB))
    too_large = {skipped.case.kernel for skipped in small.skipped if "about" in skipped.reason}
    assert "torch" in too_large
    assert "fused" not in too_large


def test_networks_in_a_dtype_that_no_kernel_has_are_skipped_beside_layers() -> None:
    both = replace(SUITE, networks=NETWORKS.networks[:1], dtypes=("bfloat16",))
    reasons = {skip.reason for skip in make_plan(both, seed=1).skipped if skip.case.is_network}
    assert reasons == {
        "networks are measured in float32 and float64; no kernel trains them in bfloat16 yet"
    }


def test_the_pilot_and_an_optimizer_change_how_long_a_run_takes() -> None:
    whole_s = make_plan(NETWORKS, seed=1).estimate_s
    pilot = replace(NETWORKS, pilot=2)
    assert make_plan(pilot, seed=1).estimate_s < 0.9 * whole_s
    assert len(make_plan(pilot, seed=1).blocks) == len(make_plan(NETWORKS, seed=1).blocks)
    trained = tuple(network._replace(optimizer="sgd") for network in NETWORKS.networks)
    with_updates = replace(NETWORKS, networks=trained)  # a fourth phase
    assert 1.1 < make_plan(with_updates, seed=1).estimate_s / whole_s < 1.33
    compiled = replace(NETWORKS, exact_kernels=("torch", "compiled"))
    assert make_plan(compiled, seed=1).estimate_s > whole_s + 1000
