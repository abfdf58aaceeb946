"""Timed results are held against the reference on the inputs that their iteration saw."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from workloads.measure import block as blocks
from workloads.measure import inputs, timing, verification
from workloads.measure import work as work_module
from workloads.measure.check import KernelRefused
from workloads.measure.layer import prepare
from workloads.measure.verification import keep, read_some, refuse_same, verify
from workloads.spec.messages import Block, Case, Layer

LAYER = Layer("small", 4, 6, 9, 8, (3, 3), (2, 1), (1, 1), (1, 1), 2)
METHODS = (
    ("exact", "torch", None),
    ("exact", "torch-channels-last", None),
    ("gradient_filter", "torch", 2),
    ("gradient_filter", "native", 3),
    ("gradient_filter", "native-channels-last", 2),
    ("gradient_filter_pooled", "torch", 2),
    ("gradient_filter_pooled", "native", 2),
)


def case_of(method: str, kernel: str, patch_size: int | None, dtype: str = "float32") -> Case:
    return Case(LAYER, method, patch_size, kernel, "cpu", dtype, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("phase", ["forward", "backward", "step"])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_right_results_pass_after_every_change(
    method: tuple[str, str, int | None], phase: str, dtype: str
) -> None:
    case = case_of(*method, dtype)
    work = prepare(case, 3)
    seen = []
    for _ in range(3):
        work.change(phase)
        results = getattr(work, phase)()
        assert verify(case, phase, work.inputs(phase), results) < (
            1e-5 if dtype == "float32" else 1e-12
        )
        seen.append(read_some(results))
    assert seen[0] != seen[1] != seen[2]


@pytest.mark.parametrize("phase", ["forward", "backward", "step"])
@pytest.mark.parametrize("method", METHODS[2:4], ids=str)
def test_the_results_of_an_iteration_before_are_refused(
    method: tuple[str, str, int | None], phase: str
) -> None:
    case = case_of(*method)
    work = prepare(case, 3)
    results = getattr(work, phase)()
    kept = keep(work.inputs(phase), results)
    assert kept is not None
    verify(case, phase, kept.inputs, kept.results)
    work.change(phase)
    with pytest.raises(KernelRefused, match=f"did not do the work of a timed {phase}"):
        verify(case, phase, work.inputs(phase), results)
    with pytest.raises(KernelRefused, match="answers from memory"):
        refuse_same(case, phase, work.inputs(phase), results, kept)
    verify(case, phase, kept.inputs, kept.results)  # copies do not change with the inputs


def test_every_element_changes_and_neither_address_nor_version_tells() -> None:
    work = prepare(Case(LAYER._replace(bias=True), "exact", None, "torch", "cpu", "float32", 2), 1)
    before = [(t.clone(), t.data_ptr(), t._version) for t in work.inputs("step") if t is not None]
    work.change("step")
    for (old, address, version), new in zip(before, work.inputs("step"), strict=True):
        assert new is not None
        assert not (old == new).any()
        assert (address, version) == (new.data_ptr(), new._version)


def test_contents_stay_within_a_third_of_the_first_however_often_they_change() -> None:
    first = torch.randn(2, 3, 5, 7)
    tensor = first.clone()
    changing = inputs.Changing([tensor], 5)
    for _ in range(3000):
        changing.change([tensor])
    ratio = tensor / first
    assert 0.649 < ratio.min() < ratio.max() < 1.351


def test_factors_differ_from_pixel_to_pixel_so_that_results_cannot_be_scaled() -> None:
    tensor = torch.ones(1, 2, 6, 6)
    inputs.Changing([tensor], 5).change([tensor])
    assert len(set(tensor[0, 0].flatten().tolist())) == 36


def test_where_memory_is_short_no_copies_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    work = prepare(case_of("exact", "torch", None), 1)
    monkeypatch.setattr(verification, "available_bytes", lambda: 1000)
    assert keep(work.inputs("step"), work.step()) is None


def test_a_result_that_is_lazy_or_no_tensor_is_refused() -> None:
    class Lazy(torch.Tensor):
        pass

    with pytest.raises(KernelRefused, match="a Lazy, not a tensor"):
        read_some(torch.zeros(3).as_subclass(Lazy))
    with pytest.raises(KernelRefused, match="a int, not a tensor"):
        read_some((torch.zeros(3), 5))


def test_some_of_each_result_is_read_in_any_layout() -> None:
    maps = torch.randn(2, 3, 4, 5)
    for laid_out in (
        maps,
        maps.contiguous(memory_format=torch.channels_last),
        maps.transpose(2, 3),
    ):
        assert read_some([laid_out])[0] == pytest.approx(float(maps.double().sum()), abs=1e-5)


def test_a_clock_that_was_replaced_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults: Any = timing.measure.__defaults__
    slow = (lambda: timing.CLOCK() / 9.5, *defaults[1:])
    monkeypatch.setattr(timing.measure, "__defaults__", slow)
    block = Block(0, 0, 0, "timing", case_of("gradient_filter", "torch", 2), 1)
    record = blocks.run_block(block, 1, blocks.Settings(0.05))
    assert (record["status"], record["refused"]) == ("failed", True)
    assert "something has replaced the clock" in record["reason"]


def test_a_pause_of_the_process_after_the_last_iteration_is_no_other_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a busy machine the copies for the verification may wait a tenth of a second."""
    kept: list[str] = []

    def slow_keep(inputs: Any, results: Any) -> Any:
        time.sleep(0.2)
        kept.append("")
        return keep(inputs, results)

    class Last:
        def uniform(self, low: float, high: float) -> float:
            return high

    monkeypatch.setattr(work_module, "keep", slow_keep)
    monkeypatch.setattr(timing, "_unpredictable", Last())
    block = Block(0, 0, 0, "timing", case_of("gradient_filter", "torch", 2), 1)
    record = blocks.run_block(block, 1, blocks.Settings(0.05))
    assert kept
    assert (record["status"], record["reason"]) == ("ok", None)
