"""Certificates of the user: a key that an authority has signed, which the board trusts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import paramiko
from paramiko.pkey import PublicBlob, UnknownKeyType

from harness.transport.ssh.known_hosts import CERTIFICATE_SUFFIX


@dataclass(frozen=True, kw_only=True)
class UserCertificate:
    """A certificate's file, and the key that it is for."""

    path: str
    blob: PublicBlob
    key: str  # the public key, in base64


def load_certificates(paths: Iterable[str]) -> tuple[UserCertificate, ...]:
    """Read the files in order, each once; as ssh does, pass over what is no certificate."""
    found = []
    for path in dict.fromkeys(paths):
        try:
            blob = PublicBlob.from_file(path)
            kind = blob.key_type.removesuffix(CERTIFICATE_SUFFIX)
            key = paramiko.PKey.from_type_string(kind, blob.key_blob)
        except (OSError, ValueError, UnknownKeyType, paramiko.SSHException):
            continue
        found.append(UserCertificate(path=path, blob=blob, key=key.get_base64()))
    return tuple(found)
