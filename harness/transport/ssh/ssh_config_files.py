"""The user's and the system's ssh_config, read with paramiko's parser: for machines without ssh.

paramiko takes a criterion of Match that it does not know for one that is met, knows no comment
after a value, and reads no Include. So every line is read here first, and handed on in the form
that paramiko understands; what it would read otherwise than OpenSSH is refused with its line.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paramiko.config import SSHConfig
from paramiko.ssh_exception import ConfigParseError, CouldNotCanonicalize

from harness.errors import UsageError

FILE_LISTS = ("globalknownhostsfile", "userknownhostsfile")  # options with several files
_KEYWORD = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*)")
_DEEPEST_INCLUDE = 16  # OpenSSH's own limit
_EVERY_HOST = "Host *"
_FOR_ALL = (("host", "*"), ("match", "all"))
_HEADERS = ("host", "match")
_WITH_A_VALUE = ("host", "localuser", "originalhost", "user")
_WITHOUT_A_VALUE = ("all", "canonical", "final")
_COMMANDS = ("knownhostscommand", "localcommand", "proxycommand", "remotecommand")
_HINT = "`ssh -G` would read it: install the OpenSSH client, or take this line out"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line and where it stands."""

    path: Path
    number: int
    text: str


def read(host: str, *, user: str | None, port: int | None) -> Mapping[str, tuple[str, ...]]:
    """Return the options that hold for a host, every one with its values as they stand there.

    Raises:
        UsageError: A file cannot be read, or paramiko would not read it as OpenSSH does.
    """
    config = _Unexpanded()
    given = [f"User {user}"] if user else []
    given += [f"Port {port}"] if port else []
    try:
        config.parse(given)  # the first value counts, and Match sees it
        for path in files():
            # One by one: what stands before the first Host of a file applies to every host.
            config.parse([_for_paramiko(line) for line in flattened(path)])
        found = config.lookup(host)
    except (ConfigParseError, CouldNotCanonicalize, KeyError, ValueError) as error:
        where = " and ".join(str(path) for path in files())
        raise UsageError(f"{where}: paramiko cannot read this: {error!r} — {_HINT}") from None
    options = {key: _values(key, value) for key, value in found.items() if value is not None}
    tokens = {"%h": host, "%%": "%"}
    name = re.sub("%[%h]", lambda token: tokens[token[0]], options["hostname"][0])
    options["hostname"] = (name,)
    return options


def files() -> tuple[Path, ...]:
    """Return the user's file, then the system's; as for `ssh`, the first value counts."""
    return Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")


def flattened(path: Path, depth: int = 0, *, inside: bool = False) -> Iterator[Line]:
    """Yield the lines of a file and of those that it includes, Host and Match as they stand.

    `inside` is true for a file that is included in the block of some hosts only.

    Raises:
        UsageError: A file cannot be read, or what it includes would apply to other hosts as well.
    """
    if depth > _DEEPEST_INCLUDE or not path.is_file():
        return
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        remedy = "let yourself read it: see its permissions"
        raise UsageError(f"{path}: {error.strerror or error} — {remedy}") from None
    header = Line(path=path, number=0, text=_EVERY_HOST)
    for number, text in enumerate(texts, 1):
        line = Line(path=path, number=number, text=text)
        keyword, value = _parts(text)
        if keyword == "include":
            for_some = inside or _parts(header.text) not in _FOR_ALL
            for included in _included(_words(line, value), path.parent):
                yield from flattened(included, depth + 1, inside=for_some)
            yield header  # the included file may have ended inside a Host of its own
            continue
        if keyword in _HEADERS:
            if inside:
                raise _refused(line, "a Host or Match in a file that is included for some hosts")
            header = line
        yield line


class _Unexpanded(SSHConfig):
    """Leaves %h and the like in the values: they are expanded by whoever knows them all."""

    def _expand_variables(self, config: Any, target_hostname: str) -> Any:
        return config


def _for_paramiko(line: Line) -> str:
    """Write the line so that paramiko reads it as OpenSSH does."""
    keyword, value = _parts(line.text)
    if not keyword or keyword in _COMMANDS:  # of a command OpenSSH too takes the rest of the line
        return line.text
    words = _words(line, value)
    if not words:
        raise _refused(line, f"{keyword} without a value", "complete the line")
    if keyword == "port" and not re.fullmatch("[0-9]{1,5}", words[0]):
        raise _refused(line, f"{words[0]!r} is not a port", "write a number, 1 to 65535")
    if keyword == "match":
        return f"Match {shlex.join(_criteria(line, words))}"
    if keyword == "host" or keyword in FILE_LISTS:
        return f"{keyword} {shlex.join(words)}"
    return f"{keyword} {words[0]}"


def _criteria(line: Line, words: Sequence[str]) -> list[str]:
    """Return the criteria of a Match, each one with its value after it."""
    criteria: list[str] = []
    left = list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        plain = name.removeprefix("!").lower()
        if plain in _WITHOUT_A_VALUE and not equals:
            criteria.append(name.lower())
        elif plain in _WITH_A_VALUE and (equals or left):
            criteria += [name.lower(), value if equals else left.pop(0)]
        elif plain == "exec":  # paramiko would give it our own standard input, and wait for ever
            raise _refused(line, "Match exec, whose command only ssh runs")
        else:
            raise _refused(line, f"Match {name}, of which paramiko does not know when it is met")
    if len(criteria) > 1 and criteria[-1] == "all":
        criteria.pop()  # `final all` and `canonical all` say no more than final and canonical
    return criteria


def _words(line: Line, text: str) -> list[str]:
    """Cut a value into words, without quotes and without the comment at its end."""
    if re.search(r"\\[\\\"'\s]", text):
        raise _refused(line, "a backslash before a quote, a space or another backslash")
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""
    words = []
    try:
        for word in lexer:
            if word.startswith("#"):
                break
            words.append(word)
    except ValueError:
        raise _refused(line, "a quote without its other half", "complete the line") from None
    return words


def _parts(text: str) -> tuple[str, str]:
    """Return the keyword in small letters and the rest; no keyword on a comment or empty line."""
    match = _KEYWORD.fullmatch(text)
    return (match[1].lower(), match[2].strip()) if match else ("", text)


def _values(key: str, value: str | Sequence[str]) -> tuple[str, ...]:
    if not isinstance(value, str):
        return tuple(value)
    return tuple(shlex.split(value)) if key in FILE_LISTS else (value,)


def _included(patterns: Sequence[str], folder: Path) -> Iterator[Path]:
    for pattern in patterns:
        full = os.path.join(folder, os.path.expanduser(pattern))
        yield from (Path(name) for name in sorted(glob.glob(full)))


def _refused(line: Line, what: str, remedy: str = _HINT) -> UsageError:
    return UsageError(f"{line.path}:{line.number}: {what} — {remedy}")
