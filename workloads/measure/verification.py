"""Whether timed calls did their work: their results compared with the reference, in one process.

A check beforehand says that a kernel can be right, not that it was while the clock ran. So the
results of the last timed iteration, and copies of those of an unpredictable one, are compared with
kernel ``torch`` on the inputs that this iteration saw. All inputs change from one iteration to the
next, by far more than the ``TOLERANCES`` within which results have to meet the reference.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F

from workloads.kernels import find
from workloads.machine.proc import available_bytes
from workloads.measure.check import (
    COARSE_TOLERANCE,
    NAMES,
    TOLERANCES,
    KernelRefused,
    largest_error,
)
from workloads.spec.geometry import layer_geometry
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE

READ = 1024  # elements of each result that are read right after the call
MEMORY_SHARE = 0.25  # of the available memory, for copies


class Inputs(NamedTuple):
    """x (N, C_i, H, W), weight (C_o, C_i / groups, k_h, k_w), bias (C_o,), dL/dy (N, C_o, ...)."""

    x: torch.Tensor
    weight: torch.Tensor
    bias: Optional[torch.Tensor]
    grad_output: torch.Tensor


class Kept(NamedTuple):
    """Copies of what one iteration saw, a NamedTuple of tensors, and returned."""

    inputs: Any
    results: Tuple[torch.Tensor, ...]


def read_some(results: Any) -> List[float]:
    """Return for each result the sum of some of its elements, spread over its memory.

    Raises:
        KernelRefused: a result is not a plain tensor that is written whole.
    """
    return [_read(tensor) for tensor in tensors_of(results)]


def tensors_of(results: Any) -> Tuple[torch.Tensor, ...]:
    """Return the tensors of a call's results in order, those of nested tuples too."""
    if isinstance(results, (tuple, list)):
        return tuple(tensor for part in results for tensor in tensors_of(part))
    return () if results is None else (results,)


def keep(inputs: Any, results: Any) -> Optional[Kept]:
    """Return copies of both; None where they would take too much of the memory there is.

    Args:
        inputs: a NamedTuple of tensors, tuples of tensors and None; ``x`` is the first.
        results: of a call.
    """
    tensors = tensors_of(results)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(inputs) + tensors)
    available = _available(inputs.x.device)
    if available is not None and size > MEMORY_SHARE * available:
        return None
    return Kept(type(inputs)(*map(_copied, inputs)), _copied(tensors))


def _copied(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_copied, value))
    return None if value is None else value.detach().clone()


def _available(device: torch.device) -> Optional[int]:
    """Return the bytes that are free for copies there; None where they are not known."""
    system = available_bytes()
    mem_get_info = getattr(torch.cuda, "mem_get_info", None)  # torch >= 1.11
    if device.type != "cuda" or mem_get_info is None:
        return system
    free, _ = mem_get_info()
    return int(free) if system is None else min(int(free), system)


def verify(case: Case, phase: str, inputs: Inputs, results: Any) -> float:
    """Compare results of a phase with the reference and return the largest relative error.

    Raises:
        KernelRefused: they differ; the message says which, where, and by how much.
    """
    tolerance = TOLERANCES.get(getattr(torch, case.dtype), COARSE_TOLERANCE)
    worst = 0.0
    with torch.no_grad():
        for name, result, reference in _pairs(case, phase, inputs, tensors_of(results)):
            deviation = largest_error(name, result, reference)
            if not deviation.relative <= tolerance:  # NaN does not pass
                raise KernelRefused(
                    "kernel %s did not do the work of a timed %s: on the inputs of that iteration "
                    "%s (allowed: %.0e)" % (case.kernel, phase, deviation.text, tolerance)
                )
            worst = max(worst, deviation.relative)
    return worst


def refuse_same(case: Case, phase: str, inputs: Any, results: Any, kept: Kept) -> None:
    """Refuse results that two iterations have in common although their inputs differ.

    Raises:
        KernelRefused: all of them are the same.
    """
    if phase == "backward":
        same_iteration = torch.equal(inputs.grad_output, kept.inputs.grad_output)
    else:
        same_iteration = torch.equal(inputs.x, kept.inputs.x)
    if same_iteration:  # the kept one was the last
        return
    pairs = list(zip(tensors_of(results), kept.results))
    if pairs and all(last.shape == old.shape and torch.equal(last, old) for last, old in pairs):
        raise KernelRefused(
            "kernel %s returned the same numbers in two timed %ss whose inputs differ in every "
            "element: it answers from memory" % (case.kernel, phase)
        )


def _pairs(
    case: Case, phase: str, inputs: Inputs, results: Tuple[torch.Tensor, ...]
) -> Iterator[Tuple[str, Any, torch.Tensor]]:
    """Yield name, result and reference of y, or of g_x, g_w and g_b.

    y and g_x come image by image, so that their references take little memory beside what was
    measured; the references of g_w and g_b are summed over all images first.
    """
    if phase == "forward":
        for image in range(case.batch):
            yield "y", results[0][image : image + 1], _forward(case, _image(inputs, image))
        return
    sums: Dict[int, torch.Tensor] = {}  # by index in ``results``
    for image in range(case.batch):
        references = _gradients(case, _image(inputs, image))
        if results[0].shape[0] != case.batch:
            raise KernelRefused(
                "kernel %s returned g_x of shape %s" % (case.kernel, tuple(results[0].shape))
            )
        yield NAMES[0], results[0][image : image + 1], references[0].double().cpu()
        for index, part in enumerate(references[1:], 1):
            part = part.double().cpu()
            sums[index] = sums[index] + part if image else part
    for index, total in sums.items():
        result = results[index] if index < len(results) else None
        yield NAMES[index], result, total


def _image(inputs: Inputs, image: int) -> Inputs:
    """Return the inputs of one image: x (1, C_i, H, W) and dL/dy (1, C_o, H_y, W_y)."""
    return Inputs(
        x=inputs.x.detach()[image : image + 1],
        weight=inputs.weight.detach(),
        bias=None if inputs.bias is None else inputs.bias.detach(),
        grad_output=inputs.grad_output.detach()[image : image + 1],
    )


def _forward(case: Case, inputs: Inputs) -> torch.Tensor:
    """Return y (N, C_o, H_y, W_y) by torch, in float64 on the CPU."""
    layer = case.layer
    options = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return F.conv2d(inputs.x, inputs.weight, inputs.bias, *options).double().cpu()


def _gradients(case: Case, inputs: Inputs) -> Tuple[torch.Tensor, ...]:
    """Return g_x, g_w and, with a bias, g_b by torch alone, in the case's dtype."""
    x, weight, bias, grad_output = inputs
    if case.method == BASELINE:
        return _exact_gradients(case, inputs)
    operator = find("torch").operators[case.method]
    geometry = layer_geometry(case.layer, case.patch_size, 1)
    saved = operator.save(x, weight, geometry, True, True)
    needs = (True, True, bias is not None)
    gradients = operator.gradients(grad_output, *saved, geometry, needs)
    return tuple(tensor for tensor in gradients if tensor is not None)


def _exact_gradients(case: Case, inputs: Inputs) -> Tuple[torch.Tensor, ...]:
    layer = case.layer
    options = (layer.stride, layer.padding, layer.dilation, layer.groups)
    x = inputs.x.detach().requires_grad_()
    weight = inputs.weight.detach().requires_grad_()
    bias = None
    wanted = [x, weight]
    if inputs.bias is not None:
        bias = inputs.bias.detach().requires_grad_()
        wanted.append(bias)
    with torch.enable_grad():
        y = F.conv2d(x, weight, bias, *options)
        return tuple(torch.autograd.grad(y, wanted, inputs.grad_output))


def _read(tensor: Any) -> float:
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise KernelRefused("a timed call returned a %s, not a tensor" % type(tensor).__name__)
    flat = tensor.detach()
    if not _is_dense(flat):
        return float(flat.double().sum())
    stride = max(1, flat.numel() // READ)
    count = (flat.numel() + stride - 1) // stride
    return float(flat.as_strided((count,), (stride,), flat.storage_offset()).double().sum())


def _is_dense(tensor: torch.Tensor) -> bool:
    if tensor.is_contiguous():
        return True
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
