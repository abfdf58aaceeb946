"""What the user's ssh_config says of a machine, read by ssh itself where there is one.

No other program reads ssh_config as OpenSSH does, so `ssh -G` is asked for what holds. Where there
is no ssh program, paramiko's parser reads the files, and what it would read differently is refused.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import UsageError
from harness.transport.ssh import openssh, ssh_config_files
from targets.inventory import Target
from targets.inventory.addresses import host_problem, user_problem

# As ssh_config has them: the name of an option in small letters, and every value it was given.
Options = Mapping[str, tuple[str, ...]]

_SSH_PORT = "22"
_USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_NOT_FILES = ("none", "/dev/null")


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """Where and how to log in to one machine; the inventory's own settings are in it already."""

    host: str
    port: int
    user: str
    identity_files: tuple[str, ...]
    certificate_files: tuple[str, ...]
    identities_only: bool
    agent_socket: str | None  # None: there is no agent to ask
    proxy_jump: tuple[str, ...]  # addresses, the nearest first
    proxy_command: str | None
    host_key_alias: str | None
    user_known_hosts: tuple[Path, ...]  # the first one is where a new key is recorded
    global_known_hosts: tuple[Path, ...]  # read and never written
    revoked_host_keys: tuple[Path, ...]


def reader() -> str:
    """Say which program reads ssh_config."""
    program = openssh.find()
    if program is not None:
        return f"read by ssh -G ({program.version})"
    return "read by paramiko: no ssh program here; Match blocks it does not know are refused"


def read_settings(target: Target) -> SshSettings:
    """Return what holds for the target's host.

    Raises:
        UsageError: ssh_config cannot be read, or a host or user is one that ssh refuses.
    """
    given = target.host or ""
    _refuse(target, host_problem(given))
    _refuse(target, user_problem(target.user) if target.user else "")
    program = openssh.find()
    if program is not None:
        options = openssh.read(program, given, user=target.user, port=target.port)
    else:
        options = ssh_config_files.read(given, user=target.user, port=target.port)
    settings = _settings(target, options)
    _refuse(target, host_problem(settings.host) or user_problem(settings.user))
    if _one(options, "proxyusefdpass", "no") == "yes" and settings.proxy_command:
        remedy = "let the ProxyCommand itself carry the bytes, or use ProxyJump"
        raise UsageError(f"{target.name}: gfbench has no ProxyUseFdpass — {remedy}")
    return settings


def _refuse(target: Target, problem: str) -> None:
    if problem:
        remedy = "correct it in the inventory, in ssh_config or on the command line"
        raise UsageError(f"{target.name}: {problem} — {remedy}")


def _settings(target: Target, options: Options) -> SshSettings:
    given = target.host or ""
    host = _one(options, "hostname", given)
    user = target.user or _one(options, "user", getpass.getuser())
    port = target.port or int(_one(options, "port", _SSH_PORT))
    alias = _one(options, "hostkeyalias", "") or None
    tokens = _tokens(given=given, host=host, user=user, port=port, alias=alias)
    path = partial(_path, tokens=tokens)
    command = _one(options, "proxycommand", "none")
    jumps = _one(options, "proxyjump", "none")
    return SshSettings(
        host=host,
        port=port,
        user=user,
        identity_files=tuple(
            path(file) for file in options.get("identityfile", ()) if file.lower() != "none"
        ),
        certificate_files=tuple(path(file) for file in options.get("certificatefile", ())),
        identities_only=_one(options, "identitiesonly", "no") == "yes",
        agent_socket=_agent_socket(_one(options, "identityagent", "SSH_AUTH_SOCK"), path),
        proxy_jump=() if jumps.lower() == "none" else tuple(_expand(jumps, tokens).split(",")),
        proxy_command=None if command.lower() == "none" else _expand(command, tokens),
        host_key_alias=alias,
        user_known_hosts=_files(options.get("userknownhostsfile", _USER_KNOWN_HOSTS), path),
        global_known_hosts=_files(options.get("globalknownhostsfile", _GLOBAL_KNOWN_HOSTS), path),
        revoked_host_keys=_files(options.get("revokedhostkeys", ()), path),
    )


def _tokens(*, given: str, host: str, user: str, port: int, alias: str | None) -> Mapping[str, str]:
    """Return the values of %h and the like (ssh_config(5), TOKENS)."""
    machine = socket.gethostname()
    return {
        "%": "%",
        "d": os.path.expanduser("~"),
        "h": host,
        "i": str(os.getuid()),
        "k": alias or given,
        "L": machine.partition(".")[0],
        "l": machine,
        "n": given,
        "p": str(port),
        "r": user,
        "u": getpass.getuser(),
    }


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub(r"%(.)", lambda token: tokens.get(token[1], token[0]), text)


def _path(text: str, tokens: Mapping[str, str]) -> str:
    """Return a file's path with tokens, ${VARIABLES} and ~ expanded."""

    def value_of(variable: re.Match[str]) -> str:
        return os.environ.get(variable[1], variable[0])

    return os.path.expanduser(re.sub(r"\$\{(\w+)\}", value_of, _expand(text, tokens)))


def _files(texts: Sequence[str], path: Callable[[str], str]) -> tuple[Path, ...]:
    return tuple(Path(path(text)) for text in texts if text.lower() not in _NOT_FILES)


def _agent_socket(value: str, path: Callable[[str], str]) -> str | None:
    if value.lower() == "none":
        return None
    if value == "SSH_AUTH_SOCK":
        return os.environ.get(value) or None
    if re.fullmatch(r"\$\w+", value):
        return os.environ.get(value[1:]) or None
    return path(value)


def _one(options: Options, key: str, default: str) -> str:
    """Return an option's only value."""
    values = options.get(key, ())
    return values[0] if values else default
