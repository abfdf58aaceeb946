"""A kernel is checked against float64 before it is timed: right ones pass, wrong ones do not."""

from __future__ import annotations

import types
from pathlib import Path

import pytest
import torch
import user_kernels_data as data

import workloads.kernels as kernels
from workloads.kernels.native import compiler
from workloads.kernels.seam import Kernel, Operator
from workloads.kernels.user import c_abi
from workloads.measure import check as checks
from workloads.measure.check import KernelRefused, check
from workloads.spec.messages import Case, Layer

LAYER = Layer("small", 4, 6, 8, 8)
CASE = Case(LAYER, "gradient_filter", 2, "mine", "cpu", "float32", 3)


def use(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Make the source the kernel ``mine``."""
    module = types.ModuleType("mine")
    exec(source, module.__dict__)
    operators = {"gradient_filter": Operator(module.save, module.gradients)}
    mine = Kernel("mine", module.VERSION, ("mine.py",), operators, module.available)
    monkeypatch.setitem(kernels.KERNELS, "mine", mine)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["torch", "native"])
def test_our_kernels_pass(name: str, dtype: str) -> None:
    found = check(CASE._replace(kernel=name, dtype=dtype), 1)
    assert found["skipped"] == []
    assert found["batch"] == 3
    assert max(found["errors"].values()) < (1e-5 if dtype == "float32" else 1e-12)


def test_a_right_kernel_passes_and_may_leave_small_ones_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, data.GOOD)
    found = check(CASE, 1)
    assert max(found["errors"].values()) < 1e-5
    assert any("patches must divide" in words for words in found["skipped"])


@pytest.mark.parametrize("how", sorted(set(data.WRONG) - {"an error"}))
def test_a_wrong_kernel_is_refused_with_its_figures(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    use(monkeypatch, data.wrong(how))
    with pytest.raises(KernelRefused) as refused:
        check(CASE, 1)
    words = str(refused.value)
    assert "kernel mine" in words
    assert any(
        part in words
        for part in ("max relative error of g_", "view", "shape", "NoneType", "changes its inputs")
    )
    if how == "scaled by 1.01":
        assert "of g_x is 1.0e-02 at (" in words
        assert "g_w" not in words.split("on ")[0].replace("g_x", "")


def test_an_unwritten_border_is_not_saved_by_clean_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, data.wrong("uninitialised border"))
    with pytest.raises(KernelRefused, match="g_x is not finite at"):
        check(CASE, 1)


def test_what_is_patched_for_the_check_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.empty, torch.Tensor.new_empty
    use(monkeypatch, data.wrong("an error"))
    with pytest.raises(RuntimeError, match="lost"):
        check(CASE, 1)
    assert (torch.empty, torch.Tensor.new_empty) == before
    assert "new_empty" not in vars(torch.Tensor)


def test_the_example_in_the_documentation_passes_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (Path(__file__).parents[3] / "docs" / "kernels.md").read_text()
    use(monkeypatch, text.split("```python\n")[1].split("```")[0])
    found = check(CASE, 1)
    assert max(found["errors"].values()) < 1e-5
    assert found["skipped"]


def test_a_layer_that_the_kernel_does_not_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, data.GOOD)
    with pytest.raises(KernelRefused, match=r"does not support the layer .*: patches must divide"):
        check(CASE._replace(workload=LAYER._replace(height=9)), 1)


def test_the_batch_is_cut_where_float64_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "available_bytes", lambda: 0)
    assert check(CASE._replace(kernel="torch", batch=8), 1)["batch"] == 1


def test_a_kernel_in_c_is_called_by_its_documented_form(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = compiler._text
    texts = {"kernels/user_mine.c": data.C_KERNEL.encode()}
    monkeypatch.setattr(compiler, "_text", lambda name: texts.get(name) or ours(name))
    mine = c_abi.kernel("mine", "user_mine.c")
    assert mine.available(torch.device("cpu"), torch.float32) is None
    assert "written in C and runs on the CPU only" in (
        mine.available(torch.device("cuda"), torch.float32) or ""
    )
    monkeypatch.setitem(kernels.KERNELS, "mine", mine)
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        found = check(CASE._replace(dtype=dtype), 1)
        assert max(found["errors"].values()) < tolerance
        assert all("returned 1" in words for words in found["skipped"])
    texts["kernels/user_mine.c"] = data.C_KERNEL.replace("sum /= ", "sum *= 1.01; sum /= ").encode()
    monkeypatch.setitem(kernels.KERNELS, "mine", c_abi.kernel("mine", "user_mine.c"))
    with pytest.raises(KernelRefused, match=r"g_x is 1\.0e-02"):
        check(CASE, 1)
