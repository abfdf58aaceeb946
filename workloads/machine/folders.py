"""Where this program keeps what it makes on the board: beside its archive, and nowhere else."""

import os
from typing import Optional

# torch's oneDNN writes /tmp/perf-PID.map for a profiler, one of each process, and leaves it there.
ONEDNN_SETTINGS = ("ONEDNN_JIT_PROFILE", "DNNL_JIT_PROFILE")  # the second of older ones
CUDA_CACHE = "CUDA_CACHE_PATH"
COMPILE_CACHE = "TORCHINDUCTOR_CACHE_DIR"
# torch.compile's precompiled headers lie in the system's temporary folder, whatever is set.
COMPILED_HEADERS = "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"


def work_folder() -> Optional[str]:
    """Return the folder of the archive that runs; None for a program that is no archive."""
    archive = getattr(globals().get("__loader__"), "archive", None)
    return os.path.dirname(os.path.abspath(archive)) if archive else None


def keep_to_work_folder() -> None:
    """Have libraries that torch brings along leave no files elsewhere; before torch is imported.

    What the user has set stays.
    """
    if not any(name in os.environ for name in ONEDNN_SETTINGS):
        os.environ.update(dict.fromkeys(ONEDNN_SETTINGS, "0"))
    folder = work_folder()
    if folder:
        os.environ.setdefault(CUDA_CACHE, os.path.join(folder, "cuda"))
        os.environ.setdefault(COMPILE_CACHE, os.path.join(folder, "inductor"))
        os.environ.setdefault(COMPILED_HEADERS, "0")
