"""A user's kernels: files that the controller packed beside ours, and second names of ours.

``workloads/kernels/user.json`` lists them, if there are any. A kernel is loaded when it is first
needed, so that a broken one fails its own cases only.
"""

import functools
import importlib
import json
import pkgutil
from typing import Any, Dict

from workloads.kernels.seam import Kernel, KernelError
from workloads.spec.kernels import USER_METHODS

LIST = "user.json"


@functools.lru_cache(maxsize=None)
def declared() -> Dict[str, Dict[str, str]]:
    """Return what is listed: name -> {"kind": "python", "c" or "alias", "of": file or kernel}."""
    try:
        data = pkgutil.get_data("workloads", "kernels/" + LIST)
    except OSError:
        return {}
    kernels: Dict[str, Dict[str, str]] = json.loads((data or b"{}").decode("utf-8"))
    return kernels


@functools.lru_cache(maxsize=None)
def load(name: str) -> Kernel:
    """Return a user's kernel from its file.

    Raises:
        KernelError: the file cannot be imported, or lacks what a kernel has.
    """
    entry = declared()[name]
    if entry["kind"] == "c":
        from workloads.kernels.user import c_abi

        return c_abi.kernel(name, entry["of"])
    try:
        module = importlib.import_module("workloads.kernels." + entry["of"][: -len(".py")])
        return kernel_of(name, entry["of"], module)
    except Exception as error:  # whatever a user's file does
        raise KernelError(
            "kernel %s cannot be loaded: %s: %s" % (name, type(error).__name__, error)
        ) from error


def kernel_of(name: str, source: str, module: Any) -> Kernel:
    """Return the kernel that a module supplies: VERSION, available, and OPERATORS or two functions.

    Args:
        name: the kernel's.
        source: the module's file, in ``workloads/kernels``.
        module: what was imported from it.

    Raises:
        AttributeError: the module lacks one of them.
    """
    operators = getattr(module, "OPERATORS", None)
    if operators is None:
        from workloads.kernels.seam import Operator

        operator = Operator(module.save, module.gradients)
        operators = dict.fromkeys(USER_METHODS, operator)
    return Kernel(name, str(module.VERSION), ("kernels/" + source,), operators, module.available)
