"""The tables of methods and kernels against what computes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import workloads
from workloads.kernels.torch_ops import operators
from workloads.spec.kernels import C_SOURCES, KERNELS
from workloads.spec.methods import BASELINE, DEFAULT, METHODS, PAPER_MODE

FOLDER = Path(workloads.__file__).parent


def test_kernel_torch_has_an_operator_for_each_method_but_the_baseline() -> None:
    of_layers = {name for name, method in METHODS.items() if "layer" in method.workloads}
    assert set(operators.OPERATORS) == of_layers - {BASELINE}
    assert set(KERNELS["torch"].methods) == of_layers


def test_methods_have_labels_of_their_own_and_those_with_a_role_are_there() -> None:
    assert len({method.label for method in METHODS.values()}) == len(METHODS)
    assert {BASELINE, DEFAULT, PAPER_MODE} <= set(METHODS)
    assert METHODS[BASELINE].usable
    assert METHODS[DEFAULT].usable


def test_kernels_have_only_methods_that_exist() -> None:
    for kernel in KERNELS.values():
        assert set(kernel.methods) <= set(METHODS)


@pytest.mark.parametrize(
    ("kernel", "folder"), [("torch", "torch_ops"), ("native", "native"), ("cuda", "cuda")]
)
def test_a_kernels_sources_are_the_files_of_its_folder(kernel: str, folder: str) -> None:
    files = (FOLDER / "kernels" / folder).iterdir()
    names = {f"kernels/{folder}/{path.name}" for path in files if path.is_file()}
    names -= {f"kernels/{folder}/__init__.py"}
    listed = set(KERNELS[kernel].sources)
    assert {source for source in listed if source.startswith(f"kernels/{folder}/")} == names


def test_all_that_the_native_kernel_includes_is_among_its_sources() -> None:
    first, *headers = C_SOURCES["native"]
    included: set[str] = set()
    pending = [FOLDER / first]
    while pending:
        path = pending.pop()
        for name in re.findall(r'^#\s*include "([^"]+)"', path.read_text(), re.MULTILINE):
            header = path.parent / name
            if str(header.relative_to(FOLDER)) not in included:
                included.add(str(header.relative_to(FOLDER)))
                pending.append(header)
    assert included == set(headers)
