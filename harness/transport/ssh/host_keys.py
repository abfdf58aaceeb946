"""Which host keys are accepted, and what is said of the others. None is ever added silently."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

import paramiko

from harness.errors import UntrustedHost
from harness.transport.ssh.certificates import certificate_of, fault
from harness.transport.ssh.hops import Hop
from harness.transport.ssh.known_hosts import AUTHORITY, KnownKey, Status, fingerprint, judge


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What known_hosts says of a host key, the lines that say it, and what its certificate lacks.

    A known key that is certified may have both; the status counts.
    """

    status: Status
    lines: tuple[KnownKey, ...]
    certificate_fault: str = ""


def judge_key(hop: Hop, key: paramiko.PKey) -> Judgement:
    """Judge the host key that a hop has shown, as ssh does.

    A certificate that does not vouch for the host is passed over, and the key in it judged for
    itself.
    """
    judgement = _judged(hop, key.get_base64())
    certificate = certificate_of(key)
    if certificate is None or judgement.status == "revoked":
        return judgement
    signer = _judged(hop, certificate.authority)
    if signer.status == "revoked":
        return signer
    lines = tuple(
        line
        for line in hop.known
        if line.marker == AUTHORITY and line.base64 == certificate.authority
    )
    if not lines:
        signer_shown = fingerprint(certificate.authority)
        problem = f"its certificate is of {signer_shown}, which no @cert-authority line names"
    else:
        problem = fault(certificate, hop.certified_name)
    if problem:
        return replace(judgement, certificate_fault=problem)
    return Judgement(status="known", lines=lines)


def require_trusted(target: str, hop: Hop, key: paramiko.PKey) -> None:
    """Accept a host key that known_hosts has for this host.

    Raises:
        UntrustedHost: The key is unknown, changed or revoked.
    """
    judgement = judge_key(hop, key)
    if judgement.status == "known":
        return
    shown = f"{key.get_name()} {fingerprint(key.get_base64())}"
    if judgement.status == "unknown":
        message, remedy = _unknown(hop, shown)
    elif judgement.status == "changed":
        message, remedy = _changed(hop, shown, judgement.lines)
    else:
        message, remedy = _revoked(hop, shown, judgement.lines)
    if judgement.certificate_fault:
        message = f"{message}; {judgement.certificate_fault}"
    raise UntrustedHost(target, message, remedy=remedy)


def trust_command(hop: Hop) -> str:
    """Return the command that shows the hop's host key and records it after a yes."""
    return f"gfbench trust -t {shlex.quote(hop.name)}"


def _judged(hop: Hop, key_base64: str) -> Judgement:
    """Judge a key by the lines for the host and port, or where none is known, for the host.

    Another key of the plain host says nothing of this port.
    """
    judgement = Judgement(status="unknown", lines=())
    for name in hop.key_names:
        status, lines = judge(hop.known, name, key_base64)
        if name == hop.key_name or status != "changed":
            judgement = Judgement(status=status, lines=lines)
        if judgement.status != "unknown":
            break
    return judgement


def _unknown(hop: Hop, shown: str) -> tuple[str, str]:
    files = ", ".join(str(path) for path in hop.settings.user_known_hosts) or "no file"
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
