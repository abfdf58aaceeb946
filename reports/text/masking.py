"""What is secret, and the one function that masks it in all that is written or shown.

A secret is known by its value, once ``keep_*`` has been told where it stands, or by its place: the
user and password of a URL, the value beside a name such as HF_TOKEN, a header of authorization.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TextIO
from urllib.parse import unquote

MASK = "***"
SHORTEST = 6  # characters; shorter values are words and numbers of other texts too

_SECRET_WORDS = "KEY|TOKEN|SECRET|PASS|AUTH|CREDENTIAL|COOKIE"
_SECRET_NAME = re.compile(_SECRET_WORDS, re.IGNORECASE)
_OWN_SECRET_NAME = re.compile("SECRET|TOKEN|PASSWORD|KEY")  # of this machine's environment
_OWN_SHORTEST = 8

_VALUE = r"""(?:"[^"\\]*"|'[^'\\]*'|[^\s"'\\;&|,)}\]]+)"""
_NAMED = (
    r"[\w-]*(?:token|secret|passw(?:or)?d|passphrase|(?:api|access|private)[_-]?key|credential|"
    r"cookie|auth(?![a-z]))[\w-]*"
)
# In each the group is the secret.
_IN_URL = re.compile(r"(?<=://)([^\s/@\"'\\]+)(?=@)")  # user:password
_PLACES = (
    _IN_URL,
    *(
        re.compile(pattern, re.IGNORECASE)
        for pattern in (
            rf"\b{_NAMED}=({_VALUE})",
            rf"(?<!\S)--{_NAMED}[ =]({_VALUE})",
            r"\bauthorization\\?[\"']?: *\\?[\"']?(?:(?:bearer|basic|token) +)?([^\s\"'\\]+)",
            rf"\becho +(?:-n +)?({_VALUE})(?= *\| *sudo +-S)",
            rf"\bsshpass +-p *({_VALUE})",
        )
    ),
)
# A word of a command that looks like nothing but a key: letters and digits, no path, no number.
_LIKE_A_KEY = re.compile(
    r"(?<![\w/.+=-])(?=[\w+=-]*[0-9])(?=[\w+=-]*[A-Za-z])(?!0x)[\w+=-]{16,}(?![\w/.+=-])"
)
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?')  # with a colon: the name of a field

_kept: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Return whether what is called so is not to be shown: HF_TOKEN, API_KEY, AUTH."""
    return _SECRET_NAME.search(name) is not None


def keep_value(value: str) -> None:
    """Mask a value from now on, wherever it appears; a very short one only in its place."""
    if len(value) >= SHORTEST:
        _kept.add(value)


def keep_environment(environment: Mapping[str, str]) -> None:
    """Mask the values of variables with a secret's name, and secrets in the others from now on."""
    for name, value in environment.items():
        if is_secret_name(name):
            keep_value(value)
        keep_text(value)


def keep_text(text: str) -> None:
    """Mask what stands at a secret's place in a text, such as a URL, from now on."""
    for place in _PLACES:
        for match in place.finditer(text):
            found = match[1].strip("\"'")
            value = found.partition(":")[2] if place is _IN_URL else found
            keep_value(value)
            keep_value(unquote(value))


def keep_command(command: str) -> None:
    """Mask the secrets of a shell command, and its words that look like keys, from now on."""
    keep_text(command)
    for word in _LIKE_A_KEY.findall(command):
        keep_value(word)


def masked(text: str) -> str:
    """Return the text with every secret masked."""
    return _masked(text, lambda secret: MASK, _values())


def masked_document(value: Any) -> Any:
    """Return the value of a JSON document with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {name: masked_document(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked_document(item) for item in value]
    return value


def masked_json(line: str) -> str:
    """Return a line of JSON of the same length, with a star for each character of a secret.

    A copy of a board's journal must not change its length: it is continued by offsets.
    """
    forms = {form for value in _values() for form in _json_forms(value)}
    values = sorted(forms, key=len, reverse=True)

    def stars(secret: str) -> str:
        return "*" * len(secret.encode())

    def value_masked(text: re.Match[str]) -> str:
        return text[0] if text[1] else _masked(text[0], stars, values)

    return _JSON_STRING.sub(value_masked, line)


class MaskedStream:
    """A text stream through which no secret passes; everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        """Take the stream that is to be written to."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text with every secret masked."""
        return self._stream.write(masked(text))

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines with every secret masked."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Return the stream's own attribute."""
        return getattr(self._stream, name)


def without_password(url: str) -> str:
    """Return a URL that may be shown: without user, password and query."""
    return re.sub(r"(?<=//)[^/@]*@", "", url.partition("?")[0])


def _masked(text: str, star: Callable[[str], str], values: Iterable[str]) -> str:
    for value in values:
        if value in text:
            text = text.replace(value, star(value))
    for place in _PLACES:
        text = place.sub(lambda match: _with_group(match, star), text)
    return text


def _with_group(match: re.Match[str], star: Callable[[str], str]) -> str:
    """Return the matched text with its group masked, its quotes left."""
    secret = match[1]
    quote = secret[0] if secret[0] in "\"'" else ""
    inner = secret.strip(quote) if quote else secret
    begin, end = match.start(1) - match.start(), match.end(1) - match.start()
    hidden = inner if set(inner) == {"*"} else star(inner)
    return f"{match[0][:begin]}{quote}{hidden}{quote}{match[0][end:]}"


def _values() -> tuple[str, ...]:
    """Return every secret that is known by its value, the longest first."""
    own = {
        value
        for name, value in os.environ.items()
        if len(value) >= _OWN_SHORTEST
        and _OWN_SECRET_NAME.search(name)
        and not (value.startswith("/") and os.path.exists(value))
    }
    return tuple(sorted(_kept | own, key=len, reverse=True))


@lru_cache(maxsize=1000)
def _json_forms(value: str) -> tuple[str, str]:
    """Return how a text stands in JSON, with and without characters beyond ASCII."""
    return json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]
