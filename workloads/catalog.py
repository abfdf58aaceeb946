"""What there is to measure: layers by name, methods, kernels; names and shapes only, no torch."""

import hashlib
import pkgutil
from typing import Any, Dict, Iterable, NamedTuple, Optional, Sequence, Tuple

from workloads.geometry import Geometry, layer_geometry, published_refusal
from workloads.messages import Case, Layer


class Method(NamedTuple):
    """One way to compute the gradients of a convolution.

    ``usable`` is False of what is only timed: its results are no gradients to train with.
    """

    name: str
    version: str
    description: str
    has_patch_size: bool
    usable: bool = True


class KernelInfo(NamedTuple):
    """What is known of a kernel without loading it; whether a board can run it, the probe says.

    ``sources`` are the files under ``workloads/kernels`` that its behaviour comes from.
    """

    name: str
    version: str
    description: str
    methods: Tuple[str, ...]
    devices: Tuple[str, ...]
    dtypes: Tuple[str, ...]
    sources: Tuple[str, ...]
    layout: str = "NCHW"  # of the tensors that it is measured on, or "channels-last"


METHODS: Dict[str, Method] = {
    method.name: method
    for method in (
        Method("exact", "1", "torch's own convolution and its autograd", False),
        Method(
            "gradient_filter",
            "1",
            "gradients from patch sums, placed under the stride and divided by s^2",
            True,
        ),
        Method(
            "gradient_filter_published",
            "1",
            "the operator as published: centred patches, no 1 / s^2; for reproduction",
            True,
        ),
        Method(
            "gradient_filter_pooled",
            "1",
            "what published programs timed: g_x on the patch grid, g_w once per window; "
            "not a usable gradient",
            True,
            usable=False,
        ),
    )
}

# What a kernel's shared object is made of, the file to compile first; one object per REAL.
C_SOURCES: Dict[str, Tuple[str, ...]] = dict.fromkeys(
    ("native", "native-channels-last"),
    (
        "gradient_filter.c",
        "depthwise.h",
        "filtered.h",
        "narrow.h",
        "patches.h",
        "pixels.h",
        "products.h",
        "rows.h",
        "runs.h",
        "team.h",
        "windows.h",
    ),
)
_TORCH = KernelInfo(
    name="torch",
    version="1",
    description="composed of torch operations, for every geometry",
    methods=(
        "exact",
        "gradient_filter",
        "gradient_filter_published",
        "gradient_filter_pooled",
    ),
    devices=("cpu", "cuda"),
    dtypes=("float32", "float64"),
    sources=("torch_ops.py", "patches.py"),
)
_NATIVE = KernelInfo(
    name="native",
    version="6",
    description="the whole backward in C, compiled on the board",
    methods=("gradient_filter", "gradient_filter_pooled"),
    devices=("cpu",),
    dtypes=("float32", "float64"),
    sources=(
        "native.py",
        "passes.py",
        "products.py",
        "compiler.py",
        *C_SOURCES["native"],
        "torch_ops.py",
    ),
)
KERNELS: Dict[str, KernelInfo] = {
    kernel.name: kernel
    for kernel in (
        _TORCH,
        _TORCH._replace(
            name="torch-channels-last",
            description="kernel torch on tensors in channels-last, the other layout",
            layout="channels-last",
        ),
        _NATIVE,
        _NATIVE._replace(
            name="native-channels-last",
            description="kernel native on tensors in channels-last",
            layout="channels-last",
        ),
        KernelInfo(
            name="cuda",
            version="1",
            description="passes in CUDA C, compiled by NVRTC on the board, products by cuBLAS",
            methods=("gradient_filter",),
            devices=("cuda",),
            dtypes=("float32", "float16", "float64"),
            sources=(
                "cuda.py",
                "cuda_passes.py",
                "cuda_driver.py",
                "nvrtc.py",
                "gradient_filter.cu",
                "torch_ops.py",
            ),
        ),
    )
}


REALS = ("float", "double")


def twins(name: str) -> Tuple[str, ...]:
    """Return the kernels that are the same code as this one, measured in another layout."""
    one = KERNELS[name]
    return tuple(
        kernel.name
        for kernel in KERNELS.values()
        if kernel.sources == one.sources and kernel.layout != one.layout
    )


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

# Measured once a round with the very same data, whatever the suite is: if this moves, the machine
# did. A few milliseconds on a small board; no workload that a suite could name.
SENTINEL = Layer("sentinel", 32, 32, 28, 28)
SENTINEL_SEED = 20240607
SENTINEL_WINDOW_S = 0.15  # some hundred steps on a desktop; no more than starting its process


def sentinel_case(device: str) -> Case:
    """Return the fixed case that tells whether the machine itself moved."""
    return Case(SENTINEL, "exact", None, "torch", device, "float32", 1)


def check_method(method: str) -> Method:
    """Return the method of this name.

    Raises:
        ValueError: there is no such method.
    """
    if method not in METHODS:
        raise ValueError("method must be one of %s, not %r" % (", ".join(METHODS), method))
    return METHODS[method]


def method_refusal(method: str, geometry: Geometry) -> Optional[str]:
    """Return why a method cannot do a convolution of this geometry; None if it can.

    Raises:
        ValueError: there is no such method.
    """
    check_method(method)
    return published_refusal(geometry) if method == "gradient_filter_published" else None


def refusal(method: str, layer: Layer, patch_size: Any) -> Optional[str]:
    """Return why a method cannot do this layer, in the words that calling it raises; or None.

    Raises:
        ValueError: there is no such method.
    """
    check_method(method)
    try:
        geometry = layer_geometry(layer, patch_size if METHODS[method].has_patch_size else 1)
    except ValueError as error:
        return str(error)
    return method_refusal(method, geometry)


def object_stem(texts: Iterable[Tuple[str, bytes]], defines: Sequence[str], machine: str) -> str:
    """Return how the name of an object begins that a controller made for a kind of machine.

    Its content's SHA-256 and ``.so`` follow; the payload looks for it where it has no compiler.

    Args:
        texts: name and content of the file that is compiled, then of its headers.
        defines: macros, ``NAME=value``.
        machine: as ``platform.machine()`` says on the board.
    """
    texts = list(texts)
    parts = [machine.encode("utf-8"), *(define.encode("utf-8") for define in defines)]
    parts += [text for _, text in texts]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return "pushed-%s-%s" % (texts[0][0].rpartition(".")[0], digest)


def kernel_source_sha256(name: str) -> str:
    """Return the SHA-256 over the sources of a kernel, without loading it."""
    return sources_sha256(KERNELS[name].sources)


def sources_sha256(sources: Sequence[str]) -> str:
    """Return the SHA-256 over files of ``workloads/kernels``, also when they lie in a zip.

    Raises:
        FileNotFoundError: a file is not there.
    """
    digest = hashlib.sha256()
    for source in sources:
        data = pkgutil.get_data("workloads", "kernels/" + source)
        if data is None:
            raise FileNotFoundError("workloads/kernels/%s" % source)
        digest.update(("%s %d\n" % (source, len(data))).encode("ascii") + data)
    return digest.hexdigest()
