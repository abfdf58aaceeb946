"""The system's ssh program, asked by `ssh -G` what its configuration says of a machine."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.errors import UsageError
from harness.transport.ssh import ssh_config_files
from harness.transport.ssh.ssh_config_files import Line

_DEADLINE_S = 10.0  # for all commands of `Match exec` together
_NOISE = ("terminating, ", "Warning: ")


@dataclass(frozen=True, kw_only=True)
class Program:
    """An OpenSSH client."""

    path: str
    version: str  # as it says itself: OpenSSH_9.2p1


def find() -> Program | None:
    """Return the ssh program of this machine, or None if there is none or another maker's."""
    path = shutil.which("ssh")
    version = _version(path) if path is not None else ""
    return Program(path=path or "", version=version) if version else None


def read(
    program: Program, host: str, *, user: str | None, port: int | None
) -> Mapping[str, tuple[str, ...]]:
    """Return the options that hold for a host, as ssh would use them.

    Raises:
        UsageError: ssh refuses its configuration, or has not read it in time.
    """
    asked = ["-T", "-G"]
    asked += ["-p", str(port)] if port else []
    asked += ["-l", user] if user else []
    with _home_of_the_environment() as home:
        said = _ask([program.path, *home.options, *asked, "--", host], home)
    options: dict[str, tuple[str, ...]] = {}
    for line in said.splitlines():
        key, _, value = line.partition(" ")
        values = home.known_hosts(value) if key in ssh_config_files.FILE_LISTS else (value,)
        options[key] = (*options.get(key, ()), *values)
    return options


@dataclass(frozen=True, kw_only=True)
class _Home:
    """The home whose .ssh counts: $HOME, where ssh itself looks in the account's home folder.

    The two differ in containers and under sudo, and gfbench's `~` is the shell's. There ssh is
    given the files of $HOME, their Includes written out, as one file.
    """

    options: tuple[str, ...] = ()
    given: Path | None = None
    lines: Sequence[Line] = ()

    def known_hosts(self, value: str) -> tuple[str, ...]:
        """Cut a list of files, which ssh prints expanded and without quotes, and may not expand."""
        files = [file.replace("%", "%%") for file in re.split(r" (?=[/~])", value)]
        if self.given is None:
            return tuple(files)
        return tuple(_tilde_again(file) for file in files)

    def placed(self, text: str) -> str:
        """Name the file and line that the user wrote in place of those that ssh was given."""
        if self.given is None:
            return text

        def place(match: re.Match[str]) -> str:
            line = self.lines[min(int(match[1]), len(self.lines)) - 1]
            return f"{line.path}: line {line.number}"

        return re.sub(rf"{re.escape(str(self.given))}:? line (\d+)", place, text)


@contextlib.contextmanager
def _home_of_the_environment() -> Iterator[_Home]:
    if os.path.realpath(os.path.expanduser("~")) == os.path.realpath(_account_home()):
        yield _Home()
        return
    lines = []
    for path in ssh_config_files.files():
        # What stands before the first Host of a file applies to every host.
        lines += [Line(path=path, number=0, text="Host *"), *ssh_config_files.flattened(path)]
    with tempfile.TemporaryDirectory(prefix="gfbench-ssh-") as folder:
        given = Path(folder, "config")
        given.write_text("".join(f"{line.text}\n" for line in lines), encoding="utf-8")
        yield _Home(options=("-F", str(given)), given=given, lines=lines)


def _account_home() -> str:
    return pwd.getpwuid(os.getuid()).pw_dir


def _tilde_again(file: str) -> str:
    """Undo ssh's expansion of ~ to the account's home folder."""
    home, account = f"{os.path.expanduser('~')}/", f"{_account_home()}/"
    if file.startswith(account) and not file.startswith(home):
        return "~/" + file.removeprefix(account)
    return file


def _ask(command: Sequence[str], home: _Home) -> str:
    """Run ssh and return what it printed; past the deadline end it with all that it started."""
    shown = f"ssh -G {command[-1]}"
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        printed, complained = process.communicate(timeout=_DEADLINE_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        remedy = "see which `Match exec` of ssh_config waits, or whether a name server does"
        raise UsageError(f"`{shown}` has not ended within {_DEADLINE_S:g} s — {remedy}") from None
    if process.returncode != 0:
        told = [line for line in complained.splitlines() if not any(n in line for n in _NOISE)]
        why = home.placed("; ".join(told)) or f"it ended with status {process.returncode}"
        raise UsageError(f"ssh refuses its configuration: {why} — correct it, then try `{shown}`")
    return printed


@lru_cache
def _version(path: str) -> str:
    """Return the version of an OpenSSH client, "" for any other program."""
    try:
        asked = subprocess.run(
            [path, "-V"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_DEADLINE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    first = asked.stderr.decode("utf-8", "replace").split()[:1]
    version = "".join(first).rstrip(",")
    return version if version.startswith("OpenSSH") else ""
