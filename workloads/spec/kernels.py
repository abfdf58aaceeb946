"""The kernels: what is known of each without loading it, and the files it is made of."""

import hashlib
import pkgutil
from typing import Dict, Iterable, NamedTuple, Sequence, Tuple

from workloads.spec.methods import BASELINE, DEFAULT, METHODS, PAPER_MODE


class KernelInfo(NamedTuple):
    """What is known of a kernel without loading it; whether a board can run it, the probe says.

    ``version`` is raised when its behaviour changes; ``sources`` are the files under ``workloads``
    that its behaviour comes from. Results carry the version and the SHA-256 over the sources.
    """

    name: str
    version: str
    description: str
    methods: Tuple[str, ...]
    devices: Tuple[str, ...]
    dtypes: Tuple[str, ...]
    sources: Tuple[str, ...]
    layout: str = "NCHW"  # of the tensors that it is measured on, or "channels-last"
    workloads: Tuple[str, ...] = ("layer", "network")  # what it computes


USER_METHODS = (DEFAULT,)  # what a user's kernel computes
USER_HEADER = "kernels/user/gfbench.h"  # what a user's kernel in C includes
CUDA_SOURCE = "kernels/cuda/gradient_filter.cu"
_NATIVE_C = (
    "kernels/native/gradient_filter.c",
    "kernels/native/depthwise.h",
    "kernels/native/channels.h",
    "kernels/native/panels.h",
    "kernels/native/gemm.h",
    "kernels/native/schedule.h",
    "kernels/native/narrow.h",
    "kernels/native/patches.h",
    "kernels/native/pixels.h",
    "kernels/native/microkernel.h",
    "kernels/native/rows.h",
    "kernels/native/runs.h",
    "kernels/native/team.h",
    "kernels/native/windows.h",
)
# What a kernel's shared object is made of, the file to compile first; one object for each REAL.
C_SOURCES: Dict[str, Tuple[str, ...]] = {
    "native": _NATIVE_C,
    "native-channels-last": _NATIVE_C,
}
REALS = ("float", "double")

_TORCH = KernelInfo(
    name="torch",
    version="1",
    description="composed of torch operations, for every geometry",
    methods=tuple(name for name, method in METHODS.items() if "layer" in method.workloads),
    devices=("cpu", "cuda"),
    dtypes=("float32", "float64"),
    sources=tuple(dict.fromkeys(file for method in METHODS.values() for file in method.sources)),
)
_NATIVE = KernelInfo(
    name="native",
    version="7",
    description="the whole backward in C, compiled on the board",
    methods=(DEFAULT, PAPER_MODE),
    devices=("cpu",),
    dtypes=("float32", "float64"),
    sources=(
        "kernels/native/operators.py",
        "kernels/native/passes.py",
        "kernels/native/bindings.py",
        "kernels/native/threads.py",
        "kernels/native/grid_products.py",
        "kernels/native/compiler.py",
        *_NATIVE_C,
        "kernels/torch_ops/operators.py",
    ),
)
# Exact steps of whole networks: what filtered ones have to beat.
_FOLDED = KernelInfo(
    name="folded",
    version="1",
    description="torch's convolutions in channels-last, each frozen BatchNorm folded into its own",
    methods=(BASELINE,),
    devices=("cpu", "cuda"),
    dtypes=("float32", "float64"),
    sources=("networks/baselines.py",),
    layout="channels-last",
    workloads=("network",),
)
STRONGEST = "fused"  # the exact step with which bytes and peaks of networks are compared
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
            methods=(DEFAULT,),
            devices=("cuda",),
            dtypes=("float32", "float16", "float64"),
            sources=(
                "kernels/cuda/operators.py",
                "kernels/cuda/passes.py",
                "kernels/cuda/driver.py",
                "kernels/cuda/nvrtc.py",
                CUDA_SOURCE,
                "kernels/torch_ops/operators.py",
            ),
        ),
        _FOLDED,
        _FOLDED._replace(
            name=STRONGEST,
            description="folded, with activations inside the convolutions, each output saved once",
            methods=(BASELINE, "checkpoint", "micro_batches"),
        ),
        _FOLDED._replace(
            name="compiled",
            description="torch.compile of the network in channels-last",
        ),
    )
}


def twins(name: str) -> Tuple[str, ...]:
    """Return the kernels that are the same code as this one, measured in another layout."""
    this = KERNELS[name]
    return tuple(
        kernel.name
        for kernel in KERNELS.values()
        if kernel.sources == this.sources and kernel.layout != this.layout
    )


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
    stem = texts[0][0].rpartition("/")[2].rpartition(".")[0]
    return "pushed-%s-%s" % (stem, digest)


def kernel_source_sha256(name: str) -> str:
    """Return the SHA-256 over the sources of a kernel, without loading it."""
    return sources_sha256(KERNELS[name].sources)


def sources_sha256(sources: Sequence[str]) -> str:
    """Return the SHA-256 over files of ``workloads``, also when they lie in a zip.

    Raises:
        FileNotFoundError: a file is not there.
    """
    digest = hashlib.sha256()
    for source in sources:
        data = pkgutil.get_data("workloads", source)
        if data is None:
            raise FileNotFoundError("workloads/%s" % source)
        digest.update(("%s %d\n" % (source, len(data))).encode("ascii") + data)
    return digest.hexdigest()
