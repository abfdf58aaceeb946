"""Faults that are put into kernel native to see that they are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workloads.kernels.native import compiler, passes

# What is changed in which source: from, to.
CHANGES = {
    "overrun": (
        "kernels/native/windows.h",
        "copy_panel_row(out + tap * c_in, values, n);",
        "copy_panel_row(out + tap * c_in, values, n), out[tap * c_in + n] = 0;",
    ),
    "overrun of NCHW": (
        "kernels/native/windows.h",
        "for (index_t k = 0; k < taps; k++)\n            out[j * taps + k] = values[j];",
        "for (index_t k = 0; k <= taps; k++)\n            out[j * taps + k] = values[j];",
    ),
    "underrun": (
        "kernels/native/pixels.h",
        "REAL *pixel = map + offset;",
        "REAL *pixel = map + offset; if (i + j == 0) pixel[-1] = 0;",
    ),
    "unwritten scratch": (
        "kernels/native/patches.h",
        "memset(scratch, 0, (size_t)(wide * (b->i1 - b->i0)) * sizeof(REAL));",
        "(void)wide;",
    ),
    "overrun within the workspace": (
        "kernels/native/panels.h",
        "REAL *to = b->x_tail + group * cells * NR;",
        "REAL *to = b->x_tail + group * cells * NR; to[cells * NR] = 0;",
    ),
}
FAULTS = (*CHANGES, "use after free", "workspace too small", "lost join")


def make(fault: str | None) -> None:
    """Put a fault into what this process compiles and runs."""
    if fault is None:
        return
    if fault == "use after free":
        passes.__dict__["backward"] = _with_freed_memory
    elif fault == "workspace too small":
        passes.prepare = _smaller(passes.prepare)
    elif fault == "lost join":
        compiler.FLAGS = (*compiler.FLAGS, "-DLOST_JOIN")
    else:
        compiler.__dict__["_text"] = _changed(compiler.__dict__["_text"], *CHANGES[fault])


def _with_freed_memory(call: passes.Call, *tensors: Any) -> None:
    """Call C with the address of memory that is freed before C runs, as once was done."""
    addresses = [None if each is None else each.data_ptr() for each in tensors]
    workspace: Any = passes.__dict__["_workspace"]
    unnamed = workspace(call.workspace_bytes).data_ptr()
    call.function(call.thread_pool, call.desc, *addresses, unnamed)


def _smaller(prepare: Callable[..., passes.Call]) -> Callable[..., passes.Call]:
    def prepared(*arguments: Any) -> passes.Call:
        call = prepare(*arguments)
        call.desc.workspace -= min(call.desc.workspace, 16)
        return call._replace(workspace_bytes=max(0, call.workspace_bytes - 64))

    return prepared


def _changed(
    read: Callable[[str], bytes], source: str, old: str, new: str
) -> Callable[[str], bytes]:
    def text(name: str) -> bytes:
        found = read(name).decode()
        if name == source:
            assert found.count(old) == 1, (source, old)
            found = found.replace(old, new)
        return found.encode()

    return text
