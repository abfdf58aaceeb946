"""One step of training as a function: the gradients of all that is trained, from those of logits.

Steps of whole batches and of micro-batches are called alike.
"""

from typing import Callable, List, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

# step(x, grad_logits) of (N, 3, H, W) and (N, num_classes) returns a gradient for each parameter.
Step = Callable[[torch.Tensor, torch.Tensor], List[torch.Tensor]]


def whole_batch(module: nn.Module, trained: Sequence[nn.Parameter]) -> Step:
    """Return the step that takes a batch at once.

    Args:
        module: any module that returns logits.
        trained: those of its parameters whose gradients are returned, in this order.
    """

    def step(x: torch.Tensor, grad_logits: torch.Tensor) -> List[torch.Tensor]:
        return list(torch.autograd.grad(module(x), trained, grad_logits))

    return step


def micro_batches(module: nn.Module, trained: Sequence[nn.Parameter], parts: int = 4) -> Step:
    """Return the step that takes a batch in parts, one after the other, and sums their gradients.

    It keeps the maps of one part at a time. A batch of fewer images has as many parts as images.

    Args:
        module: any module that returns logits, each from its own image alone.
        trained: see ``whole_batch``.
        parts: how many.

    Raises:
        ValueError: there is not one part, or a BatchNorm is trained, which normalises by the batch.
    """
    if parts < 1:
        raise ValueError("parts must be at least 1, not %r" % parts)
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and (part.training or part.running_mean is None):
            raise ValueError(
                "network: BatchNorm %r normalises by the whole batch, which micro-batches do not "
                "have: freeze it with set_batch_norm" % name
            )
    one_part = whole_batch(module, trained)

    def step(x: torch.Tensor, grad_logits: torch.Tensor) -> List[torch.Tensor]:
        count = min(parts, len(x))
        total: List[torch.Tensor] = []
        for images, grad in zip(x.tensor_split(count), grad_logits.tensor_split(count)):
            grads = one_part(images, grad)
            total = [a + b for a, b in zip(total, grads)] if total else grads
        return total

    return step
