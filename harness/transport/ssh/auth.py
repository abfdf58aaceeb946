"""Authentication by keys and agent only, with an account of what was tried."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import AgentSSH
from paramiko.auth_strategy import AuthFailure, AuthSource, AuthStrategy
from paramiko.config import SSHConfig
from paramiko.pkey import PublicBlob

from harness.transport.ssh.settings import SshSettings
from harness.transport.ssh.user_certificates import load_certificates

_USUAL_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


class AgentKey(paramiko.AgentKey):
    """A key of the agent that may turn out not to sign.

    paramiko signs in the thread that reads the connection, which an exception there would end. An
    empty signature is refused by the server like a wrong key, and the next key has its turn.
    """

    def __init__(self, agent: AgentSSH, blob: bytes, comment: str) -> None:
        """Keep the key as the agent has it: of a certificate paramiko would sign for the key."""
        super().__init__(agent, blob, comment)
        self.public_blob: PublicBlob | None = None  # type: ignore[assignment]  # None in the stubs
        self.inner_key = None
        self.refusal = ""

    def sign_ssh_data(self, data: Any, algorithm: str | None = None) -> Any:
        """Return the signature, or an empty one if the agent gives none."""
        try:
            return bytes(super().sign_ssh_data(data, algorithm))
        except (paramiko.SSHException, OSError) as error:
            self.refusal = f"the agent does not sign with it: {error}"
            return b""


class KeySource(AuthSource):
    """One key, loaded when its turn comes, so that a bad one does not stop the others."""

    def __init__(
        self, user: str, label: str, load: Callable[[], paramiko.PKey], *, file: str = ""
    ) -> None:
        """Keep how to load the key, how to speak of it, and the file that it is in, if in one."""
        super().__init__(username=user)
        self.label = label
        self.file = file
        self._load = load

    def __repr__(self) -> str:
        """Return the label."""
        return self.label

    def authenticate(self, transport: paramiko.Transport) -> list[str]:
        """Offer the key; more than a key asked for is a failure too."""
        key = self._load()
        _refuse_unknown_algorithm(transport, key)
        try:
            also = transport.auth_publickey(self.username, key)
        except paramiko.AuthenticationException:
            if isinstance(key, AgentKey) and key.refusal:
                raise paramiko.AuthenticationException(key.refusal) from None
            raise
        if not transport.is_authenticated():
            wanted = ", ".join(also)
            raise paramiko.AuthenticationException(f"accepted, but the server wants {wanted} too")
        return also


class KeysOnly(AuthStrategy):
    """The named keys, then the agent's, then the usual files if none was named; no password.

    A key is offered with each certificate that there is of it, and then for itself, as ssh does.
    """

    def __init__(self, *, settings: SshSettings, named: Sequence[str]) -> None:
        """Take what ssh_config says, and the inventory's key files, which must exist."""
        super().__init__(ssh_config=SSHConfig())
        self._settings = settings
        usual = [os.path.expanduser(path) for path in _USUAL_KEYS]
        listed = settings.identity_files
        # Where ssh_config names no key, ssh -G lists all the usual ones.
        configured = [] if set(usual) <= set(listed) else listed
        self._named = [*named, *(path for path in configured if Path(path).is_file())]
        self._usual = [] if self._named else [path for path in usual if Path(path).is_file()]
        beside = [f"{os.path.expanduser(path)}-cert.pub" for path in [*self._named, *self._usual]]
        self._certificates = load_certificates([*settings.certificate_files, *beside])

    def get_sources(self) -> Iterator[AuthSource]:
        """Yield the keys in the order to try them."""
        for path in self._named:
            yield from self._from_file(path)
        yield from self._from_agent()
        for path in self._usual:
            yield from self._from_file(path)

    def _from_file(self, path: str) -> Iterator[KeySource]:
        file = os.path.expanduser(path)
        public = _public_halves([path])
        for certificate in self._certificates:
            if certificate.path == f"{file}-cert.pub" or certificate.key in public:
                load = partial(_load, file, certificate.blob)
                label = f"{path} with {certificate.path}"
                yield KeySource(self._settings.user, label, load, file=path)
        yield KeySource(self._settings.user, path, partial(_load, file, None), file=path)

    def _from_agent(self) -> Iterator[KeySource]:
        """Yield the agent's keys, FIDO keys last: they wait to be touched."""
        if self._settings.agent_socket is None:
            return
        try:
            agent = _Agent(self._settings.agent_socket)
        except Exception as error:  # whatever it answers, the other keys have their turn
            yield KeySource(self._settings.user, "the agent", partial(_fail, error))
            return
        wanted = _public_halves([*self._named, *self._usual])
        try:
            for key in sorted(agent.keys(), key=lambda key: key.get_name().startswith("sk-")):
                if not self._settings.identities_only or key.get_base64() in wanted:
                    yield from self._from_agents_key(key)
        finally:
            agent.close()

    def _from_agents_key(self, key: AgentKey) -> Iterator[KeySource]:
        label = f"the agent's {key.get_name()} {key.fingerprint}"
        for certificate in self._certificates:
            if certificate.key == key.get_base64():
                certified = AgentKey(key.agent, key.blob, key.comment)
                certified.public_blob = certificate.blob
                load = partial(_same, certified)
                yield KeySource(self._settings.user, f"{label} with {certificate.path}", load)
        yield KeySource(self._settings.user, label, partial(_same, key))


class _Agent(AgentSSH):
    """The agent at a socket, which need not be the one of the environment."""

    def __init__(self, path: str) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)
        self._connect(connection)  # type: ignore[attr-defined]  # not in the stubs

    def keys(self) -> list[AgentKey]:
        return [AgentKey(self, key.blob, key.comment) for key in self.get_keys()]

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]  # not in the stubs


def _refuse_unknown_algorithm(transport: paramiko.Transport, key: paramiko.PKey) -> None:
    """Raise where paramiko would, in the thread that reads the connection, and so end it."""
    extensions: dict[str, bytes] = getattr(transport, "server_extensions", {})
    accepted = extensions.get("server-sig-algs", b"").decode("ascii", "replace")
    ours = [name for name in transport.preferred_pubkeys if name.startswith("rsa-")]
    if "rsa" in key.get_name() and accepted and not set(ours) & set(accepted.split(",")):
        raise paramiko.AuthenticationException("the server takes no signatures of RSA keys")


def account(failure: AuthFailure) -> str:
    """Say which keys were tried and what became of each."""
    tried = [f"{source!r} ({_fate(result)})" for source, result in failure.result]
    if not tried:
        return "no key at all: found none in the settings, ~/.ssh or an agent"
    return ", ".join(tried)


def locked_key(failure: AuthFailure) -> str | None:
    """Return the first key file that asks for a passphrase, or None."""
    for source, result in failure.result:
        if _is_locked(result):
            return source.file if isinstance(source, KeySource) else repr(source)
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


def _fail(error: Exception) -> paramiko.PKey:
    raise error


def _load(path: str, certificate: PublicBlob | None) -> paramiko.PKey:
    # With a slash at the end paramiko looks for no certificate beside it, which may be broken.
    key = paramiko.PKey.from_path(f"{path}/")
    key.public_blob = certificate
    return key


def _same(key: paramiko.PKey) -> paramiko.PKey:
    return key


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
