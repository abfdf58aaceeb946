"""Whether a kernel, ours or a user's, computes what it should, found out before it is timed.

Its gradients are held against kernel ``torch`` in float64 on the same tensors, on small awkward
convolutions and on the case's own. Memory that is to be written is full of NaN beforehand, so
that what is left unwritten shows. The kernel may raise NotImplementedError on a small convolution
that it does not do; there is no such excuse on the case's own.
"""

import contextlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch

from workloads import inputs
from workloads.catalog import refusal
from workloads.costs import memory_estimate_bytes
from workloads.geometry import Geometry, layer_geometry
from workloads.kernels import find
from workloads.kernels.seam import Operator
from workloads.memory import available_bytes
from workloads.messages import Case, Layer

# Of the largest value. Sums of 1e5 terms in float32 err by 1e-6 to 1e-5.
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


class Errors(NamedTuple):
    """The largest errors of g_x, g_w and g_b relative to the largest value; None if not asked."""

    g_x: Optional[float]
    g_w: Optional[float]
    g_b: Optional[float]


def check(case: Case, seed: int) -> Dict[str, Any]:
    """Check the case's kernel and return its errors on the case's own convolution.

    Raises:
        KernelRefused: a gradient is wrong; says which, where, and by how much.
    """
    operator = find(case.kernel).operators[case.method]
    skipped = []
    for number, layer in enumerate(AWKWARD):
        if refusal(case.method, layer, case.patch_size or 1) is not None:
            continue
        for patch_size in sorted({2, 3, case.patch_size or 1}):
            small = case._replace(layer=layer, patch_size=patch_size, batch=2)
            try:
                _compare(operator, small, seed + number)
            except NotImplementedError as error:
                skipped.append("%s, r = %d: %s" % (layer.name, patch_size, error))
    own = case._replace(batch=_batch_that_fits(case))
    try:
        errors = _compare(operator, own, seed)
    except NotImplementedError as error:
        raise KernelRefused(
            "kernel %s does not do this layer: %s" % (case.kernel, error)
        ) from error
    return {"errors": errors._asdict(), "batch": own.batch, "skipped": skipped}


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


def _compare(operator: Operator, case: Case, seed: int) -> Errors:
    geometry = layer_geometry(case.layer, case.patch_size, case.batch)
    tensors = _tensors(case, geometry, seed)
    kept = [tensor.clone() for tensor in tensors]
    needs = (True, True, case.layer.bias)
    with torch.no_grad(), unwritten_is_nan(geometry, tensors[0]):
        got = _gradients(operator, tensors, geometry, needs)
    if not all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, kept)):
        raise KernelRefused("kernel %s changes its inputs, on %s" % (case.kernel, _words(case)))
    with torch.no_grad():
        oracle = find("torch").operators[case.method]
        wanted = _gradients(oracle, [t.cpu().double() for t in kept], geometry, needs)
    return _judged(case, got, wanted)


def _tensors(case: Case, geometry: Geometry, seed: int) -> List[torch.Tensor]:
    """Return x, weight and the gradient of y, as they lie where the kernel is measured."""
    grad_shape = (case.batch, geometry.weight_shape[0], *geometry.output_size)
    shapes = (geometry.x_shape, geometry.weight_shape, grad_shape)
    dtype, device = getattr(torch, case.dtype), torch.device(case.device)
    maps = [inputs.normal(s, seed + i, dtype=dtype, device=device) for i, s in enumerate(shapes)]
    return [find(case.kernel).laid_out(each) for each in maps]


def _gradients(
    operator: Operator, tensors: List[torch.Tensor], geometry: Geometry, needs: Tuple[bool, ...]
) -> Tuple[Optional[torch.Tensor], ...]:
    x, weight, grad = tensors
    saved = operator.save(x, weight, geometry, needs[0], needs[1])
    return tuple(operator.gradients(grad, *saved, geometry, needs))


def _judged(case: Case, got: Tuple[Any, ...], wanted: Tuple[Any, ...]) -> Errors:
    """Return the errors, or refuse the kernel for them."""
    tolerance = TOLERANCES.get(getattr(torch, case.dtype), COARSE_TOLERANCE)
    errors: List[Optional[float]] = []
    complaints = []
    for name, ours, theirs in zip(NAMES, got, wanted):
        if theirs is None:
            errors.append(None)
            continue
        error, words = largest_error(name, ours, theirs)
        errors.append(error)
        if not error <= tolerance:  # NaN is no pass
            complaints.append(words)
    if complaints:
        raise KernelRefused(
            "kernel %s is wrong: %s (allowed: %.0e), on %s"
            % (case.kernel, "; ".join(complaints), tolerance, _words(case))
        )
    return Errors(*errors)


def largest_error(name: str, ours: Any, theirs: torch.Tensor) -> Tuple[float, str]:
    """Return the largest error relative to the largest value, and where it is."""
    nan = float("nan")
    if not isinstance(ours, torch.Tensor):
        return nan, "%s is %s, not a tensor" % (name, type(ours).__name__)
    if ours.shape != theirs.shape:
        return nan, "%s has shape %s, not %s" % (name, tuple(ours.shape), tuple(theirs.shape))
    if any(step == 0 and size > 1 for step, size in zip(ours.stride(), ours.shape)):
        return nan, "%s is an expanded view, in which elements share memory" % name
    difference = (ours.cpu().double() - theirs).abs()
    difference[difference != difference] = float("inf")
    place = int(difference.argmax())
    worst = float(difference.reshape(-1)[place])
    scale = max(float(theirs.abs().max()), 1e-300)
    where = []
    for size in reversed(theirs.shape):
        where.append(place % size)
        place //= size
    finite = worst != float("inf")
    figure = "%.1e" % (worst / scale) if finite else "not finite"
    words = "max relative error of %s is %s at %s" % (name, figure, tuple(reversed(where)))
    return (worst / scale if finite else nan), words


@contextlib.contextmanager
def unwritten_is_nan(geometry: Geometry, like: torch.Tensor) -> Iterator[None]:
    """Fill what torch hands out unwritten with NaN, and what the allocator will hand out next."""
    stale = [like.new_full(s, float("nan")) for s in (geometry.x_shape, geometry.weight_shape) * 2]
    del stale
    makers = ("empty", "empty_like", "empty_strided")
    kept = {name: getattr(torch, name) for name in makers}
    methods = ("new_empty", "new_empty_strided")
    bound = {name: getattr(torch.Tensor, name) for name in methods if hasattr(torch.Tensor, name)}
    for name, make in kept.items():
        setattr(torch, name, _poisoned(make))
    for name, make in bound.items():
        setattr(torch.Tensor, name, _poisoned(make))
    try:
        yield
    finally:
        for name, make in kept.items():
            setattr(torch, name, make)
        for name in bound:
            delattr(torch.Tensor, name)  # it is inherited


def _poisoned(make: Any) -> Any:
    def made(*arguments: Any, **options: Any) -> torch.Tensor:
        tensor: torch.Tensor = make(*arguments, **options)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

    return made


def _words(case: Case) -> str:
    layer = case.layer
    words = (layer.name, case.batch, layer.in_channels, layer.out_channels)
    sizes = (layer.height, layer.width, layer.kernel_size, layer.stride, case.patch_size)
    return "%s (batch %d, %d to %d channels, %dx%d, window %s, stride %s, r = %s)" % (words + sizes)
