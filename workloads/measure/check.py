"""The check of a kernel, ours or a user's, that a block makes before the kernel is timed.

The kernel's gradients are compared with those of kernel ``torch`` in float64 on the same tensors:
on small awkward convolutions and on the case's own. Memory that the kernel has to write is full of
NaN beforehand, so that what it leaves unwritten shows. It may raise NotImplementedError on small
convolutions that it does not support, but not on the case's own.
"""

import contextlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch

from workloads.kernels import find
from workloads.kernels.seam import Operator
from workloads.machine.proc import available_bytes
from workloads.measure import inputs
from workloads.spec.architectures import trained_convolutions
from workloads.spec.geometry import Geometry, layer_geometry
from workloads.spec.memory_estimates import memory_estimate_bytes
from workloads.spec.messages import Case, Layer
from workloads.spec.methods import refusal

# Relative to the largest value. Sums of 1e5 terms in float32 are off by 1e-6 to 1e-5.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}
COARSE_TOLERANCE = 3e-2  # half precision
MEMORY_SHARE = 0.5
NAMES = ("g_x", "g_w", "g_b")
AWKWARD = (
    Layer("odd sizes", 3, 5, 7, 9),
    Layer("stride 2, groups", 4, 6, 9, 8, (3, 3), (2, 2), (1, 1), (1, 1), 2),
    Layer("depthwise", 4, 4, 9, 7, groups=4),
    Layer("1x1", 2, 3, 5, 5, (1, 1), (1, 1), (0, 0)),
    Layer("3x5, no bias", 3, 2, 11, 6, (3, 5), (1, 1), (1, 2), bias=False),
    Layer("dilated", 2, 4, 10, 9, (3, 3), (1, 1), (2, 2), (2, 2)),
    Layer("no padding", 2, 3, 9, 10, (5, 5), (1, 1), (0, 0)),
    Layer("stride 3 on a large window", 2, 2, 13, 11, (5, 3), (3, 3), (1, 0)),
)


class KernelRefused(Exception):
    """A kernel is wrong, or cannot do what it is asked for; the message has the figures."""


class Deviation(NamedTuple):
    """How far a tensor is from its reference.

    ``relative`` is the largest error over the largest value of the reference, NaN where there is
    no such number; ``text`` says the same with the place, or why the two cannot be compared.
    """

    relative: float
    text: str


class Errors(NamedTuple):
    """The largest relative errors of g_x, g_w and g_b; None for a gradient that is not computed."""

    g_x: Optional[float]
    g_w: Optional[float]
    g_b: Optional[float]


def check(case: Case, seed: int) -> Dict[str, Any]:
    """Check the case's kernel and return its largest errors on the case's own convolutions.

    Raises:
        KernelRefused: a gradient is wrong; says which, where, and by how much.
    """
    operator = find(case.kernel).operators[case.method]
    skipped = []
    patch_sizes: List[Optional[int]] = [None]
    if case.patch_size is not None:
        patch_sizes = [*sorted({2, 3, case.patch_size})]
    for number, layer in enumerate(AWKWARD):
        if refusal(case.method, layer, case.patch_size) is not None:
            continue
        for patch_size in patch_sizes:
            small = case._replace(workload=layer, patch_size=patch_size, batch=2)
            try:
                _errors(operator, small, seed + number)
            except NotImplementedError as error:
                name = layer.name
                if patch_size is not None:
                    name += ", r = %d" % patch_size
                skipped.append("%s: %s" % (name, error))
    worst: List[Optional[float]] = [None, None, None]
    for own in _own_layers(case):
        try:
            errors = _errors(operator, own, seed)
        except NotImplementedError as error:
            raise KernelRefused(
                "kernel %s does not support the layer %s: %s" % (case.kernel, own.layer.name, error)
            ) from error
        worst = [_larger(one, other) for one, other in zip(worst, errors)]
    return {"errors": Errors(*worst)._asdict(), "batch": own.batch, "skipped": skipped}


def _own_layers(case: Case) -> List[Case]:
    """Return the case's own layer, or a network's filtered ones, each shape once, of one image."""
    if not case.is_network:
        return [case._replace(batch=_batch_that_fits(case))]
    patch_sizes = dict(case.network.patch_sizes)
    by_shape: Dict[Any, Case] = {}
    for layer in trained_convolutions(case.network):
        patch_size = patch_sizes.get(layer.name, case.patch_size)
        own = case._replace(workload=layer, patch_size=patch_size, batch=1)
        by_shape.setdefault((layer._replace(name=""), patch_size), own)
    return list(by_shape.values())


def _larger(one: Optional[float], other: Optional[float]) -> Optional[float]:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def _batch_that_fits(case: Case) -> int:
    """Return the case's batch, or less where float64 beside the case would not fit."""
    available = available_bytes()
    batch = case.batch
    while batch > 1 and available is not None:
        needed = memory_estimate_bytes(case._replace(dtype="float64", batch=batch))
        if 2 * needed <= MEMORY_SHARE * available:
            break
        batch //= 2
    return batch


def _errors(operator: Operator, case: Case, seed: int) -> Errors:
    """Return the operator's errors on a case; refuse the kernel if they are too large."""
    geometry = layer_geometry(case.layer, case.patch_size, case.batch)
    tensors = _tensors(case, geometry, seed)
    copies = [tensor.clone() for tensor in tensors]
    needs = (True, True, case.layer.bias)
    with torch.no_grad(), unwritten_is_nan(geometry, tensors[0]):
        gradients = _gradients(operator, tensors, geometry, needs)
    if not all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, copies)):
        raise KernelRefused("kernel %s changes its inputs, on %s" % (case.kernel, _described(case)))
    with torch.no_grad():
        in_float64 = [copy.cpu().double() for copy in copies]
        reference = find("torch").operators[case.method]
        references = _gradients(reference, in_float64, geometry, needs)
    return _within_tolerance(case, gradients, references)


def _tensors(case: Case, geometry: Geometry, seed: int) -> List[torch.Tensor]:
    """Return x, weight and dL/dy, in the memory layout in which the kernel is measured."""
    y_shape = (case.batch, geometry.weight_shape[0], *geometry.output_size)
    dtype, device = getattr(torch, case.dtype), torch.device(case.device)
    kernel = find(case.kernel)
    tensors = []
    for index, shape in enumerate((geometry.x_shape, geometry.weight_shape, y_shape)):
        values = inputs.normal(shape, seed + index, dtype=dtype, device=device)
        tensors.append(kernel.laid_out(values))
    return tensors


def _gradients(
    operator: Operator, tensors: List[torch.Tensor], geometry: Geometry, needs: Tuple[bool, ...]
) -> Tuple[Optional[torch.Tensor], ...]:
    """Return (g_x, g_w, g_b) of the tensors x, weight and dL/dy."""
    x, weight, grad_output = tensors
    saved = operator.save(x, weight, geometry, needs[0], needs[1])
    return tuple(operator.gradients(grad_output, *saved, geometry, needs))


def _within_tolerance(
    case: Case, gradients: Tuple[Any, ...], references: Tuple[Optional[torch.Tensor], ...]
) -> Errors:
    """Return the errors of the gradients.

    Raises:
        KernelRefused: one of them is too large.
    """
    tolerance = TOLERANCES.get(getattr(torch, case.dtype), COARSE_TOLERANCE)
    errors: List[Optional[float]] = []
    complaints = []
    for name, gradient, reference in zip(NAMES, gradients, references):
        if reference is None:
            errors.append(None)
            continue
        deviation = largest_error(name, gradient, reference)
        errors.append(deviation.relative)
        if not deviation.relative <= tolerance:  # NaN does not pass
            complaints.append(deviation.text)
    if complaints:
        raise KernelRefused(
            "kernel %s is wrong: %s (allowed: %.0e), on %s"
            % (case.kernel, "; ".join(complaints), tolerance, _described(case))
        )
    return Errors(*errors)


def largest_error(name: str, result: Any, reference: torch.Tensor) -> Deviation:
    """Compare a result with its reference, a tensor in float64 on the CPU.

    Args:
        name: the result's, as messages have it.
        result: what should be a whole tensor of the reference's shape.
        reference: what it should hold.
    """
    nan = float("nan")
    if not isinstance(result, torch.Tensor):
        return Deviation(nan, "%s is %s, not a tensor" % (name, type(result).__name__))
    if result.shape != reference.shape:
        shapes = (tuple(result.shape), tuple(reference.shape))
        return Deviation(nan, "%s has shape %s, not %s" % (name, *shapes))
    if any(step == 0 and size > 1 for step, size in zip(result.stride(), result.shape)):
        return Deviation(nan, "%s is an expanded view, in which elements share memory" % name)
    difference = (result.cpu().double() - reference).abs()
    difference[difference != difference] = float("inf")  # NaN
    flat_index = int(difference.argmax())
    worst = float(difference.reshape(-1)[flat_index])
    index: List[int] = []
    for size in reversed(reference.shape):
        index.insert(0, flat_index % size)
        flat_index //= size
    relative, figure = nan, "not finite"
    if worst != float("inf"):
        relative = worst / max(float(reference.abs().max()), 1e-300)
        figure = "%.1e" % relative
    text = "max relative error of %s is %s at %s" % (name, figure, tuple(index))
    return Deviation(relative, text)


@contextlib.contextmanager
def unwritten_is_nan(geometry: Geometry, like: torch.Tensor) -> Iterator[None]:
    """Fill what torch hands out unwritten with NaN, and what the allocator will hand out next."""
    shapes = (geometry.x_shape, geometry.weight_shape) * 2
    stale = [like.new_full(shape, float("nan")) for shape in shapes]
    del stale
    functions = {name: getattr(torch, name) for name in ("empty", "empty_like", "empty_strided")}
    methods = {}
    for name in ("new_empty", "new_empty_strided"):
        if hasattr(torch.Tensor, name):
            methods[name] = getattr(torch.Tensor, name)
    for name, make in functions.items():
        setattr(torch, name, _poisoned(make))
    for name, make in methods.items():
        setattr(torch.Tensor, name, _poisoned(make))
    try:
        yield
    finally:
        for name, make in functions.items():
            setattr(torch, name, make)
        for name in methods:
            delattr(torch.Tensor, name)  # what it inherits shows again


def _poisoned(make: Any) -> Any:
    """Return a function that fills with NaN what ``make`` returns."""

    def made(*arguments: Any, **options: Any) -> torch.Tensor:
        tensor: torch.Tensor = make(*arguments, **options)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

    return made


def _described(case: Case) -> str:
    layer = case.layer
    return "%s (batch %d, %d to %d channels, %dx%d, window %s, stride %s, r = %s)" % (
        layer.name,
        case.batch,
        layer.in_channels,
        layer.out_channels,
        layer.height,
        layer.width,
        layer.kernel_size,
        layer.stride,
        case.patch_size,
    )
