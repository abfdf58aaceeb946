"""How close the gradients of a filtered network are to the exact ones, as a whole and by layer."""

import functools
from typing import Any, Dict, NamedTuple, Optional, Tuple

import torch
from torch import nn

from workloads.convolution import FilteredConv2d
from workloads.measure.fidelity import compare, compare_all

Gradients = Dict[str, torch.Tensor]  # by the name of the parameter


class _Local(NamedTuple):
    """The cosines of one convolution's own gradients; None where undefined."""

    cosine_gx: Optional[float] = None
    cosine_gw: Optional[float] = None


def network_fidelity(
    exact: nn.Module, filtered: nn.Module, x: torch.Tensor, grad_logits: torch.Tensor
) -> Dict[str, Any]:
    """Return the fidelity of one step, of the network and of each filtered convolution.

    ``captured`` compares the gradients of the filtered convolutions' weights, as one vector, in the
    filtered network with those in the exact one. The classifier is left out: its gradient is exact
    and large, and would make every method look better than it is.

    ``layer_fidelity`` has every trained convolution that is filtered, in the order in which they
    run. ``cosine_gx`` and ``cosine_gw`` say what it errs by itself: its filtered and its exact
    backward get the input and the output's gradient that it meets in the exact network (in the
    first run, if there are several). ``cosine_gx`` is None where the input needs no gradient.
    ``cosine_gw_network`` has in it what the layers behind have erred, too: it compares the weight's
    gradients in the two networks.

    Args:
        exact: the network with exact gradients.
        filtered: the same network, filtered, with equal parameters of its own.
        x: (N, 3, H, W).
        grad_logits: the gradient of the networks' output, (N, classes).

    Raises:
        ValueError: the networks do not train the same parameters.
    """
    trained, filtered_trained = _trained(exact), _trained(filtered)
    if list(trained) != list(filtered_trained):
        raise ValueError("filtered does not train the same parameters as exact")
    layers: Dict[str, FilteredConv2d] = {}
    for name, part in filtered.named_modules():
        if isinstance(part, FilteredConv2d) and part.weight.requires_grad:
            layers[name] = part
    local: Dict[str, _Local] = {}
    logits = _watched_forward(exact, layers, x, local)
    exact_gradients = _gradients(logits, trained, grad_logits)
    del logits  # and its graph, before the other network makes one
    filtered_gradients = _gradients(filtered(x), filtered_trained, grad_logits)

    pairs = {name: (filtered_gradients[name], exact_gradients[name]) for name in trained}
    weights = {name: pairs[name + ".weight" if name else "weight"] for name in local}
    captured = compare_all(weights.values())
    by_layer = []
    for name, cosines in local.items():
        in_network = compare(*weights[name])
        by_layer.append(
            {
                "name": name,
                "cosine_gx": cosines.cosine_gx,
                "cosine_gw": cosines.cosine_gw,
                "cosine_gw_network": in_network.cosine,
            }
        )
    return {
        "fidelity": {
            "captured": {
                "cosine_gw": captured.cosine,
                "scale_gw": captured.scale,
                "rel_error_gw": captured.rel_error,
            }
        },
        "layer_fidelity": by_layer,
    }


def _watched_forward(
    exact: nn.Module, layers: Dict[str, FilteredConv2d], x: torch.Tensor, local: Dict[str, _Local]
) -> torch.Tensor:
    """Return the logits, whose backward will enter each layer's cosines in ``local``.

    Each layer is compared when the backward comes to it, so that the gradients of one output at a
    time are in memory.
    """
    modules = dict(exact.named_modules())
    handles = []
    for name, layer in layers.items():
        watch = functools.partial(_watch, name, layer, local)
        handles.append(modules[name].register_forward_hook(watch))
    try:
        logits: torch.Tensor = exact(x)
    finally:
        for handle in handles:
            handle.remove()
    return logits


def _watch(
    name: str,
    layer: FilteredConv2d,
    local: Dict[str, _Local],
    conv: nn.Conv2d,
    inputs: Tuple[torch.Tensor],
    output: torch.Tensor,
) -> None:
    """Have the filtered layer compared with its exact twin as the output's gradient arrives."""
    needs_gx = inputs[0].requires_grad
    met = [inputs[0].detach().requires_grad_(needs_gx)]

    def compare_here(grad_output: torch.Tensor) -> None:
        local[name] = _compare_locally(layer, conv, met.pop(), grad_output)

    output.register_hook(compare_here)  # type: ignore[no-untyped-call]
    local.setdefault(name, _Local())  # now, in the order of the forward


def _compare_locally(
    layer: FilteredConv2d, conv: nn.Conv2d, x: torch.Tensor, grad_output: torch.Tensor
) -> _Local:
    """Compare the gradients of a filtered layer with its exact twin's, on the same tensors."""
    filtered_x, filtered_w = _local_gradients(layer, x, grad_output)
    exact_x, exact_w = _local_gradients(conv, x, grad_output)
    cosine_gx = None
    if filtered_x is not None and exact_x is not None:
        cosine_gx = compare(filtered_x, exact_x).cosine
    return _Local(cosine_gx, compare(filtered_w, exact_w).cosine)


def _local_gradients(
    conv: nn.Conv2d, x: torch.Tensor, grad_output: torch.Tensor
) -> Tuple[Optional[torch.Tensor], torch.Tensor]:
    """Return g_x, None where x needs none, and g_w."""
    with torch.enable_grad():  # off within a backward
        y = conv(x)
    if not x.requires_grad:
        (g_w,) = torch.autograd.grad(y, (conv.weight,), grad_output)
        return None, g_w
    g_x, g_w = torch.autograd.grad(y, (x, conv.weight), grad_output)
    return g_x, g_w


def _trained(network: nn.Module) -> Dict[str, nn.Parameter]:
    return {name: part for name, part in network.named_parameters() if part.requires_grad}


def _gradients(
    logits: torch.Tensor, trained: Dict[str, nn.Parameter], grad_logits: torch.Tensor
) -> Gradients:
    return dict(zip(trained, torch.autograd.grad(logits, list(trained.values()), grad_logits)))
