"""A network of three convolutions, for tests and for the slowest boards."""

from collections import OrderedDict

from torch import nn

from workloads.spec.architectures import TINY_CHANNELS, scaled


def tiny(num_classes: int = 10, width: float = 1.0) -> nn.Module:
    """Return three convolutions, the second of stride 2: (N, 3, 8, 8) -> (N, num_classes)."""
    first, second, third = (scaled(channels, width) for channels in TINY_CHANNELS)
    parts = OrderedDict(
        conv1=nn.Conv2d(3, first, 3, 1, 1, bias=False),
        bn1=nn.BatchNorm2d(first),
        relu1=nn.ReLU(inplace=True),
        conv2=nn.Conv2d(first, second, 3, 2, 1, bias=False),
        bn2=nn.BatchNorm2d(second),
        relu2=nn.ReLU(inplace=True),
        conv3=nn.Conv2d(second, third, 1, bias=False),
        bn3=nn.BatchNorm2d(third),
        relu3=nn.ReLU(inplace=True),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(third, num_classes),
    )
    return nn.Sequential(parts)
