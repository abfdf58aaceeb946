"""BatchNorm in a network that is fine-tuned: frozen, as in the paper, or trained."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """A BatchNorm that keeps its statistics, also after ``train()`` of the network around it."""

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":
        """Stay in evaluation mode."""
        super().train(False)
        return self


def set_batch_norm(network: nn.Module, frozen: bool = True) -> nn.Module:
    """Freeze every BatchNorm of a network, or have them trained, in place; return the network.

    A frozen one normalises by its running statistics, which stay, and its weight and bias get no
    gradient (Yang et al., "Efficient On-device Training via Gradient Filtering", CVPR 2023, train
    so). Parameters, buffers and state_dict keys stay.

    Raises:
        ValueError: a BatchNorm is not an nn.BatchNorm2d with running statistics; it is named, and
            nothing is changed.
    """
    norms = []
    for name, part in network.named_modules():
        if not isinstance(part, _BatchNorm):
            continue
        if type(part) not in (nn.BatchNorm2d, FrozenBatchNorm2d) or part.running_mean is None:
            raise ValueError(
                "network: %r is not an nn.BatchNorm2d with running statistics but %r" % (name, part)
            )
        norms.append(part)
    for norm in norms:
        norm.__class__ = FrozenBatchNorm2d if frozen else nn.BatchNorm2d
        norm.train(not frozen)
        for parameter in norm.parameters():
            parameter.requires_grad_(not frozen)
    return network
