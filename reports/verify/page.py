"""Comparison of two renderings of one report, item by item. Pure.

A page is compared by what a reader and the page's script get: tags with their attributes, texts,
and embedded JSON. A page from the same program must be equal to the last character. A page from
another version may look different, but its figures must follow from the raw samples.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from reports.metrics.rows import Row
from reports.metrics.table import exported_metrics

RELATIVE_TOLERANCE = 1e-9  # between two versions of numpy, or two processors
MAX_SHOWN = 80  # characters of a text that differs
VOID_TAGS = frozenset({"meta", "link", "br", "img", "input", "hr", "wbr", "col"})
FIGURES = ("value", "ci_low", "ci_high", "n", "status")
NUMBER = re.compile(r"-?\d+(?:\.(\d+))?(?:e([+-]?\d+))?")
POWERS = tuple(10.0**power for power in range(-9, 10, 3))
SCALES = (*POWERS, *(power / 100 for power in POWERS), 2.0**10, 2.0**20, 2.0**30)
CASE = (
    "run_id",
    "target",
    "workload",
    "method",
    "patch_size",
    "kernel",
    "device",
    "dtype",
    "batch",
)
Key = tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A place in a page, what was expected there, and what the page has."""

    place: str
    expected: str
    found: str


@dataclass(frozen=True)
class PageItem:
    """One tag or text of a page; its place does not matter for equality."""

    kind: str
    content: str
    place: str = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class ParsedPage:
    """The parts of a page; ``values`` are (place, data-value, text) of each figure in the text."""

    generator: str
    items: tuple[PageItem, ...]
    documents: dict[str, str]
    values: tuple[tuple[str, str, str], ...]

    def document(self, name: str) -> Any:
        """Return one of the page's JSON documents; None if it is missing or broken."""
        try:
            return json.loads(self.documents.get(name, "null"))
        except (ValueError, RecursionError):
            return None


def take_apart(html: str) -> ParsedPage:
    """Return the parts of a page."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    return ParsedPage(
        generator=parser.generator,
        items=tuple(parser.items),
        documents=parser.documents,
        values=tuple(parser.values),
    )


def differences(expected: ParsedPage, found: ParsedPage) -> Iterator[Difference]:
    """Yield every place where two renderings by the same program differ."""
    for name in dict.fromkeys(("row-data", *expected.documents, *found.documents)):
        if expected.documents.get(name) != found.documents.get(name):
            yield from _document_differences(name, expected, found)
    ours, theirs = _without_common_ends(expected.items, found.items)
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    for kind, our_start, our_end, their_start, their_end in matcher.get_opcodes():
        if kind != "equal":
            pairs = itertools.zip_longest(ours[our_start:our_end], theirs[their_start:their_end])
            for expected_item, found_item in pairs:
                yield _item_difference(expected_item, found_item)


def figure_differences(
    rows: Sequence[Row], found: ParsedPage
) -> tuple[list[Difference], list[str]]:
    """Return the differences between a page of another version and the recomputed rows, and notes.

    The notes name what only this version has.
    """
    theirs = embedded_rows(found.document("row-data"))
    if theirs is None:
        place = "row-data"
        return [Difference(place=place, expected="the rows of the export", found="no rows")], []
    ours = {key_of(vars(row)): vars(row) for row in rows}
    wrong: list[Difference] = []
    for key in ours.keys() & theirs.keys():
        wrong += _row_differences(key, ours[key], theirs[key])
    notes = []
    known = {metric.name for metric in exported_metrics()}
    for key in theirs.keys() - ours.keys():
        if key[-1] in known:
            what = "no such row"
            wrong.append(Difference(place=_row_place(key), expected=what, found="a row"))
    new = sorted({str(key[-1]) for key in ours.keys() - theirs.keys()})
    if new:
        notes.append(f"this version has rows that the report lacks: {', '.join(new)}")
    wrong += [
        Difference(place=place, expected=f"{value}, rounded", found=text)
        for place, value, text in found.values
        if not rounds_to(text, value)
    ]
    return sorted(wrong, key=lambda difference: difference.place), notes


def embedded_rows(data: Any) -> dict[Key, dict[str, Any]] | None:
    """Return by key the rows in a page's data (``reports.page.data``); None if it is broken."""
    try:
        words, cases = data["words"], data["cases"]
        rows = {}
        for case, metric, phase, value, low, high, n, status, reason in data["rows"]:
            row = dict(zip(CASE, (words[index] for index in cases[case][3:12]), strict=True))
            row["patch_size"] = int(row["patch_size"]) if row["patch_size"] else None
            row["batch"] = int(row["batch"])
            row.update(phase=words[phase], metric=words[metric], value=value, n=n)
            row.update(ci_low=low, ci_high=high, status=words[status], reason=words[reason])
            rows[key_of(row)] = row
        return rows
    except (TypeError, KeyError, IndexError, ValueError):
        return None


def key_of(row: Any) -> Key:
    """Return the columns that identify a row among those of all runs; the metric is last."""
    return tuple(row[name] for name in (*CASE, "phase", "metric"))


def rounds_to(text: str, value: str) -> bool:
    """Say whether a text shows the value, rounded, in any unit or as a percentage."""
    match = NUMBER.search(text)
    try:
        exact = float(value)
    except ValueError:
        return True  # not a figure
    if match is None or not math.isfinite(exact):
        return match is None and not math.isfinite(exact)
    shown = float(match[0])
    half = 0.5000001 * 10.0 ** (int(match[2] or 0) - len(match[1] or ""))
    return any(abs(shown - exact / scale) <= half for scale in SCALES if shown or scale == 1.0)


def _without_common_ends(
    ours: Sequence[PageItem], theirs: Sequence[PageItem]
) -> tuple[Sequence[PageItem], Sequence[PageItem]]:
    """Remove the common start and end: comparing the rest takes quadratic time."""
    shorter = min(len(ours), len(theirs))
    start = 0
    while start < shorter and ours[start] == theirs[start]:
        start += 1
    end = 0
    while end < shorter - start and ours[-1 - end] == theirs[-1 - end]:
        end += 1
    return ours[start : len(ours) - end], theirs[start : len(theirs) - end]


def _document_differences(
    name: str, expected: ParsedPage, found: ParsedPage
) -> Iterator[Difference]:
    ours, theirs = expected.document(name), found.document(name)
    if theirs is None or ours is None:
        actual = "no JSON" if name in found.documents else "nothing"
        yield Difference(place=name, expected="data" if ours else "nothing", found=actual)
        return
    equal = True
    for place, expected_value, found_value in _different_leaves(ours, theirs, ""):
        equal = False
        yield Difference(
            place=_named(name, place, ours),
            expected=_shown(expected_value),
            found=_shown(found_value),
        )
    if equal:
        place = f"{name}, the same data written differently"
        yield Difference(
            place=place,
            expected=_hash(expected.documents[name]),
            found=_hash(found.documents[name]),
        )


def _different_leaves(ours: Any, theirs: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (place, our value, their value) where two JSON values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in dict.fromkeys((*ours, *theirs)):
            our_value, their_value = ours.get(name, _ABSENT), theirs.get(name, _ABSENT)
            yield from _different_leaves(our_value, their_value, f"{place}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        pairs = itertools.zip_longest(ours, theirs, fillvalue=_ABSENT)
        for index, (our_value, their_value) in enumerate(pairs):
            yield from _different_leaves(our_value, their_value, f"{place}[{index}]")
    elif ours is not theirs and (type(ours) is not type(theirs) or ours != theirs):
        yield place.lstrip("."), ours, theirs


_ABSENT = object()


def _named(document: str, place: str, ours: Any) -> str:
    """Return a place in a page's JSON; in a row, with the case and the column."""
    match = re.match(r"rows\[(\d+)\](?:\[(\d+)\])?", place)
    rows = embedded_rows(ours) if match else None
    if match is None or rows is None or int(match[1]) >= len(rows):
        return f"{document} {place}"
    columns = ("case", "metric", "phase", *FIGURES, "reason")
    column = columns[int(match[2])] if match[2] and int(match[2]) < len(columns) else ""
    return f"{document} {place}: {_row_place(list(rows)[int(match[1])])} {column}".rstrip()


def _row_place(key: Key) -> str:
    _, target, workload, method, patch, kernel, device, dtype, batch, phase, metric = key
    case = f"{workload} {method}" + (f" r{patch}" if patch else "")
    return " ".join(f"{target}: {case} {kernel} {device} {dtype} b{batch} {phase} {metric}".split())


def _row_differences(key: Key, ours: Any, theirs: Any) -> Iterator[Difference]:
    for name in FIGURES:
        if not _alike(ours[name], theirs[name]):
            yield Difference(
                place=f"row-data: {_row_place(key)} {name}",
                expected=_shown(ours[name]),
                found=_shown(theirs[name]),
            )


def _alike(ours: Any, theirs: Any) -> bool:
    for value in (ours, theirs):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return bool(ours == theirs)
    return math.isclose(ours, theirs, rel_tol=RELATIVE_TOLERANCE)


def _item_difference(expected: PageItem | None, found: PageItem | None) -> Difference:
    place = (found or expected or PageItem("", "", "")).place
    ours = "nothing" if expected is None else expected.content
    theirs = "nothing" if found is None else found.content
    start = 0
    if max(len(ours), len(theirs)) > MAX_SHOWN:  # show what is around the first difference
        pairs = enumerate(zip(ours, theirs, strict=False))
        first = next((index for index, (a, b) in pairs if a != b), 0)
        start = max(0, first - MAX_SHOWN // 2)
    end = start + MAX_SHOWN
    return Difference(place=place, expected=ours[start:end], found=theirs[start:end])


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _hash(text: str) -> str:
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


class _Parser(HTMLParser):
    """Collects the items, JSON documents and figures of a page, with their places."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.generator = ""
        self.items: list[PageItem] = []
        self.documents: dict[str, str] = {}
        self.values: list[tuple[str, str, str]] = []
        self._open: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "meta" and attributes.get("name") == "generator":
            self.generator = attributes.get("content", "")
        text = " ".join(f'{name}="{value}"' for name, value in attrs)
        self.items.append(PageItem("tag", f"<{tag} {text}>", self._place(tag)))
        if tag not in VOID_TAGS:
            self._open.append((tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        self.items.append(PageItem("end", f"</{tag}>", self._place(tag)))
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, attributes = self._open[-1] if self._open else ("", {})
        text = " ".join(data.split())
        if tag == "script" and attributes.get("type") == "application/json":
            name = attributes.get("id", "")
            self.documents[name] = self.documents.get(name, "") + data
        elif tag in ("script", "style"):
            self.items.append(PageItem(tag, _hash(data), self._place(f"{tag}'s code")))
        elif text:
            if "data-value" in attributes:
                self.values.append((self._place("text"), attributes["data-value"], text))
            self.items.append(PageItem("text", text, self._place("text")))

    def handle_comment(self, data: str) -> None:
        self.items.append(PageItem("comment", data, self._place("comment")))

    def handle_decl(self, decl: str) -> None:
        self.items.append(PageItem("declaration", decl, self._place("declaration")))

    def _place(self, what: str) -> str:
        inside = next((a["id"] for _, a in reversed(self._open) if a.get("id")), "")
        near = f" of #{inside}" if inside else ""
        within = f" in <{self._open[-1][0]}>" if self._open else ""
        return f"line {self.getpos()[0]}, {what}{within}{near}"
