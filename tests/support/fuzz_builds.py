"""The builds of kernel native's C that a fuzz runs: flags, sanitizers and threads."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

import workloads
from workloads.kernels.native import compiler, passes, threads
from workloads.kernels.native.bindings import library_of
from workloads.kernels.native.threads import ThreadPool

ROOT = Path(workloads.__file__).parents[1]
SUPPORT = ROOT / "tests" / "support"
NATIVE = ROOT / "workloads" / "kernels" / "native"
PTHREAD_POOL = SUPPORT / "pthread_team.h"
DEBUG = "-DGFB_DEBUG"
_SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


class Build(NamedTuple):
    """How C is compiled and run."""

    flags: tuple[str, ...] = ()
    without: str = ""  # vectors of the processor that are not used
    sanitizer: str = ""  # its library
    own_threads: bool = False  # pthreads that a sanitizer sees, not torch's
    replayed_by: tuple[str, ...] = ()  # the compiler of the program that makes calls again
    emulator: tuple[str, ...] = ()


BUILDS = {
    "release": Build(),
    "unoptimized": Build((DEBUG, "-O0")),
    "avx512": Build((DEBUG,)),
    "avx2": Build((DEBUG,), "avx512f"),
    "sse": Build((DEBUG,), "avx"),
    "asan": Build(
        (DEBUG, "-g", "-O1", *_SANITIZED),  # -O3 takes three times as long to compile
        sanitizer="libasan.so",
    ),
    "tsan": Build(
        (DEBUG, "-g", "-O1", "-fsanitize=thread", "-pthread"),
        sanitizer="libtsan.so",
        own_threads=True,
    ),
    "clang": Build((DEBUG, "-g", "-O0", "-march=native", *_SANITIZED), replayed_by=("clang",)),
    "msan": Build(
        (DEBUG, "-g", "-O0", "-march=native", "-fsanitize=memory"),  # unwritten scratch on stacks
        replayed_by=("clang",),
    ),
    "neon": Build(
        (DEBUG, "-O3", "-static"),
        replayed_by=("aarch64-linux-gnu-gcc",),
        emulator=("qemu-aarch64",),
    ),
}


class NoSanitizer(Exception):
    """The compiler here has no such library; the message says which."""


def use(build: Build) -> None:
    """Let kernel native be compiled and run so in this process."""
    compiler.FLAGS = (*compiler.FLAGS, *build.flags)
    if build.own_threads:
        digest = hashlib.sha256(PTHREAD_POOL.read_bytes()).hexdigest()[:16]
        flags = (f"-DPTHREAD_POOL_IS={digest}", "-include", str(PTHREAD_POOL))
        compiler.FLAGS = (*compiler.FLAGS, *flags)
        for module in (threads, passes):
            module.__dict__["thread_pool_of"] = _own_thread_pool
    if build.without:
        native = compiler.native_flags()
        compiler.native_flags = lambda: (*native, f"-mno-{build.without}")


def count_lines(folder: Path) -> None:
    """Let what this process compiles count how often lines are reached, in files of ``folder``."""
    compiler.FLAGS = (*(flag for flag in compiler.FLAGS if flag != DEBUG), "--coverage", "-O1")
    run: Callable[..., str] = compiler.__dict__["_run"]
    numbers = itertools.count()

    def counting(command: list[str], scratch: str | None = None) -> str:
        prefix = folder / f"{os.getpid()}-{next(numbers)}-"
        counts = ["-dumpdir", str(prefix)] if "--coverage" in command else []
        return run([*command, *counts], scratch)

    compiler.__dict__["_run"] = counting


@functools.cache
def _own_thread_pool(number: int) -> ThreadPool:
    library = library_of(torch.float32)
    entries = [
        ctypes.cast(entry, ctypes.c_void_p).value
        for entry in (library.pthread_parallel, library.pthread_thread_num)
    ]
    return ThreadPool(*entries, number)


def command_line(build: Build) -> list[str]:
    """Return what comes before a program that runs so."""
    return ["setarch", "-R"] if build.sanitizer == "libtsan.so" else []


def environment(build: Build, folder: Path) -> dict[str, str]:
    """Return the environment of a program that runs so, its compiled objects in ``folder``.

    Raises:
        NoSanitizer: it cannot.
    """
    variables = {
        **os.environ,
        "XDG_CACHE_HOME": str(folder),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{SUPPORT}",
        "OMP_WAIT_POLICY": "passive",  # more threads than processors
        "ASAN_OPTIONS": "detect_leaks=0",
        "TSAN_OPTIONS": "halt_on_error=1 ignore_noninstrumented_modules=1 report_bugs=1",
    }
    if build.sanitizer:
        variables["LD_PRELOAD"] = sanitizer_library(build.sanitizer)
    return variables


def sanitizer_library(name: str) -> str:
    """Return the path of a sanitizer's library.

    Raises:
        NoSanitizer: the compiler has none.
    """
    path, _ = compiler.find_compiler()
    asked = subprocess.run([path, f"-print-file-name={name}"], capture_output=True, text=True)
    found = asked.stdout.strip()
    if not os.path.isabs(found):
        raise NoSanitizer(f"{path} has no {name}")
    return found


def refusal(name: str) -> str | None:
    """Return why a build cannot run here; None if it can."""
    build = BUILDS[name]
    if build.without and platform.machine() != "x86_64":
        return "these are vectors of x86-64"
    if name == "avx512" and platform.machine() == "x86_64" and "avx512f" not in _cpu_flags():
        return "the processor has no AVX-512"
    try:
        if build.sanitizer:
            sanitizer_library(build.sanitizer)
    except NoSanitizer as error:
        return str(error)
    programs = (*command_line(build)[:1], *build.replayed_by[:1], *build.emulator[:1])
    missing = [program for program in programs if not shutil.which(program)]
    return f"there is no {missing[0]}" if missing else None


def _cpu_flags() -> set[str]:
    return set(Path("/proc/cpuinfo").read_text().split())
