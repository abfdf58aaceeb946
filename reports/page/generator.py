"""Which program rendered a page: its version, its code and what its arithmetic rests on.

A page that this very program rendered is the same to the last digit when it is rendered again;
that is what ``verify`` builds on.
"""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import workloads

NAME = "gfbench"


@cache
def generator() -> str:
    """Return what a page's ``<meta name="generator">`` says of the program that rendered it."""
    parts = (
        f"{NAME} {metadata.version(NAME)}",
        f"renderer {renderer_sha256()[:12]}",
        *(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "jinja2")),
        f"python {platform.python_version()}",
        platform.machine(),
    )
    return "; ".join(parts)


@cache
def renderer_sha256() -> str:
    """Return the hash of all code and templates that a page's content depends on."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parents[1], Path(workloads.__path__[0], "spec")):
        files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
        for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()
