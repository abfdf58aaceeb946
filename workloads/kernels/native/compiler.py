"""Shared objects, compiled on the board from the C sources in the payload, and kept there.

An object's name has a hash of all that it depends on: sources, flags, compiler and processor. The
object is renamed to it under a lock, so that processes that start together compile once and never
load half a file. Where there is no compiler, an object is used that the controller has compiled and
pushed, if its content has the hash in its name. The folder lies beside the payload's archive if the
payload runs from one; otherwise it is ``$XDG_CACHE_HOME/gfbench`` (``~/.cache/gfbench``).
"""

import ctypes
import functools
import glob
import hashlib
import os
import pkgutil
import platform
import shutil
import subprocess
import tempfile
from typing import Dict, List, Optional, Tuple

from workloads.machine.causes import is_noexec, remedy_of_error, with_remedy
from workloads.machine.folders import work_folder
from workloads.machine.locks import Lock, is_held
from workloads.machine.processors import processor
from workloads.spec.kernels import object_stem

COMPILERS = ("cc", "gcc", "clang")
FLAGS: Tuple[str, ...] = ("-std=gnu99", "-O3", "-fPIC", "-shared")
TIMEOUT_S = 3600.0  # a last resort: whoever has something compiled has a deadline of its own
MAKING = ".making-"  # between an object's name and the rest of the folder in which it is compiled


class CompilerError(Exception):
    """The object cannot be compiled or loaded here; the message says why."""


class NoCompiler(CompilerError):
    """There is no compiler, and no object that the controller has pushed."""


def load(sources: Tuple[str, ...], defines: Tuple[str, ...] = ()) -> ctypes.CDLL:
    """Return the library of sources in ``workloads/kernels``, compiling it if it is not there yet.

    Args:
        sources: the file to compile, then the headers that it includes.
        defines: macros, ``NAME=value``.

    Raises:
        CompilerError: there is no compiler, it fails, or its object cannot be loaded.
    """
    try:
        path = build(sources, defines)
    except OSError as error:
        raise CompilerError(
            "the folder for compiled kernels cannot be written: %s; name another place with "
            "`workdir` in the inventory" % error
        ) from error
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise CompilerError("%s: %s" % (sources[0], _why_not_loaded(path, error))) from error


def _why_not_loaded(path: str, error: OSError) -> str:
    folder = os.path.dirname(path)
    if is_noexec(folder):
        return (
            "nothing can be run from %s, whose filesystem is mounted noexec (%s); name another "
            "place with `workdir` in the inventory" % (folder, error)
        )
    return with_remedy(str(error), remedy_of_error(str(error)))


def build(sources: Tuple[str, ...], defines: Tuple[str, ...] = ()) -> str:
    """Return the path of the shared object, compiling it if it is not there yet; see ``load``.

    Raises:
        CompilerError: there is no compiler, it fails, or another process never ends compiling.
        OSError: the folder cannot be written.
    """
    texts = {source: _text(source) for source in sources}
    try:
        compiler, version = find_compiler()
    except CompilerError:
        pushed = _pushed(texts, defines)
        if pushed is None:
            raise
        return pushed
    arguments = FLAGS + tuple("-D" + define for define in defines)
    key = "\n".join([compiler, version, *arguments, *native_flags(), processor()])
    digest = hashlib.sha256(b"".join([key.encode("utf-8"), *texts.values()])).hexdigest()[:16]
    folder = cache_folder()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    stem = os.path.splitext(os.path.basename(sources[0]))[0]
    path = os.path.join(folder, "%s-%s.so" % (stem, digest))
    if os.path.exists(path):
        return path
    _remove_unfinished(folder)
    lock = Lock(path + ".lock")
    try:
        if not lock.acquire(TIMEOUT_S):
            raise CompilerError("another process has not ended compiling %s" % path)
        if not os.path.exists(path):
            _compile(compiler, arguments, texts, path)
    finally:
        lock.close()
    return path


def _remove_unfinished(folder: str) -> None:
    """Remove what processes that were killed while they compiled have left in the folder."""
    for unfinished in glob.glob(os.path.join(glob.escape(folder), "*" + MAKING + "*")):
        if not is_held(unfinished.rpartition(MAKING)[0] + ".lock"):
            shutil.rmtree(unfinished, ignore_errors=True)


def _pushed(texts: Dict[str, bytes], defines: Tuple[str, ...]) -> Optional[str]:
    """Return the object that the controller has pushed for these sources, if it is whole."""
    stem = object_stem(texts.items(), defines, platform.machine())
    folder = cache_folder()
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if not (name.startswith(stem + "-") and name.endswith(".so")):
            continue
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        if name == "%s-%s.so" % (stem, digest):
            return path
    return None


@functools.lru_cache(maxsize=None)
def find_compiler() -> Tuple[str, str]:
    """Return the path of the board's C compiler and its version.

    Raises:
        NoCompiler: there is none on PATH.
        CompilerError: it does not run.
    """
    for name in COMPILERS:
        path = shutil.which(name)
        if path:
            return path, _run([path, "--version"]).split("\n")[0]
    names = ", ".join(COMPILERS[:-1]), COMPILERS[-1]
    raise NoCompiler("no C compiler: %s and %s are not on PATH" % names)


def native_flags() -> Tuple[str, ...]:
    """Return the flag by which a compiler uses all instructions of this processor."""
    if platform.machine().startswith(("arm", "aarch64")):
        return ("-mcpu=native",)
    return ("-march=native",)


def cache_folder() -> str:
    """Return the folder for compiled objects: beside the payload's archive, or in the cache."""
    folder = work_folder()
    if folder:
        return os.path.join(folder, "objects")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "gfbench", "objects")


def _compile(compiler: str, arguments: Tuple[str, ...], texts: Dict[str, bytes], path: str) -> None:
    """Compile in a folder beside ``path`` and rename the object to it.

    A compiler that does not know ``native_flags`` compiles without them. The caller holds the
    object's lock.
    """
    folder = tempfile.mkdtemp(prefix=os.path.basename(path) + MAKING, dir=os.path.dirname(path))
    try:
        for source, text in texts.items():
            with open(os.path.join(folder, os.path.basename(source)), "wb") as file:
                file.write(text)
        made = os.path.join(folder, "made.so")
        first = os.path.join(folder, os.path.basename(next(iter(texts))))
        common = [*arguments, first, "-o", made]
        try:
            _run([compiler, *native_flags(), *common], folder)
        except CompilerError:
            _run([compiler, *common], folder)
        os.rename(made, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _text(source: str) -> bytes:
    text = pkgutil.get_data("workloads", source)
    if text is None:
        raise CompilerError("workloads/%s is not in the payload" % source)
    return text


def _run(command: List[str], scratch: Optional[str] = None) -> str:
    """Run a compiler, its own temporary files in ``scratch``, and return what it printed."""
    try:
        ran = subprocess.run(
            command,
            env=dict(os.environ, TMPDIR=scratch) if scratch else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError("the C compiler cannot be run: %s" % error) from error
    if ran.returncode != 0:
        raise CompilerError("%s failed: %s" % (command[0], ran.stdout.strip()[-2000:]))
    return str(ran.stdout)
