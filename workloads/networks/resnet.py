"""ResNet-18 and -34: table 1 of He et al., "Deep Residual Learning for Image Recognition".

CVPR 2016, with a 1x1 convolution where a shortcut changes shape (option B). Modules are named as
torchvision names them, so that weights for one fit the other.
"""

from typing import Optional, Tuple

import torch
from torch import nn

from workloads.spec.architectures import RESNET_BLOCKS, RESNET_CHANNELS, scaled


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, beside a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        """Make a block from ``c_in`` to ``c_out`` channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample: Optional[nn.Sequential] = None
        if stride != 1 or c_in != c_out:
            shortcut = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(c_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, c_out, H / stride, W / stride) of (N, c_in, H, W)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.downsample is not None:
            x = self.downsample(x)
        result: torch.Tensor = self.relu(y + x)
        return result


class ResNet(nn.Module):
    """The network: (N, 3, H, W) -> (N, num_classes)."""

    def __init__(self, blocks: Tuple[int, int, int, int], num_classes: int, width: float) -> None:
        """Make a network of so many blocks by stage; the first has ``64 * width`` channels."""
        super().__init__()
        c = scaled(RESNET_CHANNELS, width)
        self.conv1 = nn.Conv2d(3, c, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(c, c, blocks[0], 1)
        self.layer2 = _stage(c, 2 * c, blocks[1], 2)
        self.layer3 = _stage(2 * c, 4 * c, blocks[2], 2)
        self.layer4 = _stage(4 * c, 8 * c, blocks[3], 2)
        self.fc = nn.Linear(8 * c, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes) of (N, 3, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (N, C, H / 4, W / 4)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (N, 8 C, H / 32, W / 32)
        logits: torch.Tensor = self.fc(x.mean((2, 3)))
        return logits


def resnet18(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """Return ResNet-18."""
    return ResNet(RESNET_BLOCKS["resnet18"], num_classes, width)


def resnet34(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """Return ResNet-34."""
    return ResNet(RESNET_BLOCKS["resnet34"], num_classes, width)


def _stage(c_in: int, c_out: int, blocks: int, first_stride: int) -> nn.Sequential:
    others = [BasicBlock(c_out, c_out, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(c_in, c_out, first_stride), *others)
