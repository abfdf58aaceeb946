"""Exact training with every frozen BatchNorm folded into the convolution before it."""

from typing import Callable, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from workloads.networks.operators import MEMORY_FORMAT
from workloads.networks.tracing import called_module, only_user, recompiled, take_out, trace

Fold = Callable[[nn.Conv2d, Optional[nn.BatchNorm2d]], nn.Module]


class FoldedConv2d(nn.Module):
    """A convolution and the frozen BatchNorm after it, as one convolution.

    With scale = gamma / sqrt(variance + eps), it convolves by weight * scale and adds
    bias * scale + beta - mean * scale. Weight and bias are the convolution's own parameters. Those
    that are trained are folded in each forward, those that are frozen once, here.
    """

    frozen_weight: Optional[torch.Tensor]
    scale: Optional[torch.Tensor]
    shift: Optional[torch.Tensor]

    def __init__(self, conv: nn.Conv2d, norm: Optional[nn.BatchNorm2d]) -> None:
        """Fold a BatchNorm into a convolution; None for a convolution without one."""
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding = conv.stride, conv.padding
        self.dilation, self.groups = conv.dilation, conv.groups
        scale, shift = (None, None) if norm is None else _scale_and_shift(norm)
        self.register_buffer("scale", scale)  # (C_o,), as the shift
        self.register_buffer("shift", shift)
        self.register_buffer("frozen_weight", None)
        if not self.weight.requires_grad:
            self.frozen_weight = self.scaled(self.weight).detach()
        if self.bias is not None and not self.bias.requires_grad:
            bias = self.folded_bias()
            assert bias is not None
            self.shift, self.bias = bias.detach(), None

    def scaled(self, weight: torch.Tensor) -> torch.Tensor:
        """Return a weight, or its gradient, with each output channel times its scale."""
        if self.scale is None:
            return weight
        return weight * self.scale.view(-1, 1, 1, 1)

    def folded_weight(self) -> torch.Tensor:
        """Return the weight (C_o, C_i / groups, k_h, k_w) of the one convolution."""
        if self.frozen_weight is not None:
            return self.frozen_weight
        return self.scaled(self.weight)

    def folded_bias(self) -> Optional[torch.Tensor]:
        """Return the bias (C_o,) of the one convolution; None if it has none."""
        if self.bias is None:
            return self.shift
        if self.scale is None or self.shift is None:
            return self.bias
        return torch.addcmul(self.shift, self.bias, self.scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C_o, H_y, W_y) of (N, C_i, H, W)."""
        return F.conv2d(
            x,
            self.folded_weight(),
            self.folded_bias(),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


def folded(network: nn.Module) -> nn.Module:
    """Return a module that computes what the network does, without the BatchNorms after its maps.

    It trains the network's own parameters, which are laid out in MEMORY_FORMAT in place, as images
    should be. Which parameters are trained is read here, and those that are frozen must keep their
    values. A convolution that runs twice, and a BatchNorm that does not follow a convolution, stay
    as they are.

    Raises:
        ValueError: the network cannot be traced, or a BatchNorm is trained.
    """
    return recompiled(fold(network, FoldedConv2d))


def fold(network: nn.Module, fold_one: Fold) -> fx.GraphModule:
    """Return a network's graph with ``fold_one(conv, norm)`` in the place of each convolution.

    Raises:
        ValueError: see ``folded``.
    """
    _refuse_trained_norms(network)
    traced = trace(network.to(memory_format=MEMORY_FORMAT))  # type: ignore[call-overload]
    targets = [node.target for node in traced.graph.nodes]
    for node in list(traced.graph.nodes):
        conv = called_module(traced, node)
        if not isinstance(conv, nn.Conv2d) or targets.count(node.target) > 1:
            continue
        if not _is_plain(conv):
            continue
        follower = only_user(node)
        norm = called_module(traced, follower)
        if follower is not None and isinstance(norm, nn.BatchNorm2d):
            take_out(follower, by=node)
        else:
            norm = None
        traced.add_submodule(str(node.target), fold_one(conv, norm))
    return traced


def _is_plain(conv: nn.Conv2d) -> bool:
    """Return whether a convolution does what its stride, padding, dilation and groups say."""
    return (
        type(conv) is nn.Conv2d
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def _scale_and_shift(norm: nn.BatchNorm2d) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return what a frozen BatchNorm multiplies each channel by, and what it adds then."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    with torch.no_grad():
        scale = torch.rsqrt(variance + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -mean * scale
        if norm.bias is not None:
            shift = shift + norm.bias
    return scale, shift


def _refuse_trained_norms(network: nn.Module) -> None:
    for name, part in network.named_modules():
        if not isinstance(part, _BatchNorm):
            continue
        learns = any(parameter.requires_grad for parameter in part.parameters())
        if learns or part.training or part.running_mean is None:
            raise ValueError(
                "network: BatchNorm %r is trained, and only a frozen one can be folded into a "
                "convolution: freeze it with set_batch_norm" % name
            )
