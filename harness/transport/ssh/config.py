"""The user's and the system's ssh_config, with Include, and the known_hosts files they name."""

from __future__ import annotations

import getpass
import glob
import io
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from paramiko.config import SSHConfig
from paramiko.ssh_exception import ConfigParseError

from harness.errors import UsageError

_INCLUDE = re.compile(r"\s*include[\s=]+(.+)", re.IGNORECASE)
_HEADER = re.compile(r"\s*(host|match)[\s=]", re.IGNORECASE)
_DEEPEST_INCLUDE = 16  # OpenSSH's own limit
_USER_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_NOT_FILES = ("none", "/dev/null")


def load_ssh_config() -> SSHConfig:
    """Return ~/.ssh/config, then /etc/ssh/ssh_config; as for `ssh`, the first value counts.

    Raises:
        UsageError: A file cannot be read or understood.
    """
    config = SSHConfig()
    for path in (Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")):
        try:
            # Parsed one by one: what stands before the first Host of a file applies to every host.
            config.parse(io.StringIO("\n".join(_lines(path, path.parent))))
        except (OSError, ConfigParseError) as error:
            remedy = f"see what `ssh -G localhost -F {path}` says about it"
            raise UsageError(f"{path}: {error} — {remedy}") from None
    return config


def user_known_hosts(settings: Mapping[str, str], tokens: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files of UserKnownHostsFile; the first one is where a new key is recorded.

    `tokens` are the values of %h and the like; %d, %i and %u are known here.
    """
    return _files(settings.get("userknownhostsfile", _USER_KNOWN_HOSTS), tokens)


def global_known_hosts(settings: Mapping[str, str], tokens: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files of GlobalKnownHostsFile, which are read and never written."""
    return _files(settings.get("globalknownhostsfile", _GLOBAL_KNOWN_HOSTS), tokens)


def _files(value: str, tokens: Mapping[str, str]) -> tuple[Path, ...]:
    words = shlex.split(value) if value.count('"') % 2 == 0 else value.replace('"', " ").split()
    names = [word for word in words if word.lower() not in _NOT_FILES]
    own = {"d": os.path.expanduser("~"), "i": str(os.getuid()), "u": getpass.getuser(), "%": "%"}
    values = {**own, **tokens}

    def value_of(token: re.Match[str]) -> str:
        return values.get(token[1], token[0])

    expanded = (os.path.expandvars(re.sub(r"%(.)", value_of, name)) for name in names)
    return tuple(Path(name).expanduser() for name in expanded)


def _lines(path: Path, folder: Path, depth: int = 0) -> Iterator[str]:
    """Yield the file's lines, and those of the files it includes, which paramiko does not read."""
    if depth > _DEEPEST_INCLUDE or not path.is_file():
        return
    header = "Host *"
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        include = _INCLUDE.fullmatch(line)
        if include is None:
            header = line if _HEADER.match(line) else header
            yield line
            continue
        for included in _included(include[1], folder):
            yield from _lines(included, folder, depth + 1)
        yield header  # the included file may have ended inside a Host of its own


def _included(patterns: str, folder: Path) -> Iterator[Path]:
    for pattern in shlex.split(patterns, comments=True):
        full = os.path.join(folder, os.path.expanduser(pattern))
        yield from (Path(name) for name in sorted(glob.glob(full)))
