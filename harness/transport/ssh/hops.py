"""The route to a target: its gateways and itself, each a Fabric connection that is not yet open."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import fabric
import paramiko
from paramiko.config import SSHConfig

from harness.errors import UsageError
from harness.transport.ssh import known_hosts
from harness.transport.ssh.auth import KeysOnly
from harness.transport.ssh.known_hosts import AUTHORITY, CERTIFICATE_SUFFIX, KnownKey
from harness.transport.ssh.settings import SshSettings, read_settings
from targets.inventory import Inventory, Target, gateway_target, target_at
from targets.inventory.addresses import NotAnAddress

_MOST_GATEWAYS = 8
# known_hosts calls an RSA key ssh-rsa, whichever signature it is used with.
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One machine of the route."""

    name: str  # what `gfbench trust -t` knows it by
    given: str  # its host as the inventory or ssh_config's ProxyJump has it
    settings: SshSettings
    connection: Any  # fabric.Connection; Fabric has no types
    key_names: tuple[str, ...]  # its names in known_hosts: host, or [host]:port and then host
    identity_files: tuple[str, ...]  # of the inventory
    known: tuple[KnownKey, ...]  # what the known_hosts files say of it

    @property
    def key_name(self) -> str:
        """Return the name under which a new key is recorded."""
        return self.key_names[0]

    @property
    def certified_name(self) -> str:
        """Return the name that a host certificate has to be for."""
        return self.settings.host_key_alias or self.settings.host.lower()

    @property
    def address(self) -> str:
        """Return host:port, for messages."""
        host = self.settings.host
        return f"[{host}]:{self.settings.port}" if ":" in host else f"{host}:{self.settings.port}"

    @property
    def user(self) -> str:
        """Return the user to log in as."""
        return self.settings.user


HostKeyCheck = Callable[[Hop, paramiko.PKey], None]
"""Raises unless the hop may be spoken to with this host key."""


class _Policy(paramiko.MissingHostKeyPolicy):
    """Judge every host key: the client, given no known keys of its own, asks each time."""

    def __init__(self, judge: Callable[[paramiko.PKey], None]) -> None:
        self._judge = judge

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        self._judge(key)


class _Transport(paramiko.Transport):
    """Asks for the kinds of host key in an order of our own."""

    host_key_types: tuple[str, ...] = ()

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Return the kinds of host key to ask for, the best first."""
        return self.host_key_types or tuple(super().preferred_keys)


def addressed(address: str) -> Target:
    """Return the machine at `[user@]host[:port]`, as a gateway or ProxyJump is written.

    Raises:
        UsageError: It is not an address.
    """
    try:
        return target_at(address.strip())
    except NotAnAddress as problem:
        remedy = "write it as user@host:port"
        raise UsageError(f"{address!r} is not an address: {problem} — {remedy}") from None


def route(target: Target, inventory: Inventory | None) -> tuple[Hop, ...]:
    """Return the machines to pass through, the nearest first and the target last.

    Raises:
        UsageError: ssh_config cannot be used, or its gateways form a circle.
    """
    return tuple(_route(target, inventory))


def prepare(
    hop: Hop,
    *,
    check: HostKeyCheck,
    opened: Callable[[paramiko.Transport], None],
    timeout_s: float,
) -> None:
    """Set the connection up to check the host key, use keys only and give up in time.

    `opened` gets the transport before its first byte, so that it can be closed from outside.
    """

    def transport(sock: Any, **options: Any) -> paramiko.Transport:
        made = _Transport(sock, **options)
        opened(made)
        made.host_key_types = _known_first(made.get_security_options().key_types, hop.known)
        return made

    connection = hop.connection
    # Fabric's client takes every unknown key without a word (AutoAddPolicy).
    connection.client.set_missing_host_key_policy(_Policy(partial(check, hop)))
    connection.connect_timeout = None
    connection.connect_kwargs = {
        "timeout": timeout_s,
        "banner_timeout": timeout_s,
        "auth_timeout": timeout_s,
        "channel_timeout": timeout_s,
        "transport_factory": transport,
        "auth_strategy": KeysOnly(settings=hop.settings, named=hop.identity_files),
    }
    if hop.settings.proxy_command and not connection.gateway:
        shell = os.environ.get("SHELL") or "/bin/sh"
        command = shlex.join([shell, "-c", f"exec {hop.settings.proxy_command}"])  # as ssh does
        connection.connect_kwargs["sock"] = paramiko.ProxyCommand(command)


def _route(
    target: Target, inventory: Inventory | None, *, jumps: Sequence[str] = (), depth: int = 0
) -> list[Hop]:
    """Return the route to the target; `jumps` lie before it by someone else's ProxyJump."""
    if depth > _MOST_GATEWAYS:
        remedy = "check ProxyJump in ~/.ssh/config"
        raise UsageError(f"{target.name}: more than {_MOST_GATEWAYS} gateways — {remedy}")
    hop = _hop(target)
    gateway, before = _gateway(target, inventory, jumps or _proxy_jump(hop))
    if gateway is None:
        return [hop]
    earlier = _route(gateway, inventory, jumps=before, depth=depth + 1)
    hop.connection.gateway = earlier[-1].connection
    return [*earlier, hop]


def _gateway(
    target: Target, inventory: Inventory | None, jumps: Sequence[str]
) -> tuple[Target | None, Sequence[str]]:
    """Return the last machine before the target, and the jumps before that one."""
    if target.gateway is not None and inventory is not None:
        return gateway_target(inventory, target), ()
    if target.gateway is not None:
        return addressed(target.gateway), ()
    return (addressed(jumps[-1]), jumps[:-1]) if jumps else (None, ())


def _proxy_jump(hop: Hop) -> Sequence[str]:
    jumps = hop.settings.proxy_jump
    # `Host *` with a ProxyJump speaks of the jump host as well; ssh goes there directly.
    own = {hop.given, hop.settings.host}
    return () if jumps and addressed(jumps[-1]).host in own else jumps


def _hop(target: Target) -> Hop:
    settings = read_settings(target)
    connection = fabric.Connection(
        host=settings.host,
        user=settings.user,
        port=settings.port,
        gateway=False,
        # lazy: no ~/.fabric.yaml or ~/.fabric.py, whose settings the inventory does not show; and
        # no ssh_config, which paramiko would read in its own way
        config=fabric.Config(ssh_config=SSHConfig(), lazy=True),
    )
    key_names = _key_names(settings)
    files = (*settings.user_known_hosts, *settings.global_known_hosts)
    known = (*known_hosts.read_known_hosts(files), *_revoked(target, settings))
    return Hop(
        name=target.name,
        given=target.host or "",
        settings=settings,
        connection=connection,
        key_names=key_names,
        identity_files=(target.identity_file,) if target.identity_file else (),
        known=tuple(key for key in known if any(key.belongs_to(name) for name in key_names)),
    )


def _revoked(target: Target, settings: SshSettings) -> tuple[KnownKey, ...]:
    """Read what ssh_config's RevokedHostKeys names; as for ssh, no host passes where that fails."""
    keys: list[KnownKey] = []
    for path in settings.revoked_host_keys:
        try:
            keys += known_hosts.read_revoked(path)
        except (OSError, ValueError) as error:
            message = f"{target.name}: cannot read {path} of RevokedHostKeys: {error}"
            remedy = "make it a text file that you may read, with a public key on each line"
            raise UsageError(f"{message} — {remedy}") from None
    return tuple(keys)


def _key_names(settings: SshSettings) -> tuple[str, ...]:
    """Return the names to look for; as for ssh, a key of the plain host does for every port."""
    if settings.host_key_alias:
        return (settings.host_key_alias,)
    names = (known_hosts.host_entry(settings.host, settings.port), settings.host.lower())
    return tuple(dict.fromkeys(names))


def _known_first(key_types: Sequence[str], known: Sequence[KnownKey]) -> tuple[str, ...]:
    """Ask for the types of key that are known, as ssh does, or a known host would look changed.

    Certificates are asked for, before all else, where an authority is known for the host.
    """
    wanted = {
        signature
        for key in known
        if not key.marker
        for signature in _SIGNATURES.get(key.key_type, (key.key_type,))
    }
    plain = tuple(sorted(key_types, key=lambda key_type: key_type not in wanted))
    if any(key.marker == AUTHORITY for key in known):
        return (*(f"{key_type}{CERTIFICATE_SUFFIX}" for key_type in key_types), *plain)
    return plain
