"""The work of a single layer: its tensors, the three calls that are timed, how inputs change."""

from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F

from workloads.convolution import conv2d
from workloads.kernels import find
from workloads.measure import inputs
from workloads.measure.verification import Inputs, verify
from workloads.measure.work import Work, synchronizer
from workloads.spec.geometry import layer_geometry
from workloads.spec.messages import Case
from workloads.spec.methods import METHODS


def prepare(case: Case, seed: int) -> Work:
    """Build the case's tensors, random normal and seeded, and its three calls.

    x is (N, C_i, H, W), dL/dy (N, C_o, H_y, W_y), both of the case's dtype on its device; they and
    the weight have the memory layout in which the kernel is measured.
    """
    layer = case.layer
    device = torch.device(case.device)
    dtype = getattr(torch, case.dtype)
    kernel = find(case.kernel)

    def normal(shape: Tuple[int, ...], index: int) -> torch.Tensor:
        values = inputs.normal(shape, seed + index, dtype=dtype, device=device)
        return kernel.laid_out(values) if len(shape) == 4 else values

    output_size = layer_geometry(layer, 1, case.batch).output_size
    weight_shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    fan_in = weight_shape[1] * weight_shape[2] * weight_shape[3]
    tensors = Inputs(
        x=normal((case.batch, layer.in_channels, layer.height, layer.width), 0),
        weight=normal(weight_shape, 1).mul_(fan_in**-0.5),
        bias=normal((layer.out_channels,), 2) if layer.bias else None,
        grad_output=normal((case.batch, layer.out_channels, *output_size), 3),
    )
    if METHODS[case.method].usable:
        calls = _autograd_calls(case, tensors)
    else:
        calls = _operator_calls(case, tensors)
    return Work(
        forward=calls.forward,
        backward=calls.backward,
        step=calls.step,
        synchronize=synchronizer(device),
        inputs=lambda phase: tensors,
        change=_change(tensors, seed),
        verify=lambda phase, seen, results: verify(case, phase, seen, results),
        parameters=[tensors.weight] if tensors.bias is None else [tensors.weight, tensors.bias],
    )


def tiny(case: Case) -> Case:
    """Return the case with one channel a group, on the smallest map that its window allows."""
    layer = case.layer
    groups = layer.groups if layer.groups == 1 else 2
    side = 1 + max(d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size))
    small = layer._replace(
        in_channels=groups, out_channels=groups, height=side, width=side, groups=groups
    )
    return case._replace(workload=small, batch=1)


class _Calls(NamedTuple):
    """What is timed: one call a phase."""

    forward: Callable[[], Any]
    backward: Callable[[], Any]
    step: Callable[[], Any]


def _autograd_calls(case: Case, tensors: Inputs) -> _Calls:
    """Return the calls of a method through autograd, as programs train."""
    layer = case.layer
    x, weight, bias, grad_output = tensors
    wanted = [x, weight] if bias is None else [x, weight, bias]
    for tensor in wanted:
        tensor.requires_grad_()
    graph: List[torch.Tensor] = []

    def forward() -> torch.Tensor:
        return conv2d(
            x,
            weight,
            bias,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
            method=case.method,
            patch_size=case.patch_size or 1,
            kernel=case.kernel,
        )

    def backward() -> Any:
        if not graph:
            graph.append(forward())
        return torch.autograd.grad(graph[0], wanted, grad_output, retain_graph=True)

    def step() -> Any:
        return torch.autograd.grad(forward(), wanted, grad_output)

    return _Calls(forward, backward, step)


def _operator_calls(case: Case, tensors: Inputs) -> _Calls:
    """Return the calls of an operator whose results do not have the shapes that autograd wants.

    The forward computes the convolution and what is saved, as with other methods.
    """
    layer, operator = case.layer, find(case.kernel).operators[case.method]
    x, weight, bias, grad_output = tensors
    geometry = layer_geometry(layer, case.patch_size, case.batch)
    needs = (True, True, layer.bias)
    options = (layer.stride, layer.padding, layer.dilation, layer.groups)
    kept: List[Any] = []

    def forward() -> Any:
        with torch.no_grad():
            saved = operator.save(x, weight, geometry, True, True)
            return F.conv2d(x, weight, bias, *options), saved

    def gradients(saved: Any) -> Any:
        with torch.no_grad():
            return operator.gradients(grad_output, saved[0], saved[1], geometry, needs)

    def backward() -> Any:
        if not kept:
            kept.append(forward()[1])
        return gradients(kept[0])

    def step() -> Any:
        return gradients(forward()[1])

    return _Calls(forward, backward, step)


def _change(tensors: Inputs, seed: int) -> Callable[[str], None]:
    """Return a function that changes every element of the inputs of a phase."""
    x, weight, bias, grad_output = tensors
    parameters = [weight] if bias is None else [weight, bias]
    changed: Dict[str, List[torch.Tensor]] = {
        "forward": [x, *parameters],
        "backward": [grad_output],
        "step": [x, *parameters, grad_output],
    }
    changing = inputs.Changing([x, *parameters, grad_output], seed + 4)
    return lambda phase: changing.change(changed[phase])
