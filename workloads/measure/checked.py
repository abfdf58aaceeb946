"""Which checks of our own kernels this machine has passed, so that they are not made in every run.

Kept beside the payload and named after all that could make a right kernel wrong: the payload, the
interpreter, torch, the compiler and the processor. A check that was not passed is not remembered,
nor is one of a user's kernel.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from typing import Any, Dict, Optional

from workloads.machine.processors import processor
from workloads.spec.kernels import KERNELS
from workloads.spec.messages import Case, dump, to_json

COMPILERS = ("cc", "gcc", "clang")


def recall(case: Case) -> Optional[Dict[str, Any]]:
    """Return what the check of this case found the last time; None if it was not made here."""
    found = _read(_path()).get(_key(case))
    return found if isinstance(found, dict) else None


def remember(case: Case, found: Dict[str, Any]) -> None:
    """Keep what a passed check found; without room on the disk it is made again."""
    if case.kernel not in KERNELS or case.revision:
        return
    path = _path()
    known = dict(_read(path), **{_key(case): found})
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path + ".part", "w") as file:
            file.write(dump(known))
        os.rename(path + ".part", path)


def _read(path: str) -> Dict[str, Any]:
    try:
        with open(path) as file:
            known = json.load(file)
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _key(case: Case) -> str:
    """Return the case without the name of its layer: shapes are what is checked."""
    unnamed = case._replace(layer=case.layer._replace(name=""))
    return hashlib.sha256(dump(to_json(unnamed)).encode("ascii")).hexdigest()


def _path() -> str:
    """Return the file of this payload on this machine."""
    payload = os.path.abspath(sys.argv[0])
    parts = [payload, sys.version, _torch(), processor(), *map(_compiler, COMPILERS)]
    digest = hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:16]
    return os.path.join(os.path.dirname(payload), "checked", "%s.json" % digest)


def _compiler(name: str) -> str:
    """Return what changes when a compiler is another one, without running it."""
    path = shutil.which(name)
    if path is None:
        return ""
    status = os.stat(path)
    return "%s %d %d" % (os.path.realpath(path), status.st_size, int(status.st_mtime))


def _torch() -> str:
    """Return the text that tells torch's version and build, without importing torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.origin:
        return ""
    try:
        with open(os.path.join(os.path.dirname(spec.origin), "version.py")) as file:
            return file.read()
    except OSError:
        return spec.origin
