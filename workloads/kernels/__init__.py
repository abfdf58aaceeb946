"""The kernels, written out by hand: name -> implementation (see ``seam.Kernel``)."""

from typing import Any, Dict, Optional

import torch

from workloads.kernels.cuda import operators as cuda
from workloads.kernels.native import operators as native
from workloads.kernels.seam import Kernel, KernelError
from workloads.kernels.torch_ops import operators as torch_ops
from workloads.kernels.user import user
from workloads.spec.kernels import sources_sha256


def kernel_of(module: Any) -> Kernel:
    """Return the kernel that a module supplies: NAME, VERSION, SOURCES, OPERATORS, available."""
    return Kernel(
        module.NAME, module.VERSION, tuple(module.SOURCES), module.OPERATORS, module.available
    )


def _in_channels_last(kernel: Kernel) -> Kernel:
    name = kernel.name + "-channels-last"
    return kernel._replace(name=name, memory_format=torch.channels_last)


KERNELS: Dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        kernel_of(torch_ops),
        _in_channels_last(kernel_of(torch_ops)),
        kernel_of(native),
        _in_channels_last(kernel_of(native)),
        kernel_of(cuda),
    )
}


def find(name: str) -> Kernel:
    """Return a kernel, ours or a user's.

    Raises:
        ValueError: there is none of this name, or the user's cannot be loaded.
    """
    entry = user.declared().get(name)
    if entry is None:
        if name not in KERNELS:
            known = ", ".join((*KERNELS, *user.declared()))
            raise ValueError("kernel must be one of %s, not %r" % (known, name))
        return KERNELS[name]
    if entry["kind"] == "alias":
        return KERNELS[entry["of"]]._replace(name=name)
    return user.load(name)


def is_users(name: str) -> bool:
    """Tell whether a kernel comes from a user's file; a second name of ours does not."""
    return user.declared().get(name, {}).get("kind", "alias") != "alias"


def availability(name: str, device: torch.device) -> Optional[str]:
    """Return why a kernel cannot run on a device in float32, None if it can; never raises."""
    try:
        return find(name).available(device, torch.float32)
    except KernelError:  # a broken file is no lack of the board: its check fails, and says so
        return None
    except Exception as error:  # whatever a kernel does here, it does not end the probe
        return "%s: %s" % (type(error).__name__, error)


def source_sha256(name: str) -> str:
    """Return the SHA-256 over the sources of a kernel, from a folder or from inside a zip."""
    return sources_sha256(KERNELS[name].sources)
