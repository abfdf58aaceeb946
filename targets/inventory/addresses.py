"""`user@host:port`, as people write the address of a machine, and what ssh refuses in it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

# OpenSSH refuses these since CVE-2023-51385: a name may end up in a shell, as the %h or %r of a
# ProxyCommand or of a `Match exec` in the user's own ssh_config.
_NOT_IN_A_HOST = re.compile(r"""[\s\x00-\x1f\x7f-\x9f'`"$\\;&<>|(){},]""")
_NOT_IN_A_USER = re.compile(r"""[\x00-\x1f\x7f-\x9f'`";&<>|(){}]|\s-|\\$""")
_MOST_PORTS = 65535


class NotAnAddress(ValueError):
    """The text is not an address; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to log in; None is left to ssh_config."""

    host: str
    user: str | None = None
    port: int | None = None


def parse_address(text: str) -> Address:
    """Read `[ssh://][user@]host[:port]`; an IPv6 address with a port stands in brackets.

    Raises:
        NotAnAddress: It cannot be read, or names a host or a user that ssh refuses.
    """
    place = text.strip()
    if place.startswith("ssh://"):
        place = place.removeprefix("ssh://").removesuffix("/")
    user, at, place = place.rpartition("@")
    host, port = _host_and_port(place)
    problem = host_problem(host) or (user_problem(user) if at else "")
    if problem:
        raise NotAnAddress(problem)
    return Address(host=host, user=user or None, port=port)


def host_problem(host: str) -> str:
    """Say why ssh refuses this host name or finds no machine by it, "" if neither holds."""
    if "@" in host or (":" in host and not _is_ipv6(host)):
        return f"{host!r} is neither a host name nor an address"
    return _problem("host name", host, _NOT_IN_A_HOST)


def user_problem(user: str) -> str:
    """Say why ssh refuses this user name, "" if it does not."""
    return _problem("user name", user, _NOT_IN_A_USER)


def _problem(kind: str, name: str, forbidden: re.Pattern[str]) -> str:
    if not name:
        return f"the {kind} is empty"
    if name.startswith("-"):
        return f"ssh refuses a {kind} that begins with a hyphen"
    found = forbidden.search(name)
    return f"ssh refuses {found[0]!r} in a {kind}" if found else ""


def _host_and_port(place: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", place)
    if bracketed is not None:
        host, port = bracketed.groups()
        if not _is_ipv6(host):
            raise NotAnAddress(f"{host!r} in brackets is not an IPv6 address")
        return host, None if port is None else _port(port)
    if ":" not in place or _is_ipv6(place):
        return place, None
    host, _, port = place.partition(":")
    return host, _port(port)


def _port(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text) and 1 <= int(text) <= _MOST_PORTS:
        return int(text)
    raise NotAnAddress(f"{text!r} after the colon is not a port, 1 to {_MOST_PORTS}")


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
