"""Authentication by keys and agent only, with an account of what was tried."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import paramiko
from paramiko.auth_strategy import AuthFailure, AuthSource, AuthStrategy
from paramiko.config import SSHConfig

_DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


class KeySource(AuthSource):
    """One key, loaded when its turn comes, so that a bad one does not stop the others."""

    def __init__(self, user: str, label: str, load: Callable[[], paramiko.PKey]) -> None:
        """Keep how to load the key and how to speak of it."""
        super().__init__(username=user)
        self.label = label
        self._load = load

    def __repr__(self) -> str:
        """Return the label."""
        return self.label

    def authenticate(self, transport: paramiko.Transport) -> list[str]:
        """Offer the key; more than a key asked for is a failure too."""
        also = transport.auth_publickey(self.username, self._load())
        if not transport.is_authenticated():
            wanted = ", ".join(also)
            raise paramiko.AuthenticationException(f"accepted, but the server wants {wanted} too")
        return also


class KeysOnly(AuthStrategy):
    """The named keys, then the agent's, then the usual files if none was named; no password."""

    def __init__(
        self, *, user: str, named: Sequence[str], settings: Mapping[str, str | Sequence[str]]
    ) -> None:
        """Take the inventory's key files (they must exist) and the host's ssh_config."""
        super().__init__(ssh_config=SSHConfig())
        self._user = user
        self._named = named
        self._configured = [path for path in settings.get("identityfile", ()) if _is_file(path)]
        self._only_named = settings.get("identitiesonly", "no") == "yes"

    def get_sources(self) -> Iterator[AuthSource]:
        """Yield the keys in the order to try them."""
        named = [*self._named, *self._configured]
        yield from map(self._from_file, named)
        yield from self._from_agent(named)
        if not named and not self._only_named:
            yield from (self._from_file(path) for path in _DEFAULT_KEYS if _is_file(path))

    def _from_file(self, path: str) -> KeySource:
        load = partial(paramiko.PKey.from_path, os.path.expanduser(path))
        return KeySource(self._user, path, load)

    def _from_agent(self, named: Sequence[str]) -> Iterator[KeySource]:
        agent = paramiko.Agent()
        try:
            for key in agent.get_keys():
                if not self._only_named or key.get_base64() in _public_halves(named):
                    label = f"the agent's {key.get_name()} {key.fingerprint}"
                    yield KeySource(self._user, label, partial(_same, key))
        finally:
            agent.close()


def account(failure: AuthFailure) -> str:
    """Say which keys were tried and what became of each."""
    tried = [f"{source!r} ({_fate(result)})" for source, result in failure.result]
    return (
        ", ".join(tried)
        if tried
        else "no key at all: found none in the settings, ~/.ssh or an agent"
    )


def locked_key(failure: AuthFailure) -> str | None:
    """Return the first key file that asks for a passphrase, or None."""
    for source, result in failure.result:
        if _is_locked(result):
            return repr(source)
    return None


def _fate(result: object) -> str:
    if _is_locked(result):
        return "locked by a passphrase"
    if isinstance(result, paramiko.BadAuthenticationType):
        return "the server takes no keys, only " + ", ".join(result.allowed_types)
    if isinstance(result, paramiko.AuthenticationException):
        text = str(result).rstrip(".")
        return "refused" if text == "Authentication failed" else text
    if isinstance(result, OSError):
        return (result.strerror or str(result)).lower()
    if isinstance(result, ValueError):
        return "not a private key"
    return str(result)


def _is_locked(result: object) -> bool:
    # cryptography says TypeError of a key that is encrypted when it is given no password.
    return isinstance(result, (TypeError, paramiko.PasswordRequiredException))


def _same(key: paramiko.PKey) -> paramiko.PKey:
    return key


def _is_file(path: str) -> bool:
    return Path(path).expanduser().is_file()


def _public_halves(paths: Sequence[str]) -> set[str]:
    """Return the base64 of the .pub files beside the key files."""
    halves = set()
    for path in paths:
        public = Path(path + ".pub").expanduser()
        fields = (
            public.read_text(encoding="utf-8", errors="replace").split() if public.is_file() else []
        )
        halves.update(fields[1:2])
    return halves
