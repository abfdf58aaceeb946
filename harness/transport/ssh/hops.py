"""The route to a target: its gateways and itself, each a Fabric connection that is not yet open."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fabric
import paramiko
from paramiko.config import SSHConfig

from harness.errors import UsageError
from harness.transport.ssh import config as ssh_config
from harness.transport.ssh import known_hosts
from harness.transport.ssh.auth import KeysOnly
from harness.transport.ssh.known_hosts import KnownKey
from targets.inventory import Inventory, Target, gateway_target

_ADDRESS = re.compile(
    r"(?:ssh://)?(?:([^@\s]+)@)?(?:\[([0-9A-Fa-f:.%\w]+)\]|([^@\s:]+))(?::(\d{1,5}))?/?"
)
_MOST_GATEWAYS = 8
# known_hosts calls an RSA key ssh-rsa, whichever signature it is used with.
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One machine of the route."""

    name: str  # what `gfbench trust -t` knows it by
    connection: Any  # fabric.Connection; Fabric has no types
    key_name: str  # its name in known_hosts: host, or [host]:port
    identity_files: tuple[str, ...]  # of the inventory
    writable: tuple[Path, ...]  # UserKnownHostsFile
    known: tuple[KnownKey, ...]  # what the known_hosts files say of it

    @property
    def address(self) -> str:
        """Return host:port, for messages."""
        host = str(self.connection.host)
        return (
            f"[{host}]:{self.connection.port}" if ":" in host else f"{host}:{self.connection.port}"
        )

    @property
    def user(self) -> str:
        """Return the user to log in as."""
        return str(self.connection.user)


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


def addressed(address: str) -> Target:
    """Return the machine at `[user@]host[:port]`, as a gateway or ProxyJump is written.

    Raises:
        UsageError: It is not an address.
    """
    match = _ADDRESS.fullmatch(address.strip())
    if match is None:
        raise UsageError(f"{address!r} is not an address — write it as user@host:port")
    user, bracketed, plain, port = match.groups()
    return Target(
        name=address, host=bracketed or plain, user=user, port=int(port) if port else None
    )


def route(target: Target, inventory: Inventory | None) -> tuple[Hop, ...]:
    """Return the machines to pass through, the nearest first and the target last.

    Raises:
        UsageError: ssh_config cannot be used, or its gateways form a circle.
    """
    return tuple(_route(target, inventory, ssh_config.load_ssh_config()))


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
        made = paramiko.Transport(sock, **options)
        opened(made)
        security = made.get_security_options()
        security.key_types = _known_first(security.key_types, hop.known)
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
        "auth_strategy": KeysOnly(
            user=hop.user, named=hop.identity_files, settings=connection.ssh_config
        ),
    }


def _route(
    target: Target,
    inventory: Inventory | None,
    config: SSHConfig,
    *,
    jumps: Sequence[str] = (),
    depth: int = 0,
) -> list[Hop]:
    """Return the route to the target; `jumps` lie before it by someone else's ProxyJump."""
    if depth > _MOST_GATEWAYS:
        remedy = "check ProxyJump in ~/.ssh/config"
        raise UsageError(f"{target.name}: more than {_MOST_GATEWAYS} gateways — {remedy}")
    hop = _hop(target, config)
    gateway, before = _gateway(target, inventory, jumps or _proxy_jump(target, hop))
    if gateway is None:
        hop.connection.gateway = hop.connection.ssh_config.get("proxycommand") or False
        return [hop]
    earlier = _route(gateway, inventory, config, jumps=before, depth=depth + 1)
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


def _proxy_jump(target: Target, hop: Hop) -> Sequence[str]:
    value = hop.connection.ssh_config.get("proxyjump", "none")
    jumps = [jump.strip() for jump in value.split(",")]
    # `Host *` with a ProxyJump speaks of the jump host as well; ssh goes there directly.
    own = {target.host, hop.connection.host}
    return () if value.lower() == "none" or addressed(jumps[-1]).host in own else jumps


def _hop(target: Target, config: SSHConfig) -> Hop:
    connection = fabric.Connection(
        host=target.host,
        user=target.user,
        port=target.port,
        gateway=False,  # Fabric would follow ProxyJump by itself, and stumble over `none`
        # lazy: no ~/.fabric.yaml or ~/.fabric.py, whose settings the inventory does not show
        config=fabric.Config(ssh_config=config, lazy=True),
    )
    settings = connection.ssh_config
    alias = settings.get("hostkeyalias")
    key_name = alias or known_hosts.host_entry(connection.host, connection.port)
    tokens = {
        "h": connection.host,
        "k": alias or target.host or "",
        "n": target.host or "",
        "p": str(connection.port),
        "r": connection.user,
    }
    writable = ssh_config.user_known_hosts(settings, tokens)
    files = (*writable, *ssh_config.global_known_hosts(settings, tokens))
    known = known_hosts.read_known_hosts(files)
    return Hop(
        name=target.name,
        connection=connection,
        key_name=key_name,
        identity_files=(target.identity_file,) if target.identity_file else (),
        writable=writable,
        known=tuple(key for key in known if key.belongs_to(key_name)),
    )


def _known_first(key_types: Sequence[str], known: Sequence[KnownKey]) -> tuple[str, ...]:
    """Ask for the types of key that are known, as ssh does, or a known host would look changed."""
    wanted = {
        signature
        for key in known
        if not key.marker
        for signature in _SIGNATURES.get(key.key_type, (key.key_type,))
    }
    return tuple(sorted(key_types, key=lambda key_type: key_type not in wanted))
