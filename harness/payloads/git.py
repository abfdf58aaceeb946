"""A git repository, as far as comparing its revisions needs it: commits, clean trees, changes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError

DEADLINE_S = 300.0
# A hook that called us has set these for its own repository and index.
INHERITED = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
# The same bytes for everybody: no line endings converted, and nobody's post-checkout hook is run.
OPTIONS = ("-c", "core.autocrlf=false", "-c", "core.hooksPath=/dev/null")
FETCH = "try `git fetch`; a shallow clone in CI has only one commit (set fetch-depth: 0)"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit; ``asked`` is how the user called it."""

    asked: str
    sha: str
    label: str  # short and unique in its repository
    subject: str

    @property
    def title(self) -> str:
        """Return label and subject."""
        return f"{self.label} {self.subject}".strip()


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository with a work tree, by its top folder."""

    root: Path

    @classmethod
    def around(cls, folder: Path) -> Repository:
        """Return the repository that a folder lies in.

        Raises:
            UsageError: it is not in a repository.
        """
        try:
            done = _run(folder, "rev-parse", "--show-toplevel")
        except OSError as error:
            raise UsageError(f"{folder}: git cannot be run: {error.strerror}") from None
        if done.returncode != 0 or not done.stdout.strip():
            raise UsageError(
                f"{folder.absolute()} is not in a git repository ({_last_line(done.stderr)}) — run "
                "gfbench in the one whose revisions you mean, or give --kernel NAME=FILE from it"
            )
        return cls(root=Path(done.stdout.rstrip("\n")))

    def commit(self, name: str) -> Commit:
        """Return the commit that a revision's name stands for.

        Raises:
            UsageError: there is no such commit.
        """
        sha = self._try("rev-parse", "--verify", f"{name}^{{commit}}")
        if not sha or name.startswith("-"):
            raise UsageError(f"{self.root} has no revision {name!r} — {FETCH}")
        label = self._git("rev-parse", "--short=7", sha)
        return Commit(
            asked=name, sha=sha, label=label, subject=self._git("log", "-1", "--format=%s", sha)
        )

    def between(self, good: Commit, bad: Commit) -> tuple[Commit, ...]:
        """Return what came after ``good`` up to ``bad``, oldest first, along first parents.

        Raises:
            UsageError: ``bad`` does not come after ``good``.
        """
        known = self._try("merge-base", "--is-ancestor", good.sha, bad.sha)
        if known is None or good.sha == bad.sha:
            raise UsageError(
                f"{bad.asked} ({bad.label}) does not come after {good.asked} ({good.label}) — give "
                f"the older, good revision with --good; {FETCH}"
            )
        listed = self._git("rev-list", "--reverse", "--first-parent", f"{good.sha}..{bad.sha}")
        return tuple(self.commit(sha) for sha in listed.split())

    def changed(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Return the files below these paths that differ from HEAD, new ones included."""
        listed = self._git("status", "--porcelain", "-z", "--untracked-files=all", "--", *paths)
        return tuple(entry[3:] for entry in listed.split("\0") if entry[2:3] == " ")

    @contextlib.contextmanager
    def tree(self, commit: Commit) -> Iterator[Path]:
        """Give a clean work tree of a commit for a while; it is always removed again.

        Raises:
            UsageError: git cannot make one.
        """
        folder = Path(tempfile.mkdtemp(prefix="gfbench-revision-"))
        tree = folder / "tree"
        try:
            self._git("worktree", "add", "--quiet", "--detach", str(tree), commit.sha)
            yield tree
        finally:
            self._try("worktree", "remove", "--force", str(tree))
            shutil.rmtree(folder, ignore_errors=True)
            self._try("worktree", "prune")

    def _git(self, *arguments: str) -> str:
        done = _run(self.root, *arguments)
        if done.returncode != 0:
            raise UsageError(f"git {arguments[0]} in {self.root}: {_last_line(done.stderr)}")
        return done.stdout.rstrip("\n")

    def _try(self, *arguments: str) -> str | None:
        """Return what git says, None where it fails."""
        done = _run(self.root, *arguments)
        return done.stdout.strip() if done.returncode == 0 else None


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if name not in INHERITED}
    return subprocess.run(
        ["git", "-C", str(folder), *OPTIONS, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**environment, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        timeout=DEADLINE_S,
        check=False,
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "no reason given"
