"""Which host keys are accepted, and what is said of the others. None is ever added silently."""

from __future__ import annotations

import shlex

import paramiko

from harness.errors import UntrustedHost
from harness.transport.ssh.hops import Hop
from harness.transport.ssh.known_hosts import KnownKey, fingerprint, judge


def require_trusted(target: str, hop: Hop, key: paramiko.PKey) -> None:
    """Accept a host key that known_hosts has for this host.

    Raises:
        UntrustedHost: The key is unknown, changed or revoked.
    """
    offered = key.get_base64()
    status, lines = judge(hop.known, hop.key_name, offered)
    if status == "known":
        return
    shown = f"{key.get_name()} {fingerprint(offered)}"
    if status == "unknown":
        message, remedy = _unknown(hop, shown)
    elif status == "changed":
        message, remedy = _changed(hop, shown, lines)
    else:
        message, remedy = _revoked(hop, shown, lines)
    raise UntrustedHost(target, message, remedy=remedy)


def trust_command(hop: Hop) -> str:
    """Return the command that shows the hop's host key and records it after a yes."""
    return f"gfbench trust -t {shlex.quote(hop.name)}"


def _unknown(hop: Hop, shown: str) -> tuple[str, str]:
    files = ", ".join(str(path) for path in hop.writable) or "no file"
    message = f"the host key of {hop.address} is not known: {shown} (looked in {files})"
    remedy = f"compare the fingerprint with the board's own, then run `{trust_command(hop)}`"
    return message, remedy


def _changed(hop: Hop, shown: str, lines: tuple[KnownKey, ...]) -> tuple[str, str]:
    old = ", ".join(
        f"{line.key_type} {fingerprint(line.base64)} ({line.path}:{line.line})" for line in lines
    )
    message = f"the host key of {hop.address} has CHANGED: it is now {shown}, but {old} is recorded"
    files = dict.fromkeys(str(line.path) for line in lines)
    removals = " and ".join(
        f"`ssh-keygen -R {shlex.quote(hop.key_name)} -f {shlex.quote(file)}`" for file in files
    )
    remedy = (
        "this may be an attack, or the board was flashed anew; only if you know that it was, "
        f"remove the old key with {removals}, then run `{trust_command(hop)}`"
    )
    return message, remedy


def _revoked(hop: Hop, shown: str, lines: tuple[KnownKey, ...]) -> tuple[str, str]:
    where = f"{lines[0].path}:{lines[0].line}"
    message = f"the host key of {hop.address}, {shown}, is marked @revoked in {where}"
    return message, "do not use it; give the board a new host key"
