"""Git revisions -> payloads, to be measured in pairs.

If a repository has ``workloads/``, each revision is packed from its own. In any other repository
only the user's kernel file differs; it is packed with the workloads of the installed gfbench. The
runner on the board is always the installed one: it starts each block with its revision's payload.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import PayloadError, UsageError
from harness.payloads import former
from harness.payloads import payload as payloads
from harness.payloads.git import Commit, Repository
from harness.payloads.payload import Payload
from harness.payloads.user_kernels import LIST, UserKernel, packed, parse, unpacked
from reports.results.read import ResultError
from reports.results.records import RevisionFacts
from workloads.spec.kernels import KERNELS
from workloads.spec.messages import BLOCK_KINDS, SCHEMA

WORKLOADS = "workloads"
FOLDER = "payloads"  # in a run's folder: what was measured, and what it is resumed with


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is measured of a repository: its workloads, or kernel files in it.

    ``values`` are ``--kernel``'s, with ``{tree}`` instead of the repository's own folder.
    """

    repository: Repository
    values: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # of users' kernels, relative to the repository


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One revision, packed; ``block_kinds`` are those that its payload knows."""

    commit: Commit
    payload: Payload
    own_kernels: tuple[UserKernel, ...] = ()  # the user's, as of this revision
    block_kinds: tuple[str, ...] = BLOCK_KINDS

    @property
    def label(self) -> str:
        """Return what the revision's cases carry."""
        return self.commit.label

    @property
    def knows_networks(self) -> bool:
        """Return whether its payload measures whole networks; of gfbench/1 none did."""
        return "by_layer" in self.block_kinds


def source(kernels: Sequence[str], folder: Path) -> Source:
    """Return what to measure, as ``--kernel`` and the current folder say.

    Raises:
        UsageError: the files are in no repository, or in several.
    """
    values, files, repositories = [], [], set()
    for value in kernels:
        name, equals, what = value.partition("=")
        if not equals or what in KERNELS:
            values.append(value)
            continue
        path = (folder / what).parent.resolve() / Path(what).name
        repository = Repository.around(path.parent)
        repositories.add(repository)
        relative = path.relative_to(repository.root.resolve()).as_posix()
        files.append(relative)
        values.append(f"{name}={{tree}}/{relative}")
    if len(repositories) > 1:
        raise UsageError("the kernels' files lie in several repositories — compare one at a time")
    repository = repositories.pop() if repositories else Repository.around(folder)
    return Source(repository=repository, values=tuple(values), files=tuple(files))


def check_committed(source: Source, commits: Sequence[Commit]) -> None:
    """Refuse to measure HEAD while what would be measured has changes that are not committed.

    Raises:
        UsageError: there are such changes.
    """
    head = source.repository.commit("HEAD").sha
    asked = next((commit.asked for commit in commits if commit.sha == head), None)
    if asked is None:
        return
    changed = source.repository.changed((WORKLOADS, *source.files))
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UsageError(
            f"{changed[0]}{more}: uncommitted changes are not measured; {asked} is the commit "
            "without them — commit them, or put them aside with `git stash`"
        )


def build(source: Source, commit: Commit) -> Revision:
    """Pack a revision from a clean work tree.

    Raises:
        UsageError: a file is missing there, or the payload speaks another wire format.
        PlanError: a user's kernel cannot be used as it is there.
        PayloadError: it cannot be packed.
    """
    with source.repository.tree(commit) as tree:
        for file in source.files:
            _check_file(tree, file, commit)
        _, own = parse([value.replace("{tree}", str(tree), 1) for value in source.values])
        folder = tree / WORKLOADS
        messages = _messages(folder)
        if messages is None:
            if not source.files:
                raise UsageError(
                    f"{commit.title}: there is no {WORKLOADS}/ in {source.repository.root} — give "
                    "the kernel's file with --kernel NAME=FILE"
                )
            return _packed(commit, None, own, BLOCK_KINDS)
        return _packed(commit, folder, own, _block_kinds(messages, commit))


def identical(base: Revision, new: Revision) -> bool:
    """Return whether there is nothing to compare: the very same bytes would run."""
    return base.payload.sha256 == new.payload.sha256


def recorded(revision: Revision) -> dict[str, Any]:
    """Return what run.json says of a revision; its payload lies beside it."""
    commit = revision.commit
    return {
        "label": commit.label,
        "asked": commit.asked,
        "commit": commit.sha,
        "subject": commit.subject,
        "payload": {"name": revision.payload.name, "sha256": revision.payload.sha256},
    }


def from_run(folder: Path, recorded: Iterable[RevisionFacts]) -> tuple[Revision, ...]:
    """Return the revisions of a run, from run.json and the payloads beside it.

    Raises:
        ResultError: a payload is gone or changed.
    """
    return tuple(_from_facts(folder, facts) for facts in recorded)


def kernel_facts(revision: Revision, name: str) -> dict[str, Any]:
    """Return name, version and source hash of a kernel as of a revision; null where unknown."""
    facts = {"name": f"{name}@{revision.label}", "version": None, "source_sha256": None}
    for user in revision.own_kernels:
        if user.info.name == name:
            return {**facts, "version": user.info.version, "source_sha256": user.sha256}
    folder, sources = WORKLOADS, KERNELS[name].sources
    if former.is_former(revision.payload):
        if name not in former.SOURCES:  # one of networks, which came later
            return facts
        folder, sources = former.KERNELS, former.SOURCES[name]
    digest = hashlib.sha256()
    try:
        for source in sources:
            data = payloads.content(revision.payload, f"{folder}/{source}")
            digest.update(f"{source} {len(data)}\n".encode() + data)
    except PayloadError:  # that revision's kernel has other sources than ours
        return facts
    return {**facts, "source_sha256": digest.hexdigest()}


def _messages(folder: Path) -> Path | None:
    """Return the module with a payload's wire format, where its revision has it."""
    for path in (folder / "spec" / "messages.py", folder / former.MESSAGES):
        if path.is_file():
            return path
    return None


def _check_file(tree: Path, file: str, commit: Commit) -> None:
    path = tree / file
    if not path.is_file():
        raise UsageError(
            f"{commit.title}: there is no {file} at {commit.asked} — choose revisions that have it"
        )
    if not path.resolve().is_relative_to(tree.resolve()):
        raise UsageError(f"{commit.title}: {file} is a link that leads out of its repository")


def _packed(
    commit: Commit, folder: Path | None, own: Sequence[UserKernel], kinds: tuple[str, ...]
) -> Revision:
    return Revision(
        commit=commit,
        payload=payloads.pack(folder, packed(own)),
        own_kernels=tuple(own),
        block_kinds=kinds,
    )


def _block_kinds(messages: Path, commit: Commit) -> tuple[str, ...]:
    """Return the kinds of blocks that a revision's payload knows, if we can speak with it.

    A case of a layer reads as it did in gfbench/1, so that older payloads understand it.

    Raises:
        UsageError: it speaks a newer major version of the wire format, or none.
    """
    constants = _constants(messages, commit)
    schema = str(constants.get("SCHEMA"))
    family, ours = SCHEMA.split("/")
    major = re.fullmatch(rf"{family}/(\d+)", schema)
    if major is None or int(major[1]) > int(ours):
        raise UsageError(
            f"{commit.title}: its payload uses schema {schema}, this gfbench {SCHEMA} — upgrade "
            "gfbench, or choose another revision"
        )
    kinds = constants.get("BLOCK_KINDS")
    return tuple(map(str, kinds)) if isinstance(kinds, tuple) else ()


def _constants(path: Path, commit: Commit) -> dict[str, Any]:
    """Return a module's literal constants, without running it."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError) as error:
        raise UsageError(
            f"{commit.title}: {WORKLOADS}/{path.name} is not valid Python: {error}"
        ) from None
    values = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                values[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return values


def _from_facts(folder: Path, facts: RevisionFacts) -> Revision:
    if facts.payload is None or not facts.payload.name or not facts.label:
        raise ResultError(f"{folder}: run.json does not say what was compared")
    name, sha256 = facts.payload.name, facts.payload.sha256
    try:
        data = (folder / FOLDER / Path(name).name).read_bytes()
    except OSError as error:
        raise ResultError(f"{folder}: {error.filename}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ResultError(f"{folder}: {FOLDER}/{name} is not the payload that was measured")
    commit = Commit(asked=facts.asked, sha=facts.commit, label=facts.label, subject=facts.subject)
    payload = Payload(name=name, data=data, sha256=sha256)
    return Revision(commit=commit, payload=payload, own_kernels=_own_kernels(payload))


def _own_kernels(payload: Payload) -> tuple[UserKernel, ...]:
    try:
        payloads.content(payload, LIST)
    except PayloadError:
        return ()
    return unpacked(lambda path: payloads.content(payload, path))
