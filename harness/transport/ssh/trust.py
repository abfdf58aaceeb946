"""Fetch a target's host key and, on the user's word, record it. Nothing else ever adds a key."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path

import paramiko

from harness.errors import UntrustedHost, UsageError
from harness.transport.ssh.hops import Hop, addressed
from harness.transport.ssh.host_keys import judge_key, require_trusted
from harness.transport.ssh.known_hosts import KnownKey, Status, fingerprint, parse_line
from harness.transport.ssh.link import Link
from reports.results.write import StorageError
from targets.inventory import Inventory, Target


@dataclass(frozen=True, kw_only=True)
class HostKey:
    """A host key as the server has just shown it, and what known_hosts says of it."""

    target: str
    host_entry: str  # host, or [host]:port
    key_type: str
    base64: str
    fingerprint: str
    status: Status
    known_hosts_path: Path  # where `record` writes
    lines: tuple[KnownKey, ...]  # the lines that `status` rests on


def trust_target(name: str, inventory: Inventory | None) -> Target:
    """Return the target of that name, or the machine at `user@host:port` (a gateway).

    Raises:
        UsageError: It is neither.
    """
    if inventory is not None and name in inventory.targets:
        return inventory.targets[name]
    return addressed(name)


def fetch_host_key(
    target: Target, inventory: Inventory | None, *, deadline_s: float = 20.0
) -> HostKey:
    """Ask the target for its host key, without logging in.

    Raises:
        Unreachable: There is no connection.
        UntrustedHost: A gateway's own key is not trusted, or the target's is revoked.
        UsageError: The target is this machine, or ssh_config names no file to record keys in.
    """
    if target.local:
        raise UsageError(f"{target.name}: reached without SSH, so there is no host key")

    def check(hop: Hop, key: paramiko.PKey) -> None:
        if (hop.name, hop.given) == (target.name, target.host):
            raise _Shown(hop, key)
        require_trusted(target.name, hop, key)

    try:
        Link(target, inventory, deadline_s=deadline_s, check=check).close()
    except _Shown as shown:
        return _described(target, shown.hop, shown.key)
    raise AssertionError("the connection was made without checking the host key")


def record(host_key: HostKey, *, replace: bool = False) -> Path:
    """Append the key to known_hosts and return the file; a known key is left as it is.

    With `replace` the host's old keys are removed first; every other line stays byte for byte.

    Raises:
        UntrustedHost: The key has changed and `replace` was not asked for, or cannot be done.
        StorageError: The file cannot be written.
    """
    if host_key.status == "known":
        return host_key.lines[0].path
    if host_key.status == "changed" and not replace:
        remedy = "compare both fingerprints; use --replace only if the board was flashed anew"
        message = f"the host key of {host_key.host_entry} has CHANGED and was not recorded"
        raise UntrustedHost(host_key.target, message, remedy=remedy)
    path = Path(os.path.realpath(host_key.known_hosts_path))  # a link stays a link
    _refuse_out_of_reach(host_key, path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = path.read_bytes() if path.exists() else b""
        _write(path, _with_key(before, host_key, path))
    except OSError as error:
        raise StorageError(path, error) from error
    return host_key.known_hosts_path


class _Shown(Exception):
    """The server has shown its key: enough, no need to log in."""

    def __init__(self, hop: Hop, key: paramiko.PKey) -> None:
        super().__init__()
        self.hop = hop
        self.key = key


def _described(target: Target, hop: Hop, key: paramiko.PKey) -> HostKey:
    offered = key.get_base64()
    judgement = judge_key(hop, key)
    if judgement.status == "revoked":
        require_trusted(target.name, hop, key)
    if not hop.settings.user_known_hosts:
        raise UsageError(
            f"{target.name}: UserKnownHostsFile in ssh_config names no file to record keys in"
            " — remove that line, or name one"
        )
    return HostKey(
        target=target.name,
        host_entry=hop.key_name,
        key_type=key.get_name(),
        base64=offered,
        fingerprint=fingerprint(offered),
        status=judgement.status,
        known_hosts_path=hop.settings.user_known_hosts[0],
        lines=judgement.lines,
    )


def _refuse_out_of_reach(host_key: HostKey, path: Path) -> None:
    """Refuse if an old key would stay in force: in another file, or by a wildcard."""
    for line in host_key.lines:
        wild = any(set("*?!") & set(pattern) for pattern in line.patterns)
        if wild or os.path.realpath(line.path) != str(path):
            message = f"gfbench may not remove the old host key in {line.path}:{line.line}"
            name, file = shlex.quote(host_key.host_entry), shlex.quote(str(line.path))
            remedy = f"edit that line, or run `ssh-keygen -R {name} -f {file}`, and try again"
            raise UntrustedHost(host_key.target, message, remedy=remedy)


def _with_key(before: bytes, host_key: HostKey, path: Path) -> bytes:
    lines = before.splitlines(keepends=True)
    kept = [left for line in lines for left in _without_old(line, host_key, path)]
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    new = f"{host_key.host_entry} {host_key.key_type} {host_key.base64}\n".encode()
    return b"".join([*kept, *([] if new in kept else [new])])


def _without_old(line: bytes, host_key: HostKey, path: Path) -> list[bytes]:
    """Return the line, without this host if its key is one that has changed."""
    key = parse_line(line.decode("utf-8", "replace"), path, 0)
    if key is None or key.base64 not in {old.base64 for old in host_key.lines}:
        return [line]
    if key.marker or not key.belongs_to(host_key.host_entry):
        return [line]
    others = [
        pattern
        for pattern in key.patterns
        if not _single(key, pattern).belongs_to(host_key.host_entry)
    ]
    if not others:
        return []
    return [line.replace(",".join(key.patterns).encode(), ",".join(others).encode(), 1)]


def _single(key: KnownKey, pattern: str) -> KnownKey:
    return KnownKey(
        path=key.path,
        line=key.line,
        marker=key.marker,
        patterns=(pattern,),
        key_type=key.key_type,
        base64=key.base64,
    )


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
