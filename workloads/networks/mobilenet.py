"""MobileNetV2: table 2 of Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks".

CVPR 2018. Modules are named as torchvision names them, so that weights for one fit the other.
"""

from typing import List

import torch
from torch import nn

from workloads.spec.architectures import (
    FIRST_CHANNELS,
    LAST_CHANNELS,
    MOBILENET_V2_STAGES,
    scaled_by_eights,
)


class InvertedResidual(nn.Module):
    """Widen by 1x1, convolve each channel by 3x3, narrow by 1x1; add the input if shapes agree."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int) -> None:
        """Make a block from ``c_in`` to ``c_out`` channels."""
        super().__init__()
        wide = expansion * c_in
        parts: List[nn.Module] = []
        if expansion != 1:
            parts.append(_with_relu6(_convolution(c_in, wide)))
        parts.append(_with_relu6(_convolution(wide, wide, 3, stride, groups=wide)))
        parts += [_convolution(wide, c_out), nn.BatchNorm2d(c_out)]
        self.conv = nn.Sequential(*parts)
        self.adds_input = stride == 1 and c_in == c_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, c_out, H / stride, W / stride) of (N, c_in, H, W)."""
        y: torch.Tensor = self.conv(x)
        return x + y if self.adds_input else y


class MobileNetV2(nn.Module):
    """The network: (N, 3, H, W) -> (N, num_classes)."""

    def __init__(self, num_classes: int, width: float, dropout: float) -> None:
        """Make a network whose layers have ``width`` times the published channels."""
        super().__init__()
        channels = scaled_by_eights(FIRST_CHANNELS, width)
        parts: List[nn.Module] = [_with_relu6(_convolution(3, channels, 3, 2))]
        for stage in MOBILENET_V2_STAGES:
            c_out = scaled_by_eights(stage.channels, width)
            for stride in stage.strides:
                parts.append(InvertedResidual(channels, c_out, stride, stage.expansion))
                channels = c_out
        last = scaled_by_eights(
            LAST_CHANNELS, max(1.0, width)
        )  # a narrow network keeps its last layer
        parts.append(_with_relu6(_convolution(channels, last)))
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes) of (N, 3, H, W)."""
        maps = self.features(x)  # (N, 1280, H / 32, W / 32)
        logits: torch.Tensor = self.classifier(maps.mean((2, 3)))
        return logits


def mobilenet_v2(num_classes: int = 1000, width: float = 1.0, dropout: float = 0.0) -> nn.Module:
    """Return MobileNetV2; the paper trains with a dropout of 0.2."""
    return MobileNetV2(num_classes, width, dropout)


def _convolution(
    c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)


def _with_relu6(convolution: nn.Conv2d) -> nn.Sequential:
    norm = nn.BatchNorm2d(convolution.out_channels)
    return nn.Sequential(convolution, norm, nn.ReLU6(inplace=True))
