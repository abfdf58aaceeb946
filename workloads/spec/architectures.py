"""The convolutions of each network as they run, without building it; no torch.

``workloads.networks`` builds the networks from the tables of stages that lie here.
"""

import functools
from typing import Callable, Dict, List, NamedTuple, Tuple

from workloads.spec.choices import check_names, chosen_names
from workloads.spec.geometry import layer_geometry
from workloads.spec.messages import Layer, Network
from workloads.spec.networks import check_network


class Stage(NamedTuple):
    """Blocks of one width that follow each other: 1x1 widens, k x k by channel, 1x1 narrows.

    Attributes:
        expansion: how many times the channels of its input a block is wide; 1 widens nothing.
        channels: of its output.
        blocks: how many there are.
        first_stride: of the first of them; the others have 1.
        kernel: k.
    """

    expansion: int
    channels: int
    blocks: int
    first_stride: int
    kernel: int = 3

    @property
    def strides(self) -> Tuple[int, ...]:
        """Return the stride of each block."""
        return (self.first_stride, *[1] * (self.blocks - 1))


# Sandler et al., table 2.
MOBILENET_V2_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
# Tan and Le, table 1.
EFFICIENTNET_LITE0_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 40, 2, 2, kernel=5),
    Stage(6, 80, 3, 2),
    Stage(6, 112, 3, 1, kernel=5),
    Stage(6, 192, 4, 2, kernel=5),
    Stage(6, 320, 1, 1),
)
FIRST_CHANNELS = 32  # of both, of the convolution before the blocks
LAST_CHANNELS = 1280  # of both, of the convolution after the blocks
RESNET_BLOCKS: Dict[str, Tuple[int, int, int, int]] = {  # by stage; He et al., table 1
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
}
RESNET_CHANNELS = 64  # of the first stage; each of the others has twice those before it
TINY_CHANNELS = (8, 16, 32)


def scaled(channels: int, times: float) -> int:
    """Return the nearest number of channels, at least one."""
    return max(1, int(channels * times + 0.5))


def scaled_by_eights(channels: int, times: float) -> int:
    """Return the nearest multiple of 8 that is at least 90 % of what is wanted."""
    wanted = channels * times
    nearest = max(8, int(wanted / 8 + 0.5) * 8)
    return nearest if nearest >= 0.9 * wanted else nearest + 8


def padding_before_stride_2(kernel: int) -> Tuple[int, int]:
    """Return the rows EfficientNet-Lite0 adds before and after a map: (0, 1) for 3, (1, 2) for 5.

    So TensorFlow pads where the sides are even.
    """
    before = (kernel - 2) // 2
    return before, before + 1


@functools.lru_cache(maxsize=256)
def convolutions(network: Network) -> Tuple[Layer, ...]:
    """Return every convolution of a network, first to last as they run.

    Each is named as in ``named_modules`` and has the height and width of its own input; where a
    network pads a map by itself, as EfficientNet-Lite0 does before a stride of 2, that is the
    padded map, and the padding is 0.

    Raises:
        ValueError: there is no such architecture, it has one width only, or the images are too
            small for it.
    """
    info = check_network(network.architecture)
    if network.channels != 1 and not info.has_width:
        raise ValueError("channels: %s has one width only" % info.name)
    return tuple(_ARCHITECTURES[info.name](network))


@functools.lru_cache(maxsize=256)
def trained_convolutions(network: Network) -> Tuple[Layer, ...]:
    """Return those of the convolutions that are trained, first to last as they run.

    Raises:
        ValueError: ``trained`` chooses none or one that is not there, ``patch_sizes`` one that is
            not trained, or as ``convolutions`` does.
    """
    layers = convolutions(network)
    names = [layer.name for layer in layers]
    chosen = chosen_names(names, network.trained, "trained")
    if not chosen:
        raise ValueError("trained: no convolution is chosen")
    check_names(chosen, [name for name, _ in network.patch_sizes], "patch_sizes")
    return tuple(layer for layer in layers if layer.name in chosen)


class _Map(NamedTuple):
    """The shape of what a convolution reads or writes, of one image."""

    channels: int
    height: int
    width: int


def _mobilenet_v2(network: Network) -> List[Layer]:
    times = network.channels
    first = scaled_by_eights(FIRST_CHANNELS, times)
    layers = [_layer("features.0.0", _images(network), first, kernel=3, stride=2)]
    block = 0
    for stage in MOBILENET_V2_STAGES:
        for stride in stage.strides:
            block += 1
            prefix = "features.%d.conv." % block
            x = _output(layers[-1])
            wide = stage.expansion * x.channels
            part = 0  # of the block's nn.Sequential
            if stage.expansion != 1:
                layers.append(_layer(prefix + "0.0", x, wide))
                part = 1
            depthwise = "%s%d.0" % (prefix, part)
            x = _output(layers[-1])
            layers.append(_layer(depthwise, x, wide, kernel=3, stride=stride, groups=wide))
            channels = scaled_by_eights(stage.channels, times)
            project = "%s%d" % (prefix, part + 1)
            layers.append(_layer(project, _output(layers[-1]), channels))
    last = scaled_by_eights(LAST_CHANNELS, max(1.0, times))  # never fewer
    layers.append(_layer("features.%d.0" % (block + 1), _output(layers[-1]), last))
    return layers


def _efficientnet_lite0(network: Network) -> List[Layer]:
    stem = _padded_layer("_conv_stem", _images(network), FIRST_CHANNELS, kernel=3, stride=2)
    layers = [stem]
    block = 0
    for stage in EFFICIENTNET_LITE0_STAGES:
        for stride in stage.strides:
            prefix = "_blocks.%d." % block
            block += 1
            wide = stage.expansion * _output(layers[-1]).channels
            if stage.expansion != 1:
                layers.append(_layer(prefix + "_expand_conv", _output(layers[-1]), wide))
            x = _output(layers[-1])
            depthwise = _padded_layer(
                prefix + "_depthwise_conv", x, wide, stage.kernel, stride, groups=wide
            )
            layers.append(depthwise)
            layers.append(_layer(prefix + "_project_conv", _output(depthwise), stage.channels))
    layers.append(_layer("_conv_head", _output(layers[-1]), LAST_CHANNELS))
    return layers


def _resnet(network: Network) -> List[Layer]:
    channels = scaled(RESNET_CHANNELS, network.channels)
    layers = [_layer("conv1", _images(network), channels, kernel=7, stride=2)]
    x = _pooled(_output(layers[0]))
    for stage, blocks in enumerate(RESNET_BLOCKS[network.architecture], start=1):
        for block in range(blocks):
            name = "layer%d.%d" % (stage, block)
            stride = 2 if stage > 1 and block == 0 else 1
            conv1 = _layer(name + ".conv1", x, channels, kernel=3, stride=stride)
            conv2 = _layer(name + ".conv2", _output(conv1), channels, kernel=3)
            layers += [conv1, conv2]
            if stride != 1 or x.channels != channels:
                layers.append(_layer(name + ".downsample.0", x, channels, stride=stride))
            x = _output(conv2)
        channels *= 2
    return layers


def _tiny(network: Network) -> List[Layer]:
    first, second, third = (scaled(channels, network.channels) for channels in TINY_CHANNELS)
    conv1 = _layer("conv1", _images(network), first, kernel=3)
    conv2 = _layer("conv2", _output(conv1), second, kernel=3, stride=2)
    conv3 = _layer("conv3", _output(conv2), third)
    return [conv1, conv2, conv3]


_ARCHITECTURES: Dict[str, Callable[[Network], List[Layer]]] = {
    "mobilenet_v2": _mobilenet_v2,
    "resnet18": _resnet,
    "resnet34": _resnet,
    "efficientnet_lite0": _efficientnet_lite0,
    "tiny": _tiny,
}


def _layer(
    name: str,
    x: _Map,
    channels: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    is_padded: bool = False,
) -> Layer:
    """Return a convolution without bias, which pads its map by half a kernel if nobody else did."""
    padding = 0 if is_padded else kernel // 2
    return Layer(
        name=name,
        in_channels=x.channels,
        out_channels=channels,
        height=x.height,
        width=x.width,
        kernel_size=(kernel, kernel),
        stride=(stride, stride),
        padding=(padding, padding),
        groups=groups,
        bias=False,
    )


def _padded_layer(
    name: str, x: _Map, channels: int, kernel: int, stride: int, groups: int = 1
) -> Layer:
    """Return a convolution of EfficientNet-Lite0, which pads the map itself before a stride."""
    if stride == 1:
        return _layer(name, x, channels, kernel, groups=groups)
    more = sum(padding_before_stride_2(kernel))
    padded = _Map(x.channels, x.height + more, x.width + more)
    return _layer(name, padded, channels, kernel, stride, groups, is_padded=True)


def _images(network: Network) -> _Map:
    return _Map(3, network.height, network.width)


def _output(layer: Layer) -> _Map:
    height, width = layer_geometry(layer, 1).output_size
    return _Map(layer.out_channels, height, width)


def _pooled(x: _Map) -> _Map:
    """Return the shape after max pooling: a window of 3, stride 2, padding 1."""
    return _Map(x.channels, (x.height + 1) // 2, (x.width + 1) // 2)
