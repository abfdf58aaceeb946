"""The layers by name; shapes only, no torch."""

from typing import Dict

from workloads.spec.messages import Case, Layer
from workloads.spec.methods import BASELINE


def _square(
    name: str,
    in_channels: int,
    out_channels: int,
    size: int,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Layer:
    """Return a "same"-padded square layer without bias, as before a batch normalisation."""
    return Layer(
        name=name,
        in_channels=in_channels,
        out_channels=out_channels,
        height=size,
        width=size,
        kernel_size=(kernel, kernel),
        stride=(stride, stride),
        padding=(dilation * (kernel - 1) // 2,) * 2,
        dilation=(dilation, dilation),
        groups=groups,
        bias=False,
    )


_QUICK = (
    Layer("quick-64ch-56x56", 64, 64, 56, 56),
    Layer("quick-128ch-28x28", 128, 128, 28, 28),
    Layer("quick-256ch-14x14", 256, 256, 14, 14),
)

# The latency cases of the paper's Table 10, 3x3 and stride 1, H x W. Its programs have no bias.
_PAPER = (
    Layer("paper-0-128ch-120x160", 128, 128, 120, 160, bias=False),
    Layer("paper-1-256ch-60x80", 256, 256, 60, 80, bias=False),
    Layer("paper-2-512ch-30x40", 512, 512, 30, 40, bias=False),
    Layer("paper-3-512ch-14x14", 512, 512, 14, 14, bias=False),
    Layer("paper-4-256ch-14x14", 256, 256, 14, 14, bias=False),
    Layer("paper-5-128ch-28x28", 128, 128, 28, 28, bias=False),
    Layer("paper-6-64ch-56x56", 64, 64, 56, 56, bias=False),
)

_MOBILE = (
    # MobileNetV2 at 224: features.18, features.17 (project, depthwise), features.2 (stride 2).
    _square("mobile-mbv2-head-1x1", 320, 1280, 7, kernel=1),
    _square("mobile-mbv2-project-1x1", 960, 320, 7, kernel=1),
    _square("mobile-mbv2-depthwise-7x7", 960, 960, 7, groups=960),
    _square("mobile-mbv2-depthwise-stride2", 96, 96, 112, stride=2, groups=96),
    # MCUNet (5 fps) at 224: a block of kernel 7 at 14x14, and block 14's depthwise at 7x7.
    _square("mobile-mcunet-depthwise-k7", 160, 160, 14, kernel=7, groups=160),
    _square("mobile-mcunet-depthwise-7x7", 576, 576, 7, groups=576),
    # ResNet-18 at 224: layer4.0.conv1 (stride 2) and layer4.1.conv2.
    _square("mobile-resnet18-stride2", 256, 512, 14, stride=2),
    _square("mobile-resnet18-7x7", 512, 512, 7),
    # DeepLabV3 with ResNet-18 at 512: ASPP branch of dilation 12 on 64x64.
    _square("mobile-deeplab-dilation12", 512, 128, 64, dilation=12),
    # Inception v3 at 299: Mixed_5b (35x35) and Mixed_6b, a 1x7 window on 17x17.
    _square("mobile-inception-35x35", 64, 96, 35),
    Layer("mobile-inception-1x7", 128, 128, 17, 17, (1, 7), (1, 1), (0, 3), bias=False),
    # ResNeXt-50 32x4d at 224: layer3's grouped convolution.
    _square("mobile-resnext-groups32", 512, 512, 14, groups=32),
)

LAYERS: Dict[str, Layer] = {layer.name: layer for layer in _QUICK + _PAPER + _MOBILE}

# Measured once a round with the very same data, whatever the suite is: if its times change, the
# machine has changed. A step takes a few milliseconds on a small board. Suites cannot name it.
SENTINEL = Layer("sentinel", 32, 32, 28, 28)
SENTINEL_SEED = 20240607
SENTINEL_WINDOW_S = 0.15  # some hundred steps on a desktop; no more than starting its process


def sentinel_case(device: str) -> Case:
    """Return the fixed case that shows whether the machine itself has changed."""
    return Case(SENTINEL, BASELINE, None, "torch", device, "float32", 1)
