"""Where a payload has what the controller reads of it, if its revision is from before the rooms.

Until then all modules of ``workloads`` lay side by side. ``compare`` and ``bisect`` measure such
revisions too.
"""

from __future__ import annotations

from harness.errors import PayloadError
from harness.payloads.payload import Payload, content

MESSAGES = "messages.py"  # in workloads/
KERNELS = "workloads/kernels"
C_SOURCES = (  # in workloads/kernels/, of both kernels in C
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
)
_TORCH = ("torch_ops.py", "patches.py")
_NATIVE = ("native.py", "passes.py", "products.py", "compiler.py", *C_SOURCES, "torch_ops.py")
SOURCES = {
    "torch": _TORCH,
    "torch-channels-last": _TORCH,
    "native": _NATIVE,
    "native-channels-last": _NATIVE,
    "cuda": (
        "cuda.py",
        "cuda_passes.py",
        "cuda_driver.py",
        "nvrtc.py",
        "gradient_filter.cu",
        "torch_ops.py",
    ),
}


def is_former(payload: Payload) -> bool:
    """Return whether a payload's modules lie side by side."""
    try:
        content(payload, f"workloads/{MESSAGES}")
    except PayloadError:
        return False
    return True
