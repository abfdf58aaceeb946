"""Text is UTF-8 whatever the locale: nothing reads, writes or runs anything in its encoding."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("harness", "reports", "targets", "scripts")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MODE = re.compile("[rwxa][bt+]*")


def texts_in_the_locales_encoding(source: str) -> list[int]:
    """Return the lines of calls that read, write or run text and do not say its encoding."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if is_text(call) and not says_encoding(call)]


def is_text(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Attribute):
        if function.attr in ("read_text", "write_text"):
            return True
        if function.attr in ("fdopen", "NamedTemporaryFile", "TemporaryFile"):
            return is_text_mode(call)
        if function.attr == "open":
            return bool(list(modes(call))) and is_text_mode(call)
    if isinstance(function, ast.Name) and function.id == "open":
        return is_text_mode(call)
    names = ("text", "universal_newlines")
    return any(
        keyword.arg in names
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is True
        for keyword in call.keywords
    )


def is_text_mode(call: ast.Call) -> bool:
    return not any("b" in mode for mode in modes(call))


def modes(call: ast.Call) -> Iterator[str]:
    arguments = [*call.args, *(item.value for item in call.keywords if item.arg == "mode")]
    for argument in arguments:
        value = argument.value if isinstance(argument, ast.Constant) else None
        if isinstance(value, str) and MODE.fullmatch(value):
            yield value


def says_encoding(call: ast.Call) -> bool:
    return any(keyword.arg == "encoding" for keyword in call.keywords)


def test_every_text_says_its_encoding() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in FILES
        for line in texts_in_the_locales_encoding(path.read_text(encoding="utf-8"))
    ]
    assert len(FILES) > 100
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "open(path)",
        "open(path, 'w')",
        "path.open('x')",
        "path.open(mode='r')",
        "path.read_text()",
        "path.write_text(text)",
        "os.fdopen(handle, 'w')",
        "subprocess.run(argv, text=True)",
        "subprocess.Popen(argv, universal_newlines=True)",
        "tempfile.NamedTemporaryFile('w')",
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert texts_in_the_locales_encoding(source) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "open(path, 'rb')",
        "path.open('xb')",
        "connection.open()",
        "os.open(path, os.O_RDONLY)",
        "open(path, encoding='utf-8')",
        "path.read_text(encoding='ascii')",
        "subprocess.run(argv)",
        "subprocess.run(argv, text=True, encoding='utf-8')",
    ],
)
def test_the_search_leaves_the_rest_alone(source: str) -> None:
    assert texts_in_the_locales_encoding(source) == []
