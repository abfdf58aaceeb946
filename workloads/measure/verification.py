"""Whether timed calls did their work: their very results against the reference, in one process.

A check beforehand says that a kernel can be right, not that it was while the clock ran. So the
results of the last timed iteration, and copies of those of one that nobody can foresee, are held
against kernel ``torch`` on the inputs that this iteration saw. All inputs change from one
iteration to the next by a third, the reference is met to ``TOLERANCES`` of the largest value.
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

READ = 1024  # numbers of each result that are read right after the call
MEMORY_SHARE = 0.25  # of what is available, for copies


class Inputs(NamedTuple):
    """x (N, C_i, H, W), weight (C_o, C_i / groups, k_h, k_w), bias (C_o,), dL/dy (N, C_o, ...)."""

    x: torch.Tensor
    weight: torch.Tensor
    bias: Optional[torch.Tensor]
    grad_output: torch.Tensor


class Kept(NamedTuple):
    """Copies of what one iteration saw and returned."""

    inputs: Inputs
    results: Tuple[torch.Tensor, ...]


def read_some(results: Any) -> List[float]:
    """Return sums over some numbers of each result, read wherever they lie in memory.

    Raises:
        KernelRefused: a result is not a plain tensor that is written whole.
    """
    return [_read(tensor) for tensor in tensors_of(results)]


def tensors_of(results: Any) -> Tuple[torch.Tensor, ...]:
    """Return the tensors of a call's results in order, those of nested tuples too."""
    if isinstance(results, (tuple, list)):
        return tuple(tensor for part in results for tensor in tensors_of(part))
    return () if results is None else (results,)


def keep(inputs: Inputs, results: Any) -> Optional[Kept]:
    """Return copies of both; None where they would take too much of the memory there is."""
    tensors = tensors_of(results)
    wanted = [tensor for tensor in (*inputs, *tensors) if tensor is not None]
    size = sum(tensor.numel() * tensor.element_size() for tensor in wanted)
    available = _available(inputs.x.device)
    if available is not None and size > MEMORY_SHARE * available:
        return None
    bias = None if inputs.bias is None else inputs.bias.detach().clone()
    copies = [t.detach().clone() for t in (inputs.x, inputs.weight, inputs.grad_output)]
    copied_results = tuple(tensor.detach().clone() for tensor in tensors)
    return Kept(Inputs(copies[0], copies[1], bias, copies[2]), copied_results)


def _available(device: torch.device) -> Optional[int]:
    """Return the bytes that are free for copies there; None where nobody tells."""
    system = available_bytes()
    tell = getattr(torch.cuda, "mem_get_info", None)  # torch >= 1.11
    if device.type != "cuda" or tell is None:
        return system
    free = int(tell()[0])
    return free if system is None else min(free, system)


def verify(case: Case, phase: str, inputs: Inputs, results: Any) -> float:
    """Hold results of a phase against the reference; return the largest relative error.

    Raises:
        KernelRefused: they differ; says which, where, and by how much.
    """
    tolerance = TOLERANCES.get(getattr(torch, case.dtype), COARSE_TOLERANCE)
    worst = 0.0
    with torch.no_grad():
        for name, ours, theirs in _pairs(case, phase, inputs, tensors_of(results)):
            error, words = largest_error(name, ours, theirs)
            if not error <= tolerance:  # NaN is not below it
                raise KernelRefused(
                    "kernel %s did not do the work of a timed %s: on the inputs of that iteration "
                    "%s (allowed: %.0e)" % (case.kernel, phase, words, tolerance)
                )
            worst = max(worst, error)
    return worst


def refuse_same(case: Case, phase: str, inputs: Inputs, results: Any, kept: Kept) -> None:
    """Refuse results that two iterations have in common although their inputs differ.

    Raises:
        KernelRefused: all of them are the same.
    """
    if torch.equal(inputs.grad_output, kept.inputs.grad_output) and phase != "forward":
        return  # it is one iteration, the last one
    if phase == "forward" and torch.equal(inputs.x, kept.inputs.x):
        return
    pairs = list(zip(tensors_of(results), kept.results))
    if pairs and all(one.shape == other.shape and torch.equal(one, other) for one, other in pairs):
        raise KernelRefused(
            "kernel %s returned the same numbers in two timed %ss whose inputs differ in every "
            "element: it answers from memory" % (case.kernel, phase)
        )


def _pairs(
    case: Case, phase: str, inputs: Inputs, results: Tuple[torch.Tensor, ...]
) -> Iterator[Tuple[str, Any, torch.Tensor]]:
    """Yield name, result and reference: by image what has one, else summed over all images.

    By image, so that a reference takes little memory beside what was measured.
    """
    if phase == "forward":
        for image in range(case.batch):
            yield "y", results[0][image : image + 1], _forward(case, _image(inputs, image))
        return
    sums: Dict[int, torch.Tensor] = {}
    for image in range(case.batch):
        wanted = _gradients(case, _image(inputs, image))
        if results[0].shape[0] != case.batch:
            raise KernelRefused(
                "kernel %s returned g_x of shape %s" % (case.kernel, tuple(results[0].shape))
            )
        yield NAMES[0], results[0][image : image + 1], wanted[0].double().cpu()
        for place, part in enumerate(wanted[1:], 1):
            part = part.double().cpu()
            sums[place] = sums[place] + part if image else part
    for place, total in sums.items():
        yield NAMES[place], results[place] if place < len(results) else None, total


def _image(inputs: Inputs, image: int) -> Inputs:
    here = slice(image, image + 1)
    bias = None if inputs.bias is None else inputs.bias.detach()
    return Inputs(
        inputs.x.detach()[here], inputs.weight.detach(), bias, inputs.grad_output.detach()[here]
    )


def _forward(case: Case, inputs: Inputs) -> torch.Tensor:
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
    found = operator.gradients(grad_output, *saved, geometry, (True, True, bias is not None))
    return tuple(tensor for tensor in found if tensor is not None)


def _exact_gradients(case: Case, inputs: Inputs) -> Tuple[torch.Tensor, ...]:
    layer = case.layer
    options = (layer.stride, layer.padding, layer.dilation, layer.groups)
    leaves = [t.detach().requires_grad_() for t in inputs[:3] if t is not None]
    bias = leaves[2] if len(leaves) == 3 else None
    with torch.enable_grad():
        y = F.conv2d(leaves[0], leaves[1], bias, *options)
        return tuple(torch.autograd.grad(y, leaves, inputs.grad_output))


def _read(tensor: Any) -> float:
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise KernelRefused("a timed call returned a %s, not a tensor" % type(tensor).__name__)
    flat = tensor.detach()
    if not _is_dense(flat):
        return float(flat.double().sum())
    apart = max(1, flat.numel() // READ)
    count = (flat.numel() + apart - 1) // apart
    return float(flat.as_strided((count,), (apart,), flat.storage_offset()).double().sum())


def _is_dense(tensor: torch.Tensor) -> bool:
    if tensor.is_contiguous():
        return True
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
