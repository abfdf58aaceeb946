"""Which checks a machine remembers, and what makes it forget."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from workloads.measure import checked
from workloads.spec.messages import Case, Layer

CASE = Case(Layer("a", 4, 4, 8, 8), "gradient_filter", 2, "native", "cpu", "float32", 2)
FOUND = {"errors": {"g_x": 1e-7, "g_w": 2e-7, "g_b": None}, "batch": 2, "skipped": []}


@pytest.fixture(autouse=True)
def payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "gfbench-0123456789ab.pyz")])


def test_a_passed_check_is_remembered_by_what_was_checked() -> None:
    assert checked.recall(CASE) is None
    checked.remember(CASE, FOUND)
    renamed = CASE._replace(workload=CASE.layer._replace(name="b"))
    assert checked.recall(CASE) == checked.recall(renamed) == FOUND
    others = (
        CASE._replace(batch=1),
        CASE._replace(dtype="float64"),
        CASE._replace(kernel="native-channels-last"),
        CASE._replace(patch_size=4),
        CASE._replace(workload=CASE.layer._replace(height=9)),
    )
    assert [checked.recall(other) for other in others] == [None] * 5


def test_a_users_kernel_and_a_revision_are_checked_in_every_run() -> None:
    for case in (CASE._replace(kernel="mine"), CASE._replace(revision="a1b2c3d")):
        checked.remember(case, FOUND)
        assert checked.recall(case) is None


@pytest.mark.parametrize("what", ["processor", "_torch", "_compiler"])
def test_another_processor_torch_or_compiler_checks_again(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked.remember(CASE, FOUND)
    monkeypatch.setattr(checked, what, lambda *_: "another")
    assert checked.recall(CASE) is None


def test_another_payload_checks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked.remember(CASE, FOUND)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "gfbench-ba9876543210.pyz")])
    assert checked.recall(CASE) is None


def test_a_broken_memory_is_no_memory(tmp_path: Path) -> None:
    checked.remember(CASE, FOUND)
    (file,) = (tmp_path / "checked").iterdir()
    for content in ("{", "[1]", '{"x": 1'):
        file.write_text(content)
        assert checked.recall(CASE) is None
    checked.remember(CASE, FOUND)
    assert checked.recall(CASE) == FOUND


def test_torchs_build_is_told_without_importing_torch() -> None:
    assert "2.13.0" in checked._torch() or "__version__" in checked._torch()
