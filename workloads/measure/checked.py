"""Checks of our own kernels that this machine has passed, so that not every run repeats them.

They are kept in a file beside the payload, whose name depends on all that could make a right kernel
wrong: the payload, the interpreter, torch, the compilers and the processor. Only passed checks are
kept, and none of a user's kernel.
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
    """Return the result of this case's check; None if it was not passed here before."""
    result = _read(_path()).get(_key(case))
    return result if isinstance(result, dict) else None


def remember(case: Case, result: Dict[str, Any]) -> None:
    """Keep the result of a passed check; if the disk is full, the next run makes it again."""
    if case.kernel not in KERNELS or case.revision:
        return
    path = _path()
    known = dict(_read(path), **{_key(case): result})
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
    """Return a name for the case that ignores its workload's name: the check sees shapes."""
    unnamed = case._replace(workload=case.workload._replace(name=""))
    return hashlib.sha256(dump(to_json(unnamed)).encode("ascii")).hexdigest()


def _path() -> str:
    """Return the file of this payload on this machine as it is now."""
    payload = os.path.abspath(sys.argv[0])
    parts = [payload, sys.version, _torch(), processor()]
    parts += [_compiler(name) for name in COMPILERS]
    digest = hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:16]
    return os.path.join(os.path.dirname(payload), "checked", "%s.json" % digest)


def _compiler(name: str) -> str:
    """Return path, size and time of a compiler's file, which change with the compiler."""
    path = shutil.which(name)
    if path is None:
        return ""
    status = os.stat(path)
    return "%s %d %d" % (os.path.realpath(path), status.st_size, int(status.st_mtime))


def _torch() -> str:
    """Return the text of torch's version module, without importing torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.origin:
        return ""
    try:
        with open(os.path.join(os.path.dirname(spec.origin), "version.py")) as file:
            return file.read()
    except OSError:
        return spec.origin
