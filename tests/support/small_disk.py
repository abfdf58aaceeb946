"""A small real file system, in a mount namespace of its own: nothing of it is left on the machine.

with small_disk(tmp_path / "disk", "96k") as disk:
    disk.command(["gfbench", ...])  # a command line that sees the file system
    disk.path("results")            # the same place, as this process can read it
    disk.resize("8m")
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

HOLD = 'mount -t tmpfs -o size="$2" tmpfs "$1" && echo mounted && exec cat'


@dataclass(frozen=True, kw_only=True)
class SmallDisk:
    """A tmpfs at a folder that only the processes of one mount namespace see."""

    folder: Path
    holder: int  # the process that keeps the namespace

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs a program where the file system is."""
        here = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(self.folder.parent)]
        return ["nsenter", "-t", str(self.holder), "-m", *here, *argv]

    def path(self, name: str) -> Path:
        """Return a path of the file system that this process can read."""
        return Path(f"/proc/{self.holder}/root{self.folder}") / name

    def resize(self, size: str) -> None:
        """Give the file system another size."""
        mount = ["mount", "-o", f"remount,size={size}", str(self.folder)]
        subprocess.run(self.command(mount), check=True, timeout=20)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a file system of this size at a new folder; skip the test where that is not allowed."""
    if not all(map(shutil.which, ("unshare", "nsenter"))):
        pytest.skip("a mount namespace needs util-linux (unshare, nsenter)")
    folder.mkdir(parents=True)
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", HOLD, "sh", str(folder), size],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            _, said = holder.communicate(timeout=20)
            pytest.skip(f"a file system of its own needs root: {said.decode().strip()}")
        yield SmallDisk(folder=folder, holder=holder.pid)
    finally:
        holder.kill()
        holder.communicate()
