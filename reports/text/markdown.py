"""Markdown as GitHub and GitLab render it, from text that is not trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_SPECIAL = re.compile(r"([\\`*{}\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LINKING = re.compile(r"(?<=[@#])|(?<=:)(?=//)|(?<=www)(?=\.)")  # mention, reference, link


def escape(text: str) -> str:
    """Return the text on one line, so that it is shown as it is: no markup, HTML or mentions."""
    line = _CONTROL.sub(" ", text).strip()
    line = "".join(_HTML.get(letter, letter) for letter in line)
    return _LINKING.sub("&#8203;", _SPECIAL.sub(r"\\\1", line))


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; headers and cells are Markdown already."""
    return [row_of(headers), "|" + "---|" * len(headers), *(row_of(cells) for cells in rows)]


def row_of(cells: Sequence[str]) -> str:
    """Return one line of a table."""
    return f"| {' | '.join(cells)} |"


def folded(title: str, lines: Sequence[str]) -> list[str]:
    """Return lines folded behind a title; both are Markdown already."""
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>", ""]
