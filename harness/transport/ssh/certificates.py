"""Host certificates: a host key that an authority named in known_hosts has signed.

The layout is OpenSSH's PROTOCOL.certkeys; what counts is what `ssh` lets count.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass

import paramiko
from paramiko.message import Message

from harness.transport.ssh.known_hosts import CERTIFICATE_SUFFIX

_HOST = 2  # a certificate of a host; 1 is one of a user
_WEAK_SIGNATURES = ("ssh-rsa", "ssh-dss")  # SHA-1


@dataclass(frozen=True, kw_only=True)
class HostCertificate:
    """What an authority has signed."""

    kind: int
    principals: tuple[str, ...]
    valid_after_s: int  # since 1970
    valid_before_s: int
    critical_options: bytes
    authority: str  # the public key that has signed, in base64 as known_hosts has it
    signed: bytes
    signature: bytes


def certificate_of(key: paramiko.PKey) -> HostCertificate | None:
    """Return the certificate that the server showed with its key, None if it showed none.

    Raises:
        paramiko.SSHException: It cannot be read.
    """
    blob = getattr(key, "public_blob", None)
    if blob is None or not str(blob.key_type).endswith(CERTIFICATE_SUFFIX):
        return None
    try:
        return _parsed(bytes(blob.key_blob))
    except UnicodeDecodeError:
        raise paramiko.SSHException("its host certificate cannot be read") from None


def fault(certificate: HostCertificate, name: str, *, now_s: float | None = None) -> str:
    """Say why the certificate does not vouch for the host of this name, "" if it does."""
    now_s = time.time() if now_s is None else now_s
    if certificate.kind != _HOST:
        return "its host certificate is one for users"
    if not _is_signed(certificate):
        return "its host certificate is not signed by the authority that it names"
    if now_s < certificate.valid_after_s:
        return f"its host certificate is not valid before {_date(certificate.valid_after_s)}"
    if now_s >= certificate.valid_before_s:
        return f"its host certificate has expired on {_date(certificate.valid_before_s)}"
    if name not in certificate.principals:  # without wildcards, as for ssh
        return f"its host certificate is for {', '.join(certificate.principals) or 'no host'}"
    if certificate.critical_options:
        return "its host certificate has an option that gfbench does not know"
    return ""


def _parsed(blob: bytes) -> HostCertificate:
    message = Message(blob)
    key_type = message.get_text().removesuffix(CERTIFICATE_SUFFIX)
    message.get_binary()  # the nonce
    message.get_binary()  # the key itself: of Ed25519 one part, of RSA and ECDSA two
    if key_type != "ssh-ed25519":
        message.get_binary()
    message.get_int64()  # the serial number
    kind = message.get_int()
    message.get_binary()  # the certificate's name
    principals = _strings(message.get_binary())
    valid_after_s, valid_before_s = message.get_int64(), message.get_int64()
    critical_options = message.get_binary()
    message.get_binary()  # extensions, of which hosts have none
    message.get_binary()  # reserved
    authority = message.get_binary()
    signed = message.get_so_far()
    return HostCertificate(
        kind=kind,
        principals=principals,
        valid_after_s=valid_after_s,
        valid_before_s=valid_before_s,
        critical_options=critical_options,
        authority=base64.b64encode(authority).decode(),
        signed=signed,
        signature=message.get_binary(),
    )


def _strings(packed: bytes) -> tuple[str, ...]:
    message, found = Message(packed), []
    while message.get_remainder():
        found.append(message.get_text())
    return tuple(found)


def _is_signed(certificate: HostCertificate) -> bool:
    authority = base64.b64decode(certificate.authority)
    if Message(certificate.signature).get_text() in _WEAK_SIGNATURES:
        return False
    try:
        signer = paramiko.PKey.from_type_string(Message(authority).get_text(), authority)
        return bool(signer.verify_ssh_sig(certificate.signed, Message(certificate.signature)))
    except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError):
        return False


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
