"""Kernels that a user names on the command line: ``mine=path/to/kernel.py`` and ``again=native``.

A file is packed with the payload, so that the payload's hash covers it; a board checks it before
it is timed (``workloads.measure.check``). A second name for a kernel of ours is for A/A.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import PlanError
from reports.results.read import ResultError
from reports.results.records import KernelFacts
from workloads.spec.kernels import KERNELS, USER_METHODS, KernelInfo, kernel_source_sha256

FOLDER = "workloads/kernels"
LIST = f"{FOLDER}/user.json"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
MAX_SOURCE_BYTES = 4 * 2**20
KINDS = {".py": "python", ".c": "c"}


@dataclass(frozen=True, kw_only=True)
class UserKernel:
    """A kernel that is not ours, or a second name; ``content`` is None for the latter."""

    info: KernelInfo
    kind: str
    of: str  # the file's name in the payload, or the kernel that it is
    content: bytes | None = None

    @property
    def sha256(self) -> str:
        """The hash that results carry."""
        if self.content is None:
            return kernel_source_sha256(self.of)
        return hashlib.sha256(self.content).hexdigest()


def parse(values: Sequence[str]) -> tuple[tuple[str, ...], tuple[UserKernel, ...]]:
    """Return the names of the kernels asked for, and those among them that are a user's.

    Raises:
        PlanError: a file cannot be used, or a name cannot be.
    """
    names: list[str] = []
    own: dict[str, UserKernel] = {}
    for value in values:
        name, equals, what = value.partition("=")
        names.append(name)
        if not equals:
            continue
        if not NAME.fullmatch(name) or name in KERNELS or name in own:
            why = "the name is taken" if name in KERNELS or name in own else "use a-z, 0-9, - and _"
            raise PlanError(f"--kernel {value}: {name!r} cannot be a kernel's name — {why}")
        own[name] = _alias(name, what) if what in KERNELS else _read(name, Path(what))
    return tuple(names), tuple(own.values())


def packed(own: Sequence[UserKernel]) -> dict[str, bytes]:
    """Return what joins the payload: the files, and the list of them all."""
    if not own:
        return {}
    listed = {kernel.info.name: {"kind": kernel.kind, "of": kernel.of} for kernel in own}
    files = {LIST: json.dumps(listed, sort_keys=True).encode()}
    for kernel in own:
        if kernel.content is not None:
            files[f"{FOLDER}/{kernel.of}"] = kernel.content
    return files


def unpacked(read: Callable[[str], bytes]) -> tuple[UserKernel, ...]:
    """Return the kernels that a payload was packed with; ``read`` returns a file of it.

    Raises:
        PayloadError: a file that is listed is not in it.
        ResultError: the list is broken.
    """
    try:
        listed = json.loads(read(LIST))
        return tuple(_from_payload(name, listed[name], read) for name in listed)
    except (ValueError, TypeError, KeyError) as error:
        raise ResultError(f"{LIST} in the payload is broken: {error!r}") from None


def _from_payload(name: str, entry: Mapping[str, str], read: Callable[[str], bytes]) -> UserKernel:
    kind, of = entry["kind"], entry["of"]
    if kind == "alias":
        return _alias(name, of)
    return _kernel(name, kind, read(f"{FOLDER}/{of}"), Path(of))


def recorded(own: Sequence[UserKernel]) -> dict[str, bytes]:
    """Return the files for the run's own folder ``kernels``, from which it can be resumed."""
    return {kernel.of: kernel.content for kernel in own if kernel.content is not None}


def from_run(folder: Path, recorded: Iterable[KernelFacts]) -> tuple[UserKernel, ...]:
    """Return the user's kernels of a run, from run.json and the files beside it.

    Raises:
        ResultError: a file is gone or changed.
    """
    kernels = []
    for facts in recorded:
        if not facts.kind:
            continue
        kernel = _from_facts(folder, facts)
        if kernel.sha256 != facts.source_sha256:
            raise ResultError(f"{folder}: kernel {facts.name} has changed since it was measured")
        kernels.append(kernel)
    return tuple(kernels)


def _from_facts(folder: Path, facts: KernelFacts) -> UserKernel:
    name, kind, of = facts.name, facts.kind, facts.of
    if kind == "alias" and of in KERNELS:
        return _alias(name, of)
    if kind not in KINDS.values() or of != Path(of).name:
        raise ResultError(f"{folder}: run.json does not say what kernel {name} is")
    try:
        content = (folder / "kernels" / of).read_bytes()
    except OSError as error:
        raise ResultError(f"{folder}: kernel {name} cannot be read: {error.strerror}") from None
    return _kernel(name, kind, content, Path(of))


def _alias(name: str, of: str) -> UserKernel:
    info = KERNELS[of]._replace(name=name, description=f"{of} under another name")
    return UserKernel(info=info, kind="alias", of=of)


def _read(name: str, path: Path) -> UserKernel:
    kind = KINDS.get(path.suffix)
    if kind is None:
        known = ", ".join(sorted(KERNELS))
        raise PlanError(f"--kernel {name}={path}: give a .py or .c file, or one of {known}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PlanError(f"--kernel {name}={path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_SOURCE_BYTES:
        raise PlanError(f"--kernel {name}={path}: is larger than {MAX_SOURCE_BYTES >> 20} MiB")
    return _kernel(name, kind, content, path)


def _kernel(name: str, kind: str, content: bytes, path: Path) -> UserKernel:
    version = _python_version(name, content, path) if kind == "python" else "user"
    of = f"user_{name.replace('-', '_')}.{'py' if kind == 'python' else 'c'}"
    info = KernelInfo(
        name=name,
        version=version,
        description=f"a user's kernel, {path.name}",
        methods=USER_METHODS,
        devices=("cpu", "cuda") if kind == "python" else ("cpu",),
        dtypes=("float32", "float64"),
        sources=(of,),
    )
    return UserKernel(info=info, kind=kind, of=of, content=content)


def _python_version(name: str, content: bytes, path: Path) -> str:
    """Return the module's VERSION, without running it.

    Raises:
        PlanError: it is not valid Python, or lacks what a kernel has.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise PlanError(f"--kernel {name}={path}: is not valid Python: {error}") from None
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    values = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            values.update(dict.fromkeys(names, node.value))
    missing = {"VERSION", "available"} - defined - set(values)
    if missing or not ("OPERATORS" in values or {"save", "gradients"} <= defined):
        lacks = ", ".join(sorted(missing)) or "OPERATORS, or save and gradients"
        raise PlanError(f"--kernel {name}={path}: it lacks {lacks} — see docs/kernels.md")
    version = values.get("VERSION")
    return str(version.value) if isinstance(version, ast.Constant) else "?"
