"""Compiling kernels here for a board that has no compiler, by ``zig cc`` of ``gfbench[cross]``.

zig has the headers of every glibc, so that one controller serves old and new boards of any
architecture. The code is for the architecture's common subset, as the board's own is not known;
threads come from torch's OpenMP runtime on the board, so none is linked.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import workloads
from harness.board.board import Board
from harness.errors import GfbenchError, PayloadError
from harness.payloads import former
from harness.payloads import payload as payloads
from harness.payloads.payload import Payload
from harness.payloads.user_kernels import UserKernel
from reports.results.records import Probe
from workloads.spec.kernels import C_SOURCES, REALS, USER_HEADER, object_stem

DEADLINE_S = 300.0
OLDEST_GLIBC = "2.17"
NO_COMPILER = "no C compiler"  # how the reason of workloads.kernels.native.compiler begins
ABIS = {
    "aarch64": "aarch64-linux-gnu",
    "x86_64": "x86_64-linux-gnu",
    "armv7l": "arm-linux-gnueabihf",
}
FLAGS = ("-std=gnu99", "-O3", "-fPIC", "-shared", "-s", "-fno-sanitize=undefined")


class CrossError(GfbenchError):
    """A kernel cannot be compiled here for a board; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Object:
    """A shared object, under the name by which the board's payload finds and verifies it."""

    name: str
    data: bytes


@dataclass(frozen=True)
class KernelSources:
    """Where kernels' C comes from: how a file is read, the header for users, files by kernel."""

    read: Callable[[str], bytes]
    header: str
    of_kernel: Mapping[str, tuple[str, ...]]


def lacking(probe: Probe) -> tuple[str, ...]:
    """Return the kernels that only want for a compiler on the board."""
    on_cpu = {name: reasons.get("cpu") for name, reasons in probe.kernels.items()}
    return tuple(name for name, reason in on_cpu.items() if (reason or "").startswith(NO_COMPILER))


def is_here() -> bool:
    """Return whether ``gfbench[cross]`` is installed."""
    return importlib.util.find_spec("ziglang") is not None


def zig_target(probe: Probe) -> str:
    """Return zig's name for a board's architecture and glibc.

    Raises:
        CrossError: gfbench knows no name for it.
    """
    machine, libc = probe.machine, probe.libc
    version = re.fullmatch(r"glibc-(\d+\.\d+)", libc)
    if machine not in ABIS or (libc and not version):
        raise CrossError(f"gfbench cannot compile for {machine[:40]} with {libc[:40]}")
    return f"{ABIS[machine]}.{version[1] if version else OLDEST_GLIBC}"


def compiled(
    names: Sequence[str],
    own: Sequence[UserKernel],
    probe: Probe,
    payload: Payload | None = None,
) -> tuple[Object, ...]:
    """Return the objects of these kernels for the board that was probed.

    The sources are those of ``payload`` (default: the workloads that are installed).

    Raises:
        CrossError: zig cannot make one.
    """
    target = zig_target(probe)
    users = {kernel.info.name: kernel for kernel in own}
    objects = []
    installed = KernelSources(_installed, USER_HEADER, C_SOURCES)
    ours = installed if payload is None else _packed(payload)
    for texts in {tuple(_texts(name, users, ours).items()) for name in names}:
        for real in REALS:
            define = f"REAL={real}"
            data = _compile(dict(texts), define, target)
            stem = object_stem(texts, (define,), probe.machine)
            name = f"{stem}-{hashlib.sha256(data).hexdigest()}.so"
            objects.append(Object(name=name, data=data))
    return tuple(objects)


def supply(
    board: Board,
    probe: Probe,
    own: Sequence[UserKernel],
    payload: Payload | None = None,
) -> tuple[str, ...]:
    """Compile here what the board cannot and push it; returns what a reader has to know."""
    names = lacking(probe)
    what = f"kernel {', '.join(names)}"
    if not is_here():
        return (f"{what}: to compile it on the controller, run `pip install gfbench[cross]` there",)
    try:
        objects = compiled(names, own, probe, payload)
    except CrossError as error:
        return (f"{what} could not be compiled for this board: {error}",)
    for made in objects:
        board.push_object(made.name, made.data)
    return (
        f"{what}: compiled on the controller for {zig_target(probe)}, because the board has no C "
        "compiler; it uses only instructions that every processor of this architecture has",
    )


def _texts(name: str, users: Mapping[str, UserKernel], ours: KernelSources) -> dict[str, bytes]:
    """Return the files that a kernel's object is made of, the one to compile first."""
    user = users.get(name)
    kernel = user.of if user and user.kind == "alias" else name
    if user and user.content is not None:
        return {user.of: user.content, ours.header: ours.read(ours.header)}
    return {source: ours.read(source) for source in ours.of_kernel[kernel]}


def _installed(source: str) -> bytes:
    return (Path(workloads.__file__).parent / source).read_bytes()


def _packed(payload: Payload) -> KernelSources:
    """Return how a payload's own sources are read.

    Reading raises CrossError where it has none of the name: another revision's kernel.
    """

    def reader(folder: str) -> Callable[[str], bytes]:
        def read(source: str) -> bytes:
            try:
                return payloads.content(payload, f"{folder}/{source}")
            except PayloadError as error:
                raise CrossError(str(error)) from None

        return read

    if former.is_former(payload):
        sources = dict.fromkeys(C_SOURCES, former.C_SOURCES)
        return KernelSources(reader(former.KERNELS), "gfbench.h", sources)
    return KernelSources(reader("workloads"), USER_HEADER, C_SOURCES)


def _compile(texts: Mapping[str, bytes], define: str, target: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="gfbench-cross-") as temporary:
        folder = Path(temporary)
        for name, text in texts.items():
            (folder / Path(name).name).write_bytes(text)
        made = folder / "made.so"
        source = str(folder / Path(next(iter(texts))).name)
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *FLAGS]
        try:
            done = subprocess.run(
                [*command, f"-D{define}", source, "-o", str(made)],
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=DEADLINE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CrossError(f"zig cannot be run: {error}") from None
        if done.returncode != 0 or not made.exists():
            raise CrossError(f"zig cc -target {target} failed: {done.stderr.strip()[-1500:]}")
        return made.read_bytes()
