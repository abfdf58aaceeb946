"""The field types of a result's files: what a board may write, and how it is checked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator

from workloads.spec.messages import Case, Layer, Network, case_from_json

# Above every figure of any machine, and far below where sums and products of figures overflow.
LARGEST = 1e30
LATEST_S = 1e12  # on a monotonic clock
LARGEST_WHOLE = 2**63 - 1
LARGEST_SIZE = 2**31 - 1  # of a tensor's axis

Figure = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Instant = Annotated[float, Field(ge=-LATEST_S, le=LATEST_S, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=1e-12, le=1e9, allow_inf_nan=False)]  # that something took
SomeSeconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]  # or nothing
Factor = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)]
Count = Annotated[int, Field(ge=0, le=LARGEST_WHOLE)]
Span = tuple[Instant, Instant]


def _case(data: Any) -> Case:
    """Rebuild a case and check what the rest of the reports relies on."""
    if isinstance(data, Case):
        return data
    try:
        case = case_from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"not a case: {error}") from error
    workload = case.workload
    names = (workload.name, case.method, case.kernel, case.device, case.dtype, case.revision)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a case has names that are not text")
    if isinstance(workload, Network):
        _check_network(workload)
    else:
        _check_layer(workload)
    if not _is_size(case.batch, 1):
        raise ValueError("a case has a batch that is not a whole number of 1 or more")
    if case.patch_size is not None and not _is_size(case.patch_size, 1):
        raise ValueError("a case has a patch size that is not a whole number of 1 or more")
    return case


def _check_layer(layer: Layer) -> None:
    axes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    sizes = (layer.in_channels, layer.out_channels, layer.height, layer.width, layer.groups)
    if type(layer.bias) is not bool:
        raise ValueError("a case has a bias that is neither true nor false")
    if any(len(pair) != 2 for pair in axes):
        raise ValueError("a case has window sizes that are not pairs")
    at_least_1 = (*sizes, *layer.kernel_size, *layer.stride, *layer.dilation)
    if not all(_is_size(size, 1) for size in at_least_1):
        raise ValueError("a case has sizes that are not whole numbers of 1 or more")
    if not all(_is_size(size, 0) for size in layer.padding):
        raise ValueError("a case has a padding that is not a whole number of 0 or more")


def _check_network(network: Network) -> None:
    trained = network.trained
    texts = [network.architecture, network.optimizer, network.weights]
    texts += [trained] if isinstance(trained, str) else list(trained)
    texts += [name for name, _ in network.patch_sizes]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a network has names that are not text")
    sizes = [network.height, network.width, network.num_classes]
    sizes += [size for _, size in network.patch_sizes]
    if not all(_is_size(size, 1) for size in sizes):
        raise ValueError("a network has sizes that are not whole numbers of 1 or more")
    if type(network.frozen_batch_norm) is not bool:
        raise ValueError("a network has a frozen_batch_norm that is neither true nor false")
    if not isinstance(network.channels, (int, float)) or not 0 < network.channels <= LARGEST:
        raise ValueError("a network has a factor of channels that is not a number above 0")


def _is_size(value: object, least: int) -> bool:
    return type(value) is int and least <= value <= LARGEST_SIZE


CaseField = Annotated[Case, PlainValidator(_case)]


def absent_as(default: Any) -> BeforeValidator:
    """Let a null stand for the default: a board may write null where nothing was recorded."""
    return BeforeValidator(lambda value: default if value is None else value)


def _names(value: Any) -> tuple[str, ...]:
    """Return the names that an object maps, or that a list has."""
    names = value if isinstance(value, (dict, list, tuple)) else ()
    return tuple(name for name in names if isinstance(name, str))


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Text = Annotated[str, absent_as("")]
Texts = Annotated[tuple[str, ...], absent_as(())]
Version = Annotated[str, BeforeValidator(lambda value: "" if value is None else str(value))]
Figures = Annotated[dict[str, Figure | None], absent_as({})]
Settings = Annotated[dict[str, Figure | str | None], absent_as({})]
