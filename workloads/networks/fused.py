"""The strongest exact baseline: what follows a convolution is fused into it."""

import math
import operator
from typing import Optional

import torch
import torch.nn.functional as F
from torch import fx, nn

from workloads.networks.folded import fold
from workloads.networks.fused_convolution import FusedConv2d
from workloads.networks.tracing import called_module, only_user, recompiled, take_out

_SUMS = (operator.add, operator.iadd, torch.add)
_RELUS = (F.relu, torch.relu, torch.relu_, "relu", "relu_")


def fused(network: nn.Module) -> fx.GraphModule:
    """Return a module that computes what the network does, each map written and kept once.

    As ``folded``, and besides, a sum after a convolution, and ReLU or ReLU6 after that, are the
    convolution's. Where no gradient is needed, as before the first layer that is trained, nothing
    is kept.

    Raises:
        ValueError: the network cannot be traced, or a BatchNorm is trained.
    """
    traced = fold(network, FusedConv2d)
    for node in list(traced.graph.nodes):
        layer = called_module(traced, node)
        if isinstance(layer, FusedConv2d):
            _fuse_followers(traced, node, layer)
    for node in traced.graph.nodes:
        layer = called_module(traced, node)
        if isinstance(layer, FusedConv2d):
            layer.owns_gradient = _owns_gradient(traced, node)
    return recompiled(traced)


def _fuse_followers(traced: fx.GraphModule, node: fx.Node, layer: FusedConv2d) -> None:
    """Put a layer in the place of itself, the sum after it and the activation after that."""
    inputs = [node.args[0]]
    fused_nodes = [node]
    total = only_user(node)
    other = _summed_with(node, total)
    if total is not None and other is not None:
        inputs.append(other)
        fused_nodes.append(total)
    activation = only_user(fused_nodes[-1])
    upper = _upper_limit(traced, activation)
    if activation is not None and upper is not None:
        layer.upper = upper
        fused_nodes.append(activation)
    with traced.graph.inserting_after(fused_nodes[-1]):
        one = traced.graph.call_module(str(node.target), tuple(inputs))
    take_out(fused_nodes.pop(), by=one)
    while fused_nodes:
        traced.graph.erase_node(fused_nodes.pop())


def _summed_with(node: fx.Node, total: Optional[fx.Node]) -> Optional[fx.Node]:
    """Return what a node's result is added to in ``total``; None if that is not a sum of maps."""
    if total is None or total.op != "call_function" or total.target not in _SUMS:
        return None
    others = [term for term in total.args if term is not node]
    if len(others) != 1 or not isinstance(others[0], fx.Node) or total.kwargs:
        return None
    return others[0]


def _upper_limit(traced: fx.GraphModule, node: Optional[fx.Node]) -> Optional[float]:
    """Return the upper limit of an activation whose lower limit is 0; None for any other node."""
    module = called_module(traced, node)
    target = None if node is None else node.target
    if isinstance(module, nn.ReLU6) or target is F.relu6:
        return 6.0
    if isinstance(module, nn.ReLU) or target in _RELUS:
        return math.inf
    return None


def _owns_gradient(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether the gradient that reaches a node is a tensor that nothing else reads.

    So it is where all comes from fused layers: the gradient of what they convolve is new, and that
    of the other map of a sum is what their activation has made, or else what has reached them.
    """
    for user in node.users:
        layer = called_module(traced, user)
        if not isinstance(layer, FusedConv2d):
            return False
        is_other = user.args[1:] == (node,)
        if is_other and layer.upper is None and not _owns_gradient(traced, user):
            return False
    return True
