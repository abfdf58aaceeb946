"""Real sshd instances on loopback, as boards for the tests.

    @pytest.fixture
    def home(tmp_path, monkeypatch):
        home = ClientHome(tmp_path / "home")  # ~/.ssh of the controller: id_ed25519, known_hosts
        home.use(monkeypatch)  # HOME=..., no agent
        return home  # for a subprocess: env={**os.environ, **home.environ}

    def test_something(home, tmp_path):
        with running_sshd(tmp_path / "board", home) as board:
            home.trust(board)  # a line in known_hosts; without it the host is unknown
            board.host, board.port, board.user  # what the inventory needs
            home.config.write_text("Host nano\\n ...")  # an ssh_config, if the test wants one
            board.drop_sessions()  # cut every connection; the listener goes on
            board.kill()  # listener and connections; what runs detached lives on
            board.start()  # again, on the same port
            board.freeze(), board.thaw()  # a dead network: connections stay, nothing answers
            board.rotate_host_key()  # a board that was flashed anew
            board.log()  # what sshd said

Every sshd runs as the current user, takes only the keys of the homes it was given, and is gone,
with its connections, at the end of the `with`. What a command started detached is the test's own to
end. Commands get the real user's HOME unless `environment={"HOME": ...}` says otherwise (SFTP still
starts at the real one). Jump hosts work: every sshd forwards. If sshd is missing the test is
skipped with the command that installs it; where CI is set it fails.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_SSHD = "/usr/sbin/sshd"
_START_S = 20.0


def require_sshd() -> None:
    """Skip the test, or fail it where CI is set, if there is no OpenSSH server."""
    if os.access(_SSHD, os.X_OK) and shutil.which("ssh-keygen"):
        return
    missing = "no sshd: `sudo apt-get install -y openssh-server openssh-client`"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def require_program(name: str) -> str:
    """Return the path of a program of scripts/system-packages.sh; skip, or fail in CI, without."""
    path = shutil.which(name)
    if path is not None:
        return path
    missing = f"no {name}: `sudo apt-get install -y {name}`"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def sftp_server() -> str:
    """Return the path of the SFTP server that sshd starts through the login shell."""
    for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server"):
        if os.access(path, os.X_OK):
            return path
    pytest.skip("no sftp-server of OpenSSH where Debian and Fedora have it")


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def generate_key(path: Path, key_type: str = "ed25519", passphrase: str = "") -> Path:
    """Write a key pair and return the private one."""
    for old in (path, path.with_name(f"{path.name}.pub")):
        old.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", key_type, "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)
    return path


class ClientHome:
    """A home folder for the controller, with a key, an empty known_hosts and no ssh_config."""

    def __init__(self, folder: Path) -> None:
        require_sshd()
        self.folder = folder
        self.ssh = folder / ".ssh"
        self.ssh.mkdir(parents=True, mode=0o700)
        self.key = generate_key(self.ssh / "id_ed25519")
        self.known_hosts = self.ssh / "known_hosts"
        self.config = self.ssh / "config"

    @property
    def public_key(self) -> str:
        return self.key.with_suffix(".pub").read_text()

    @property
    def environ(self) -> dict[str, str]:
        return {"HOME": str(self.folder), "SSH_AUTH_SOCK": ""}

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this the home of the process."""
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)

    def trust(self, *servers: Sshd) -> None:
        """Add the servers' host keys to known_hosts."""
        with self.known_hosts.open("a") as file:
            file.writelines(line for server in servers for line in server.known_hosts_lines())


class Sshd:
    """One sshd; see the module's docstring."""

    def __init__(
        self,
        folder: Path,
        homes: Sequence[ClientHome],
        *,
        host_key_types: Sequence[str] = ("ed25519",),
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        sftp: str | None = "internal-sftp",
    ) -> None:
        """`options` are lines of sshd_config that go before the others, and so count."""
        require_sshd()
        folder.mkdir(parents=True)
        self.folder = folder
        self.host = "127.0.0.1"
        self.port = free_port()
        self.user = getpass.getuser()
        self.host_key_types = tuple(host_key_types)
        self._environment = dict(environment or {})
        self._options = tuple(options)
        self._sftp = sftp
        self._process: subprocess.Popen[bytes] | None = None
        self._has_run = False
        self._frozen: list[int] = []
        (folder / "authorized_keys").write_text("".join(home.public_key for home in homes))
        self.rotate_host_key()

    @property
    def name(self) -> str:
        """Return [host]:port, as known_hosts has it."""
        return f"[{self.host}]:{self.port}"

    def host_key(self, key_type: str) -> Path:
        return self.folder / f"ssh_host_{key_type}_key"

    def fingerprint(self, key_type: str = "ed25519") -> str:
        """Return the SHA256 fingerprint of a host key, as ssh-keygen says it."""
        public = self.host_key(key_type).with_name(f"{self.host_key(key_type).name}.pub")
        listed = subprocess.run(
            ["ssh-keygen", "-l", "-f", str(public)], check=True, capture_output=True, text=True
        )
        return listed.stdout.split()[1]

    def known_hosts_lines(self) -> list[str]:
        publics = (self.folder / f"ssh_host_{kind}_key.pub" for kind in self.host_key_types)
        return [" ".join([self.name, *path.read_text().split()[:2]]) + "\n" for path in publics]

    def start(self) -> None:
        """Start the listener, and wait until it listens; the second time on the same port."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
        for _ in range(5):
            said = self._launch()
            if self._process is not None:
                return
            if "Address already in use" not in said or self._has_run:
                break
            self.port = free_port()  # another test has taken it in the meantime
        raise RuntimeError(f"sshd does not start:\n{said}")

    def _launch(self) -> str:
        """Start sshd and return what it said; `_process` stays None if it does not listen."""
        config, log = self.folder / "sshd_config", self.folder / "sshd.log"
        config.write_text("\n".join(self._config()) + "\n")
        log.touch()
        before = log.stat().st_size
        with log.open("ab") as file:
            command = [_SSHD, "-D", "-e", "-f", str(config)]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        deadline = time.monotonic() + _START_S
        said = ""
        while "Server listening" not in said:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                return log.read_text(errors="replace")[before:]
            time.sleep(0.02)
            said = log.read_bytes()[before:].decode(errors="replace")
        self._process, self._has_run = process, True
        return said

    def kill(self) -> None:
        """Kill the listener and all connections at once, as a board that loses its power."""
        sessions = self._sessions()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        _signal(sessions, signal.SIGKILL)
        self._process = None

    def drop_sessions(self) -> None:
        """Kill all connections; new ones can be made."""
        _signal(self._sessions(), signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the listener and all connections, without a word to the other side."""
        assert self._process is not None
        self._frozen = [self._process.pid, *self._sessions()]
        _signal(self._frozen, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        _signal(self._frozen, signal.SIGCONT)
        self._frozen = []

    def rotate_host_key(self) -> None:
        """Generate new host keys; a running listener is started again with them."""
        running = self._process is not None
        if running:
            self.kill()
        for key_type in self.host_key_types:
            generate_key(self.host_key(key_type), key_type)
        if running:
            self.start()

    def log(self) -> str:
        """Return what sshd has written so far."""
        return (self.folder / "sshd.log").read_text(errors="replace")

    def _config(self) -> Iterator[str]:
        yield from self._options
        yield f"Port {self.port}"
        yield f"ListenAddress {self.host}"
        for key_type in self.host_key_types:
            yield f"HostKey {self.host_key(key_type)}"
        yield f"AuthorizedKeysFile {self.folder / 'authorized_keys'}"
        yield f"PidFile {self.folder / 'sshd.pid'}"
        yield "AuthenticationMethods publickey"
        yield "PermitRootLogin prohibit-password"
        yield "PasswordAuthentication no"
        yield "KbdInteractiveAuthentication no"
        yield "UsePAM no"
        yield "StrictModes no"  # a test's folder may lie below one that others can write to
        yield "UseDNS no"
        yield "AllowTcpForwarding yes"
        yield "MaxStartups 100"
        yield "LogLevel VERBOSE"
        if self._sftp is not None:
            yield f"Subsystem sftp {self._sftp}"
        if self._environment:
            yield "SetEnv " + " ".join(
                f'{key}="{value}"' for key, value in self._environment.items()
            )

    def _sessions(self) -> list[int]:
        """Return the sshd processes below the listener, the children before their parents."""
        if self._process is None:
            return []
        parents = _sshd_parents()
        found: list[int] = []
        level = [self._process.pid]
        while level:
            level = [pid for pid, parent in parents.items() if parent in level]
            found = [*level, *found]
        return found


@contextmanager
def running_sshd(
    folder: Path,
    *homes: ClientHome,
    host_key_types: Sequence[str] = ("ed25519",),
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    sftp: str | None = "internal-sftp",
) -> Iterator[Sshd]:
    """Run an sshd in a new folder that lets these homes' keys in."""
    server = Sshd(
        folder,
        homes,
        host_key_types=host_key_types,
        environment=environment,
        options=options,
        sftp=sftp,
    )
    server.start()
    try:
        yield server
    finally:
        server.thaw()
        server.kill()


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _sshd_parents() -> dict[int, int]:
    """Return pid -> parent of every process called sshd (sshd-session since OpenSSH 9.8)."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            if name.startswith("sshd"):
                parents[int(stat.parent.name)] = int(rest.split()[1])
    return parents
