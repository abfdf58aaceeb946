"""JSON documents of a result folder, which boards wrote: limited in size, strict, and checked.

Nothing here knows what a document is about; ``records`` has the types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from reports.errors import GfbenchError
from reports.results.fields import LARGEST_WHOLE
from workloads.spec.messages import SCHEMA

MAX_JSON_BYTES = 64 << 20
SHOWN = 60  # characters of a wrong value in a message

T = TypeVar("T")


class ResultError(GfbenchError):
    """A result folder that is absent, broken or too new; says what to do."""


def check_schema(schema: object, where: Path) -> None:
    """Refuse a file of another family or a newer major version.

    Raises:
        ResultError: with what to do.
    """
    family, ours = SCHEMA.split("/")
    match = re.fullmatch(rf"{family}/(\d+)(\.\d+)*", str(schema))
    if match is None:
        raise ResultError(f"{where}: schema {schema!r} is not one of {family}'s")
    if int(match[1]) > int(ours):
        raise ResultError(
            f"{where}: its schema is {schema}, this gfbench reads up to {SCHEMA}; upgrade gfbench"
        )


class Malformed(ResultError):
    """A document that lacks what it must have."""


def read_optional(kind: type[T], path: Path, notes: list[str]) -> T | None:
    """Read a document that a crash may have left out or broken."""
    try:
        document = read_document(path)
        return None if document is None else typed(kind, document, path)
    except Malformed as error:
        notes.append(str(error))
        return None


def read_document(path: Path) -> dict[str, Any] | None:
    """Return a file's JSON object; None where there is no file, or only null in it.

    Raises:
        ResultError: it cannot be read, or is not an object.
    """
    content = read_limited(path)
    if content is None or content.strip() == b"null":
        return None
    document = parse(content)
    if not isinstance(document, dict):
        raise Malformed(f"{path} is broken: not a JSON object")
    return document


def read_limited(path: Path) -> bytes | None:
    """Return a file's bytes, None where there is none; refuse a huge one."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_JSON_BYTES:
        raise Malformed(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def parse(content: bytes, constant: Callable[[str], float] = _refuse_constant) -> object:
    """Return the JSON value, None where it is not JSON.

    NaN and infinities are not JSON; ``constant`` can make something of their names all the same.
    """
    try:
        value: object = json.loads(content, parse_constant=constant)
        return _unicode(value) if _SURROGATE.search(content) else value
    except (ValueError, RecursionError):
        return None


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _unicode(value: object) -> object:
    """Replace lone surrogates, which JSON can escape and no file or page can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_unicode(item) for item in value]
    if isinstance(value, dict):
        return {_unicode(name): _unicode(item) for name, item in value.items()}
    return value


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def typed(kind: type[T], document: Mapping[str, Any], path: Path) -> T:
    """Return the object as one of ``records``' dataclasses; unknown fields are ignored.

    Raises:
        Malformed: a field is missing or of another type.
    """
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        adapter = _ADAPTERS[kind] = TypeAdapter(kind)
    try:
        value: T = adapter.validate_python(dict(document))
    except ValidationError as error:
        raise Malformed(f"{path} is broken: {_first_words(error)}") from error
    return value


def _first_words(error: ValidationError) -> str:
    """Name the first field that is wrong, what it should be, and what stands there."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    words = f"{where}: {first['msg']}"
    found = first["input"]
    return f"{words}, not {_shown(found)}" if isinstance(found, (int, float, str)) else words


def _shown(value: float | str) -> str:
    """Return a value for a message; an integer may have more digits than Python converts."""
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        return "an integer that no field holds"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
