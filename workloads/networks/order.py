"""A network's convolutions in the order in which they run, and the choice of some of them."""

from typing import Any, Dict, List, Tuple

import torch
from torch import nn

from workloads.spec.choices import Choice, chosen_names

Named = List[Tuple[str, nn.Conv2d]]


def convolutions_in_order(module: nn.Module, example: Any) -> Named:
    """Return the convolutions that run, with their names as in ``named_modules``, first to last.

    They are seen by hooks in one forward, in evaluation mode and without gradients, which leaves
    the module as it was. One that runs several times stands where it runs first; one that does
    not run is left out.

    Args:
        module: any module; if it is itself an nn.Conv2d, its name is "".
        example: what the module is called with, (N, 3, H, W) for the networks here; small will do.
    """
    names: Dict[nn.Module, str] = {}
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            names[part] = name
    seen: Dict[str, nn.Conv2d] = {}  # in order of insertion, and so from Python 3.6 on

    def see(conv: nn.Module, inputs: Any) -> None:
        seen.setdefault(names[conv], conv)  # type: ignore[arg-type]

    hooks = [conv.register_forward_pre_hook(see) for conv in names]
    training = [part for part in module.modules() if part.training]
    try:
        module.eval()
        with torch.no_grad():
            module(example)
    finally:
        for part in training:
            part.training = True
        for hook in hooks:
            hook.remove()
    return list(seen.items())


def chosen_convolutions(convolutions: Named, choice: Choice) -> Named:
    """Return those of the convolutions that are chosen, in their order.

    Args:
        convolutions: as ``convolutions_in_order`` returns them.
        choice: "all", 4 or "last:4" for the last four, or names.

    Raises:
        ValueError: the choice is none of these, or there is no such convolution.
    """
    names = [name for name, _ in convolutions]
    chosen = chosen_names(names, choice, "layers")
    return [(name, conv) for name, conv in convolutions if name in chosen]
