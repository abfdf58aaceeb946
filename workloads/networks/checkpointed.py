"""Activation checkpointing: maps are computed again in the backward, instead of being kept.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. Gradients are exact.
"""

from typing import Any, Dict, List, Optional, Tuple

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.fx.passes.split_module import split_module
from torch.nn.modules.dropout import _DropoutNd

from workloads.networks.fused import fused


class Checkpointed(nn.Module):
    """A part of a network that keeps its inputs alone, and runs again in the backward."""

    def __init__(self, part: nn.Module) -> None:
        """Keep nothing of what happens inside ``part``, which takes and returns tensors."""
        super().__init__()
        self.part = part

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return what the part does."""
        trained = [parameter for parameter in self.part.parameters() if parameter.requires_grad]
        result: torch.Tensor = _Checkpoint.apply(  # type: ignore[no-untyped-call]
            self.part, len(inputs), *inputs, *trained
        )
        return result


class _Checkpoint(torch.autograd.Function):
    """Runs a part of a network without autograd in the forward, and with it in the backward."""

    @staticmethod
    def forward(ctx: Any, part: nn.Module, count: int, *tensors: torch.Tensor) -> torch.Tensor:
        """Return what ``part`` makes of the first ``count`` tensors; the others it trains."""
        ctx.part, ctx.count = part, count
        ctx.save_for_backward(*tensors)
        result: torch.Tensor = part(*tensors[:count])
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        tensors = list(ctx.saved_tensors)
        needs = ctx.needs_input_grad[2:]
        for i in range(ctx.count):
            tensors[i] = tensors[i].detach().requires_grad_(needs[i])
        with torch.enable_grad():
            result = ctx.part(*tensors[: ctx.count])
        wanted = [tensor for tensor, needed in zip(tensors, needs) if needed]
        grads = iter(torch.autograd.grad(result, wanted, grad))
        return (None, None, *[next(grads) if needed else None for needed in needs])


def checkpointed(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return what ``fused`` does, with segments of it that keep their input alone.

    Segments end where one tensor alone goes on, and are chosen so that the most that is kept at
    any time, inputs of segments and the inside of one, is least. The last segment is kept whole,
    since the backward begins with it. What comes before the first trained layer never runs again.

    Args:
        network: as for ``fused``.
        example: what it is called with, (N, 3, H, W) with the H and W of training; N may be 1.

    Raises:
        ValueError: ``fused`` cannot do the network, or it has dropout, which a second run would
            draw anew.
    """
    _refuse_dropout(network)
    traced = fused(network)
    if not any(parameter.requires_grad for parameter in traced.parameters()):
        return traced
    with torch.no_grad():
        ShapeProp(traced).propagate(example)
    segments = _segments(traced)
    split = split_module(traced, traced, lambda node: segments[node])
    for number in range(1, max(segments.values())):
        name = "submod_%d" % number
        setattr(split, name, Checkpointed(split.get_submodule(name)))
    return split


def _segments(traced: fx.GraphModule) -> Dict[fx.Node, int]:
    """Return the number of each operation's segment; 0 is what comes before what is trained."""
    operations = [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]
    first = _first_trained(traced, operations)
    ends = set(_best_ends(operations, first))
    segments = {}
    number = 0
    for i, node in enumerate(operations):
        if i == first or i - 1 in ends:
            number += 1
        segments[node] = number
    return segments


def _first_trained(traced: fx.GraphModule, operations: List[fx.Node]) -> int:
    """Return the index of the first operation that trains a parameter."""
    trained = {name for name, part in traced.named_parameters() if part.requires_grad}
    for i, node in enumerate(operations):
        if node.op == "get_attr" and node.target in trained:
            return i
        if node.op == "call_module" and any(
            name.startswith("%s." % node.target) for name in trained
        ):
            return i
    return len(operations)


def _best_ends(operations: List[fx.Node], first: int) -> List[int]:
    """Return after which operations from ``first`` on a segment ends, to keep least at any time.

    After an end, the most that is kept at any time is the larger of all maps of the next segment,
    and of the map at the next end together with the most that is kept after that.
    """
    ends = [first - 1, *_possible_ends(operations, first), len(operations) - 1]
    sizes = [_size(node) for node in operations]
    most = {ends[-1]: 0}  # that is kept at any time after an end
    following: Dict[int, int] = {}
    for i in reversed(range(len(ends) - 1)):
        begin = ends[i]
        most[begin] = sum(sizes)  # which no choice exceeds
        inside = 0
        for previous, end in zip(ends[i:], ends[i + 1 :]):
            inside += sum(sizes[previous + 1 : end + 1])
            kept = max(inside, sizes[end] + most[end])
            if kept <= most[begin]:  # of equals the last, for fewer segments
                most[begin], following[begin] = kept, end
    chosen = []
    end = ends[0]
    while end in following:
        end = following[end]
        chosen.append(end)
    return chosen


def _possible_ends(operations: List[fx.Node], first: int) -> List[int]:
    """Return after which operations, but the last, their own result alone is still to be read."""
    positions = {node: i for i, node in enumerate(operations)}
    ends = []
    last_use = 0  # of all results before this one
    for i, node in enumerate(operations[:-1]):
        if i >= first and last_use <= i:
            ends.append(i)
        uses = [positions.get(user, len(operations)) for user in node.users]
        last_use = max([last_use, *uses])
    return ends


def _size(node: fx.Node) -> int:
    """Return how many elements an operation's result has; 0 if it is no tensor."""
    shape = getattr(node.meta.get("tensor_meta"), "shape", None)
    return 0 if shape is None else int(shape.numel())


def _refuse_dropout(network: nn.Module) -> None:
    for name, part in network.named_modules():
        if isinstance(part, _DropoutNd) and part.training and part.p > 0:
            raise ValueError(
                "network: dropout %r is active, and a second run would draw anew: set its p to 0"
                % name
            )
