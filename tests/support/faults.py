"""Faults that are put into kernel native to see that they are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workloads.kernels.native import compiler, passes

# What is changed in which source: from, to.
CHANGES = {
    "overrun": (
        "kernels/native/windows.h",
        "copy_piece(out + tap * inputs, values, n);",
        "copy_piece(out + tap * inputs, values, n), out[tap * inputs + n] = 0;",
    ),
    "overrun of planes": (
        "kernels/native/windows.h",
        "for (index_t k = 0; k < length; k++)\n            out[j * length + k] = values[j];",
        "for (index_t k = 0; k <= length; k++)\n            out[j * length + k] = values[j];",
    ),
    "underrun": (
        "kernels/native/pixels.h",
        "REAL *pixel = map + first;",
        "REAL *pixel = map + first; if (i + j == 0) pixel[-1] = 0;",
    ),
    "unwritten scratch": (
        "kernels/native/patches.h",
        "memset(scratch, 0, (size_t)(wide * (b->i1 - b->i0)) * sizeof(REAL));",
        "(void)wide;",
    ),
    "overrun within the working memory": (
        "kernels/native/panels.h",
        "REAL *to = f->x + group * cells * BROAD;",
        "REAL *to = f->x + group * cells * BROAD; to[cells * BROAD] = 0;",
    ),
}
FAULTS = (*CHANGES, "use after free", "working memory too small", "lost join")


def make(fault: str | None) -> None:
    """Put a fault into what this process compiles and runs."""
    if fault is None:
        return
    if fault == "use after free":
        passes.__dict__["backward"] = _with_freed_memory
    elif fault == "working memory too small":
        passes.prepared = _smaller(passes.prepared)
    elif fault == "lost join":
        compiler.FLAGS = (*compiler.FLAGS, "-DLOST_JOIN")
    else:
        compiler.__dict__["_text"] = _changed(compiler.__dict__["_text"], *CHANGES[fault])


def _with_freed_memory(call: passes.Call, *tensors: Any) -> None:
    """Call C with the address of memory that is freed before C runs, as once was done."""
    addresses = [None if each is None else each.data_ptr() for each in tensors]
    working_memory: Any = passes.__dict__["_working_memory"]
    call.function(call.team, call.what, *addresses, working_memory(call.work).data_ptr())


def _smaller(prepare: Callable[..., passes.Call]) -> Callable[..., passes.Call]:
    def prepared(*arguments: Any) -> passes.Call:
        call = prepare(*arguments)
        call.what.work -= min(call.work, 16)
        return call._replace(work=max(0, call.work - 64))

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
