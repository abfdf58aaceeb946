"""Which of torch's operators this torch has, and the layout of maps that goes with them."""

from typing import Any

import torch


def _has(namespace: str, name: str) -> bool:
    try:
        getattr(getattr(torch.ops, namespace), name)
    except (AttributeError, RuntimeError):  # the latter from old versions of torch
        return False
    return True


def overload(operator: Any, name: str) -> Any:
    """Return one signature of an operator: finding it at each call takes as long as a small layer.

    Where torch does not tell signatures apart (< 1.12), return the operator itself.
    """
    return getattr(operator, name, operator)


HAS_CONVOLUTION_BACKWARD = _has("aten", "convolution_backward")  # torch 1.10 does not
HAS_ONEDNN = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
HAS_POINTWISE = HAS_ONEDNN and _has("mkldnn", "_convolution_pointwise")
# On the CPU torch 1.10 convolves in NCHW alone, and copies what comes in another layout.
MEMORY_FORMAT = torch.channels_last if HAS_CONVOLUTION_BACKWARD else torch.contiguous_format
