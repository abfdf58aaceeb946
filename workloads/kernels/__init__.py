"""The kernels, written out by hand: name -> implementation (see ``seam.Kernel``)."""

from typing import Any, Dict

from workloads.catalog import sources_sha256
from workloads.kernels import cuda, torch_ops
from workloads.kernels.seam import Kernel


def kernel_of(module: Any) -> Kernel:
    """Return the kernel that a module supplies: NAME, VERSION, SOURCES, OPERATORS, available."""
    return Kernel(
        module.NAME, module.VERSION, tuple(module.SOURCES), module.OPERATORS, module.available
    )


KERNELS: Dict[str, Kernel] = {
    "torch": kernel_of(torch_ops),
    "cuda": kernel_of(cuda),
}


def source_sha256(name: str) -> str:
    """Return the SHA-256 over the sources of a kernel, from a folder or from inside a zip."""
    return sources_sha256(KERNELS[name].sources)
