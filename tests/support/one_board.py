"""A board for a whole file of tests, and the real `ssh` beside it as the reference.

@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with one_board(tmp_path_factory, options=["..."]) as lab:
        yield lab

@pytest.fixture(autouse=True)
def at_home(lab, monkeypatch):
    lab.at_home(monkeypatch)  # HOME, no ssh_config, the board's key in known_hosts
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from sshd import ClientHome, Sshd, running_sshd

from harness.transport.ssh.fabric import FabricTransport
from targets.inventory import Target

_SSH = shutil.which("ssh") or "ssh"  # looked up before a test takes it off the PATH


@dataclass
class Lab:
    """The controller's home and the board."""

    home: ClientHome
    board: Sshd

    def at_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be the controller, as it was at the start."""
        self.home.use(monkeypatch)
        self.home.config.unlink(missing_ok=True)
        self.home.known_hosts.write_text("".join(self.board.known_hosts_lines()))

    @property
    def nano(self) -> Target:
        """The board's entry of the inventory."""
        return Target(name="nano", host=self.board.host, port=self.board.port, user=self.board.user)

    def ssh(self, *arguments: str, environment: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the real ssh with the same files, which it would look for in the account's home."""
        config = str(self.home.config) if self.home.config.exists() else "none"
        options = ["-F", config, "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
        options += ["-o", f"UserKnownHostsFile={self.home.known_hosts}"]
        if not environment:
            options += ["-i", str(self.home.key)]
        return subprocess.run(
            [_SSH, *options, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **({} if environment else self.home.environ)},
        )

    def ssh_reaches_the_board(self, *options: str) -> bool:
        """Return whether the real ssh runs a command on the board."""
        port = ["-p", str(self.board.port)]
        return self.ssh(*port, *options, self.board.host, "true").returncode == 0


def says_hello(target: Target) -> bool:
    """Connect to the target and return whether a command answers."""
    with FabricTransport(target, None) as transport:
        return transport.run(["echo", "hello"], deadline_s=20).stdout.endswith(b"hello\n")


@contextmanager
def one_board(
    factory: pytest.TempPathFactory,
    *,
    options: Sequence[str] = (),
    sftp: str | None = "internal-sftp",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Lab]:
    """Run an sshd with these lines in its sshd_config, for a controller with a key of its own."""
    folder = factory.mktemp("lab")
    home = ClientHome(folder / "home")
    with running_sshd(
        folder / "board", home, options=options, sftp=sftp, environment=environment
    ) as board:
        yield Lab(home=home, board=board)
