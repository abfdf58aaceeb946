from __future__ import annotations

import re

import pytest

from reports.metrics.selectors import CasePair, SelectorError, parse_selector, select_pairs
from workloads.spec.messages import Case, Layer

LAYERS = (Layer("early", 16, 16, 56, 56), Layer("late", 64, 64, 14, 14))


def case(layer: Layer, method: str, patch_size: int | None, kernel: str = "torch") -> Case:
    return Case(layer, method, patch_size, kernel, "cpu", "float32", 8)


CASES = tuple(
    found
    for layer in LAYERS
    for found in (
        case(layer, "exact", None),
        case(layer, "exact", None, "torch-channels-last"),
        *(
            case(layer, "gradient_filter", patch_size, kernel)
            for patch_size in (2, 4)
            for kernel in ("torch", "native")
        ),
    )
)


def test_a_selector_is_a_list_of_attributes() -> None:
    assert parse_selector("method=exact, patch_size = 2") == {"method": "exact", "patch_size": "2"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("native", "key=value"),
        ("kernel=", "key=value"),
        ("", "key=value"),
        ("colour=red", "workload, method, patch_size, kernel, device, dtype, batch and revision"),
        ("kernel=a,kernel=b", "kernel twice"),
    ],
)
def test_what_is_no_selector_is_refused_with_the_choices(text: str, words: str) -> None:
    with pytest.raises(SelectorError, match=re.escape(words)):
        parse_selector(text)


def test_kernels_are_paired_where_all_else_is_alike() -> None:
    pairs = select_pairs(CASES, "kernel=torch", "kernel=native")
    assert len(pairs) == 4  # two layers, two patch sizes; exact has no native
    assert pairs[0] == CasePair(
        base=case(LAYERS[0], "gradient_filter", 2),
        new=case(LAYERS[0], "gradient_filter", 2, "native"),
    )
    assert all(pair.base == pair.new._replace(kernel="torch") for pair in pairs)


def test_exact_which_has_no_patch_size_goes_with_the_one_named() -> None:
    pairs = select_pairs(CASES, "method=exact", "method=gradient_filter,patch_size=2")
    assert len(pairs) == 2
    assert all(pair.base.kernel == pair.new.kernel == "torch" for pair in pairs)


def test_an_attribute_that_one_side_names_holds_for_both() -> None:
    pairs = select_pairs(CASES, "kernel=torch,workload=late", "kernel=native,patch_size=4")
    assert [pair.new.key for pair in pairs] == ["late/gradient_filter-r4/native/cpu/float32/b8"]
    assert pairs[0].base.patch_size == 4


def test_several_counterparts_are_ambiguous_and_all_are_named() -> None:
    with pytest.raises(SelectorError, match="name patch_size too") as problem:
        select_pairs(CASES, "method=exact", "method=gradient_filter")
    assert "early/gradient_filter-r2/torch" in str(problem.value)
    assert "early/gradient_filter-r4/torch" in str(problem.value)


def test_several_bases_of_one_case_are_ambiguous() -> None:
    with pytest.raises(SelectorError, match="name patch_size too") as problem:
        select_pairs(CASES, "method=gradient_filter", "method=exact")
    assert str(problem.value).startswith("'method=gradient_filter' is ambiguous")


def test_a_value_that_no_case_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(SelectorError, match="torch, torch-channels-last and native"):
        select_pairs(CASES, "kernel=cuda", "kernel=native")
    with pytest.raises(SelectorError, match="choose from early and late"):
        select_pairs(CASES, "workload=middle", "kernel=native")


def test_cases_that_nothing_makes_alike_are_refused_with_what_differs() -> None:
    with pytest.raises(SelectorError, match="kernel is torch and torch-channels-last in base"):
        select_pairs(CASES, "method=exact", "method=gradient_filter,kernel=native,patch_size=2")


def test_one_case_on_both_sides_is_refused_with_the_way_to_an_a_a() -> None:
    with pytest.raises(SelectorError, match="again=native"):
        select_pairs(CASES, "kernel=native", "kernel=native")
