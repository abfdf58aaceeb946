"""The distinct convolutions of networks that are trained on boards, from their block tables.

MobileNetV2 1.0 is table 2 of Sandler et al., "MobileNetV2: Inverted Residuals and Linear
Bottlenecks" (CVPR 2018); ResNet-18 is table 1 of He et al., "Deep Residual Learning for Image
Recognition" (CVPR 2016), strides in the first 3x3 and shortcuts of 1x1. EfficientNet-Lite0 is
EfficientNet-B0 of Tan and Le (ICML 2019, table 1) without squeeze-and-excitation, its stem and head
of 32 and 1280 channels, padded alike on both sides. MCUNet-5fps is the architecture that its
authors publish with the paper (Lin et al., "MCUNet: Tiny Deep Learning on IoT Devices", NeurIPS
2020) as mcunet-5fps_imagenet.json in mit-han-lab/tinyml; its own resolution is 96, and here it is
224, as in the workloads. Linear layers are no convolutions and are left out.
"""

from __future__ import annotations

from typing import NamedTuple

RESOLUTION = 224


class NetworkLayer(NamedTuple):
    """A square convolution on a square map."""

    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: int
    stride: int
    padding: int
    dilation: int = 1
    groups: int = 1


class Inverted(NamedTuple):
    """A block of an expansion by 1x1, a depthwise convolution and a projection by 1x1."""

    expanded: int
    out_channels: int
    kernel: int
    stride: int


# Expansion, channels, repeats, stride of the first, kernel of the depthwise convolution.
_MOBILENET_V2 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)
_EFFICIENTNET_LITE0 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_MCUNET_5FPS = (
    Inverted(16, 8, 3, 1),
    Inverted(32, 16, 3, 2),
    Inverted(48, 16, 3, 1),
    Inverted(48, 24, 7, 2),
    Inverted(120, 24, 3, 1),
    Inverted(120, 40, 3, 2),
    Inverted(160, 40, 7, 1),
    Inverted(160, 48, 5, 1),
    Inverted(144, 48, 3, 1),
    Inverted(192, 48, 3, 1),
    Inverted(240, 96, 7, 2),
    Inverted(384, 96, 5, 1),
    Inverted(384, 96, 5, 1),
    Inverted(576, 160, 3, 1),
)
_RESNET_18 = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block


class _Network:
    """Layers one after the other, each on what the one before it makes."""

    def __init__(self) -> None:
        self.layers: list[NetworkLayer] = []
        self.channels, self.side = 3, RESOLUTION

    def add(self, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2
        sides = (self.side, self.side)
        self.layers.append(
            NetworkLayer(self.channels, out, *sides, kernel, stride, padding, 1, groups)
        )
        self.channels = out
        self.side = (self.side + 2 * padding - kernel) // stride + 1

    def add_inverted(self, block: Inverted) -> None:
        if block.expanded != self.channels:
            self.add(block.expanded, 1)
        self.add(block.expanded, block.kernel, block.stride, block.expanded)
        self.add(block.out_channels, 1)


def mobilenet_v2() -> list[NetworkLayer]:
    """Return the 52 convolutions of MobileNetV2."""
    return _scaled(_MOBILENET_V2)


def efficientnet_lite0() -> list[NetworkLayer]:
    """Return the 49 convolutions of EfficientNet-Lite0."""
    return _scaled(_EFFICIENTNET_LITE0)


def mcunet_5fps() -> list[NetworkLayer]:
    """Return the 42 convolutions of MCUNet-5fps."""
    network = _Network()
    network.add(16, 3, 2)
    for block in _MCUNET_5FPS:
        network.add_inverted(block)
    return network.layers


def resnet_18() -> list[NetworkLayer]:
    """Return the 20 convolutions of ResNet-18."""
    network = _Network()
    network.add(64, 7, 2)
    network.side = 56  # the maximum over 3x3 with stride 2
    for channels, first in _RESNET_18:
        for stride in (first, 1):
            entered, side = network.channels, network.side
            network.add(channels, 3, stride)
            network.add(channels, 3)
            if entered != channels:
                shortcut = (entered, channels, side, side, 1, stride, 0)
                network.layers.append(NetworkLayer(*shortcut))
    return network.layers


NETWORKS = {
    "MobileNetV2": mobilenet_v2,
    "ResNet-18": resnet_18,
    "MCUNet-5fps": mcunet_5fps,
    "EfficientNet-Lite0": efficientnet_lite0,
}


def distinct_layers() -> list[NetworkLayer]:
    """Return every distinct convolution of all networks, largest maps first."""
    layers = {layer for network in NETWORKS.values() for layer in network()}
    return sorted(layers, key=lambda layer: (-layer.height, layer))


def _scaled(table: tuple[tuple[int, int, int, int, int], ...]) -> list[NetworkLayer]:
    network = _Network()
    network.add(32, 3, 2)
    for times, channels, repeats, first, kernel in table:
        for stride in (first, *[1] * (repeats - 1)):
            expanded = times * network.channels
            network.add_inverted(Inverted(expanded, channels, kernel, stride))
    network.add(1280, 1)
    return network.layers
