"""Real git repositories for tests: a project with ``workloads/``, or one with a kernel file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import workloads

IDENTITY = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org")

ANOTHER_BLOCK = "from workloads import block"
# By torch, as often as COST says: what is planted is proportionate to the work.
KERNEL = '''
"""A kernel whose cost is planted: the passes of kernel torch, COST times."""

from workloads.kernels.torch_ops import operators as torch_ops

VERSION = "{version}"
COST = {cost}


def available(device, dtype):
    return None


def save(x, weight, geometry, need_x, need_w):
    return torch_ops.save(x, weight, geometry, need_x, need_w)


def gradients(grad_output, x_saved, w_saved, geometry, needs_input_grad):
    for _ in range(COST):
        found = torch_ops.gradients(grad_output, x_saved, w_saved, geometry, needs_input_grad)
    return found
'''


@dataclass
class GitRepository:
    """A repository below a test's own folder."""

    root: Path

    def __post_init__(self) -> None:
        """Make it."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """Run git in it and return what it says."""
        clean = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(
            ["git", "-C", str(self.root), *IDENTITY, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**clean, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        ).stdout.strip()

    def commit(self, subject: str, files: Mapping[str, str] | None = None) -> str:
        """Write files, commit everything, and return the commit."""
        for name, text in (files or {}).items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that a file has exactly once."""
        text = (self.root / name).read_text()
        assert text.count(old) == 1, f"{name} has it {text.count(old)} times"
        (self.root / name).write_text(text.replace(old, new))


def project(root: Path) -> GitRepository:
    """Return a repository with a copy of our workloads and one commit."""
    repository = GitRepository(root)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(Path(workloads.__file__).parent, root / "workloads", ignore=ignored)
    repository.commit("Start")
    return repository


def former_project(root: Path) -> GitRepository:
    """Return a project like ours, but with ``messages`` and ``block`` where they once were."""
    repository = project(root)
    folder = root / "workloads"
    (folder / "spec" / "messages.py").rename(folder / "messages.py")
    (folder / "measure" / "block.py").rename(folder / "block.py")
    for path in folder.rglob("*.py"):
        text = path.read_text().replace("workloads.spec.messages", "workloads.messages")
        text = text.replace("workloads.measure.block", "workloads.block")
        path.write_text(text.replace("from workloads.measure import block", ANOTHER_BLOCK))
    repository.commit("Side by side")
    return repository


def kernel(cost: float = 1, version: str = "1") -> str:
    """Return the text of a kernel file whose backward costs so many times that of torch."""
    return KERNEL.format(cost=cost, version=version)
