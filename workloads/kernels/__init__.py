"""The kernels of layers, written out by hand: name -> implementation (see ``seam.Kernel``).

Those that compute whole networks only are in ``networks.baselines``.
"""

from typing import Any, Dict, Optional

import torch

from workloads.kernels.cuda import operators as cuda
from workloads.kernels.native import operators as native
from workloads.kernels.seam import Kernel, KernelError
from workloads.kernels.torch_ops import operators as torch_ops
from workloads.kernels.user import user
from workloads.spec import kernels as spec

_MEMORY_FORMATS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
# The module of each kernel of ``spec.kernels``: its OPERATORS, and where it is available.
_MODULES: Dict[str, Any] = {
    "torch": torch_ops,
    "torch-channels-last": torch_ops,
    "native": native,
    "native-channels-last": native,
    "cuda": cuda,
}
KERNELS: Dict[str, Kernel] = {
    name: Kernel(
        name=name,
        version=info.version,
        sources=info.sources,
        operators=_MODULES[name].OPERATORS,
        available=_MODULES[name].available,
        memory_format=_MEMORY_FORMATS[info.layout],
    )
    for name, info in spec.KERNELS.items()
    if "layer" in info.workloads
}


def find(name: str) -> Kernel:
    """Return a kernel, ours or a user's.

    Raises:
        ValueError: no kernel has this name, or the user's cannot be loaded.
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
    """Return whether a kernel comes from a user's file; a second name for one of ours does not."""
    return user.declared().get(name, {}).get("kind", "alias") != "alias"


def availability(name: str, device: torch.device) -> Optional[str]:
    """Return why a kernel cannot run on a device in float32, None if it can; never raises."""
    try:
        return find(name).available(device, torch.float32)
    except KernelError:  # not the board's fault: the check of the broken file fails, and says so
        return None
    except Exception as error:  # whatever a kernel does here, it does not end the probe
        return "%s: %s" % (type(error).__name__, error)


def source_sha256(name: str) -> str:
    """Return the SHA-256 over the sources of a kernel, from a folder or from inside a zip."""
    return spec.sources_sha256(KERNELS[name].sources)
