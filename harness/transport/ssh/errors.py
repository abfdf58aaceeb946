"""Why a connection could not be made, in plain words, and what to do about it."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

import paramiko
from paramiko.auth_strategy import AuthFailure
from paramiko.ssh_exception import IncompatiblePeer, NoValidConnectionsError, ProxyCommandFailure

from harness.transport.ssh import auth as ssh_auth
from harness.transport.ssh.hops import Hop

_ADMINISTRATIVELY_PROHIBITED = 1  # RFC 4254 section 5.1


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A cause and a remedy, as the errors have them."""

    cause: str
    remedy: str


def explain(error: Exception, hop: Hop) -> Explanation:
    """Explain what stopped the connection to this hop."""
    if isinstance(error, AuthFailure):
        return _authentication(error, hop)
    if isinstance(error, paramiko.ChannelException):
        return _forwarding(error)
    if isinstance(error, ProxyCommandFailure):
        return _said(f"its ProxyCommand failed: {error}", "run the command by hand")
    if isinstance(error, IncompatiblePeer):
        remedy = "update the board's OpenSSH"
        return _said(f"no encryption algorithm in common: {error}", remedy)
    if isinstance(error, NoValidConnectionsError):
        return explain(list(error.errors.values())[-1], hop)
    if isinstance(error, OSError):
        return _network(error, hop)
    remedy = f"see what `ssh -v {_destination(hop)}` says; is it an SSH server? is it overloaded?"
    return _said(str(error).strip() or "it closed the connection", remedy)


def _network(error: OSError, hop: Hop) -> Explanation:
    port = hop.settings.port
    if isinstance(error, socket.gaierror):
        remedy = "check `host` in the inventory (an address or an alias of ~/.ssh/config) and DNS"
        return _said(f"name {hop.settings.host} not found", remedy)
    if isinstance(error, ConnectionRefusedError):
        return _said("connection refused", f"start sshd there, or correct the port, {port}")
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return _said("no route to host", "check the board's power and network, and this machine's")
    if isinstance(error, TimeoutError):
        return _said("timed out", "check that the board is on and that no firewall blocks the port")
    text = error.strerror or str(error) or type(error).__name__
    return _said(text.lower(), f"see what `ssh -v {_destination(hop)}` says")


def _authentication(error: AuthFailure, hop: Hop) -> Explanation:
    cause = f"authentication refused for user {hop.user}; tried {ssh_auth.account(error)}"
    locked = ssh_auth.locked_key(error)
    if locked is not None:
        return _said(cause, f"unlock the key for the agent: `ssh-add {locked}`")
    return _said(
        cause, f"allow a key there with `ssh-copy-id {_key_option(hop)}{_destination(hop)}`"
    )


def _forwarding(error: paramiko.ChannelException) -> Explanation:
    if error.code == _ADMINISTRATIVELY_PROHIBITED:
        return _said(
            "the gateway forbids forwarding", "set AllowTcpForwarding yes in its sshd_config"
        )
    remedy = "check the board's power and network, and host and port as the gateway sees them"
    return _said(f"the gateway could not connect: {error.text.lower()}", remedy)


def _destination(hop: Hop) -> str:
    port = "" if hop.settings.port == 22 else f"-p {hop.settings.port} "
    return f"{port}{hop.user}@{hop.settings.host}"


def _key_option(hop: Hop) -> str:
    return f"-i {hop.identity_files[0]} " if hop.identity_files else ""


def _said(cause: str, remedy: str) -> Explanation:
    return Explanation(cause=cause, remedy=remedy)
