"""The networks, written out by hand: name -> builder (see ``spec.networks`` for what is known)."""

from typing import Any, Callable, Dict, Optional

import torch
from torch import nn

from workloads.networks import efficientnet, mobilenet, resnet
from workloads.networks.tiny import tiny
from workloads.networks.weights import load_weights, seed_weights
from workloads.spec.networks import check_network

_BUILDERS: Dict[str, Callable[..., nn.Module]] = {
    "mobilenet_v2": mobilenet.mobilenet_v2,
    "resnet18": resnet.resnet18,
    "resnet34": resnet.resnet34,
    "efficientnet_lite0": efficientnet.efficientnet_lite0,
    "tiny": tiny,
}


def build(
    name: str,
    *,
    num_classes: Optional[int] = None,
    width: Optional[float] = None,
    seed: int = 0,
    weights: Optional[str] = None,
) -> nn.Module:
    """Build a network, in training mode, on the CPU, in torch's default dtype.

    There is no dropout and no stochastic depth, so that a step is the same each time. torch's own
    random numbers stay where they are.

    Args:
        name: of ``spec.networks``.
        num_classes: None for the published number.
        width: how many times the published channels; None for 1.
        seed: of the weights; the same bits on every torch and machine.
        weights: a file with a state_dict, in place of random weights.

    Raises:
        ValueError: an argument is wrong (the message begins with its name), or the file does not
            fit.
    """
    network = check_network(name)
    options: Dict[str, Any] = {
        "num_classes": network.num_classes if num_classes is None else num_classes
    }
    if options["num_classes"] < 1:
        raise ValueError("num_classes must be at least 1, not %r" % num_classes)
    if width is not None:
        if not network.has_width:
            raise ValueError("width: %s has one width only" % name)
        if not width > 0:
            raise ValueError("width must be above 0, not %r" % width)
        options["width"] = width
    with torch.random.fork_rng(devices=[]):
        built = _BUILDERS[name](**options)
    if weights is None:
        seed_weights(built, seed)
    else:
        load_weights(built, weights)
    return built
