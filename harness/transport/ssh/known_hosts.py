"""OpenSSH's known_hosts files: whose key is known, and what to say when it is not.

paramiko's own reader drops @revoked lines and wildcards, and of two keys of one type for a host it
sees the first only; here a line counts as it does for `ssh` (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

AUTHORITY = "@cert-authority"  # the marker of a key that signs host keys
REVOKED = "@revoked"  # the marker of a key that no host may show
CERTIFICATE_SUFFIX = "-cert-v01@openssh.com"  # of the name of a kind of key
_BINARY_LIST = "SSHKRL\n\0"
Status = Literal["known", "unknown", "changed", "revoked"]


@dataclass(frozen=True, kw_only=True)
class KnownKey:
    """One line of a known_hosts file: a key, and the hosts it belongs to."""

    path: Path
    line: int
    marker: str  # "", "@revoked" or "@cert-authority"
    patterns: tuple[str, ...]
    key_type: str
    base64: str

    def belongs_to(self, name: str) -> bool:
        """Return whether the line speaks of `host` or `[host]:port`."""
        negated = [pattern[1:] for pattern in self.patterns if pattern.startswith("!")]
        if any(_matches(pattern, name) for pattern in negated):
            return False
        return any(_matches(pattern, name) for pattern in self.patterns)


def host_entry(host: str, port: int) -> str:
    """Return the name that a known_hosts file has for a port of a host."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def fingerprint(key_base64: str) -> str:
    """Return the SHA256 fingerprint of a public key as OpenSSH prints it."""
    digest = hashlib.sha256(base64.b64decode(key_base64)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def read_known_hosts(paths: Iterable[Path]) -> tuple[KnownKey, ...]:
    """Read the files in order; an absent file is empty, a line that is not a key is passed over."""
    keys = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            continue
        for number, line in enumerate(text.split("\n"), 1):
            key = parse_line(line, path, number)
            if key is not None:
                keys.append(key)
    return tuple(keys)


def read_revoked(path: Path) -> tuple[KnownKey, ...]:
    """Read the file of RevokedHostKeys: public keys, a line each, that no host may show.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not text but OpenSSH's binary list (KRL).
    """
    text = path.read_bytes().decode("utf-8")
    if text.startswith(_BINARY_LIST):
        raise ValueError("a binary list of revoked keys")
    lines = (
        parse_line(f"{REVOKED} * {line}", path, number)
        for number, line in enumerate(text.split("\n"), 1)
        if not line.startswith("#")
    )
    return tuple(line for line in lines if line is not None)


def parse_line(line: str, path: Path, number: int) -> KnownKey | None:
    """Return the key on the line, or None."""
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return None
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if len(fields) < 3 or not _is_base64(fields[2]):
        return None
    patterns = tuple(fields[0].split(","))
    return KnownKey(
        path=path,
        line=number,
        marker=marker,
        patterns=patterns,
        key_type=fields[1],
        base64=fields[2],
    )


def judge(
    known: Sequence[KnownKey], name: str, key_base64: str
) -> tuple[Status, tuple[KnownKey, ...]]:
    """Return what the files say of this key for this host, and the lines that say it.

    A host of which only other keys are known counts as changed, whatever their type: the known type
    was asked for first, and a server that has lost that key is not the one that was trusted.
    """
    lines = [key for key in known if key.belongs_to(name)]
    revoked = tuple(key for key in lines if key.marker == REVOKED and key.base64 == key_base64)
    if revoked:
        return "revoked", revoked
    plain = tuple(key for key in lines if not key.marker)
    same = tuple(key for key in plain if key.base64 == key_base64)
    if same:
        return "known", same
    return ("changed", plain) if plain else ("unknown", ())


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return _matches_hash(pattern, name)
    # In a pattern only * and ? are special; the brackets of [host]:port stand for themselves.
    return fnmatch.fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _matches_hash(pattern: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in pattern[3:].split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), "sha1").digest(), digest)


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return False
