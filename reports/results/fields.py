"""The field types of a result's files: what a board may write, and how it is checked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, FiniteFloat, PlainValidator

from workloads.spec.messages import Case, case_from_json

Span = tuple[FiniteFloat, FiniteFloat]


def _case(data: Any) -> Case:
    """Rebuild a case and check what the rest of the reports relies on."""
    if isinstance(data, Case):
        return data
    try:
        case = case_from_json(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a case: {error}") from error
    layer = case.layer
    axes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    sizes = (layer.in_channels, layer.out_channels, layer.height, layer.width, layer.groups)
    names = (layer.name, case.method, case.kernel, case.device, case.dtype, case.revision)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a case has names that are not text")
    if any(len(pair) != 2 for pair in axes):
        raise ValueError("a case has window sizes that are not pairs")
    if not all(type(size) is int for size in (*sizes, *sum(axes, ()), case.batch)):
        raise ValueError("a case has sizes that are not whole numbers")
    if case.patch_size is not None and type(case.patch_size) is not int:
        raise ValueError("a case has a patch size that is not a whole number")
    return case


CaseField = Annotated[Case, PlainValidator(_case)]


def absent_as(default: Any) -> BeforeValidator:
    """Let a null stand for the default: a board may write null where nothing was recorded."""
    return BeforeValidator(lambda value: default if value is None else value)


def _names(value: Any) -> tuple[str, ...]:
    """Return the names that an object maps, or that a list has."""
    return tuple(name for name in value or () if isinstance(name, str))


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Text = Annotated[str, absent_as("")]
Texts = Annotated[tuple[str, ...], absent_as(())]
Version = Annotated[str, BeforeValidator(lambda value: "" if value is None else str(value))]
Figures = Annotated[dict[str, FiniteFloat | None], absent_as({})]
Settings = Annotated[dict[str, FiniteFloat | str | None], absent_as({})]
