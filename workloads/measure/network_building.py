"""From a case to the network that is trained: first stock torch, then what a kernel makes of it."""

from typing import Dict, List

import torch
from torch import nn

from workloads.convolution import filter_module
from workloads.kernels import find
from workloads.networks import build
from workloads.networks.baselines import BASELINES, laid_out
from workloads.networks.batch_norm import set_batch_norm
from workloads.networks.checkpointed import checkpointed
from workloads.spec.architectures import trained_convolutions
from workloads.spec.messages import Case
from workloads.spec.methods import METHODS


def stock_network(case: Case, seed: int) -> nn.Module:
    """Return the case's network by torch's own layers, in training mode, on the case's device.

    The chosen convolutions and the classifier are trained, BatchNorm if it is not frozen, and
    nothing else. Weights come from the seed, or from the file that the network names.
    """
    network = case.network
    module = build(
        network.architecture,
        num_classes=network.num_classes,
        width=None if network.channels == 1 else network.channels,
        seed=seed,
        weights=network.weights or None,
    )
    set_batch_norm(module, frozen=network.frozen_batch_norm)
    trained = {layer.name for layer in trained_convolutions(network)}
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d) and name not in trained:
            part.requires_grad_(False)
    module.train()
    return module.to(torch.device(case.device), getattr(torch, case.dtype))


def trained_parameters(module: nn.Module) -> Dict[str, torch.Tensor]:
    """Return the trained parameters with their names, in the order of their gradients."""
    return {
        name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad
    }


def as_measured(case: Case, network: nn.Module) -> nn.Module:
    """Return the module that the case's method and kernel make of a stock network.

    It trains the same parameters. The stock network is changed in place, or is a part of it.
    """
    if not METHODS[case.method].exact:
        return filtered(case, laid_out(network, memory_format_of(case)), case.kernel)
    if case.method == "checkpoint":
        example = next(network.parameters()).new_zeros(
            (1, 3, case.network.height, case.network.width)
        )
        return checkpointed(network, example)
    return BASELINES[case.kernel].make(network)


def filtered(case: Case, network: nn.Module, kernel: str) -> nn.Module:
    """Put the case's method on the trained convolutions, each with its patch size, in place."""
    by_patch_size: Dict[int, List[str]] = {}
    own = dict(case.network.patch_sizes)
    for layer in trained_convolutions(case.network):
        patch_size = own.get(layer.name, case.patch_size or 1)
        by_patch_size.setdefault(patch_size, []).append(layer.name)
    for patch_size, names in by_patch_size.items():
        filter_module(network, patch_size, layers=names, method=case.method, kernel=kernel)
    return network


def memory_format_of(case: Case) -> torch.memory_format:
    """Return how the case's images lie in memory."""
    if METHODS[case.method].exact:
        return BASELINES[case.kernel].memory_format
    return find(case.kernel).memory_format
