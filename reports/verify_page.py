"""Two renderings of one report, told apart item by item. Pure.

A page is taken as what a reader and its script get: tags with their attributes, texts, and the
JSON in it. A page that the same program rendered must be equal to the last character. One that
another version rendered may look different, but its figures must be those of the raw samples.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from reports.rows import UNITS, Row

TOLERANCE = 1e-9  # between two versions of numpy, or two processors
SHOWN = 80  # characters of a text that differs
VOID = frozenset({"meta", "link", "br", "img", "input", "hr", "wbr", "col"})
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
    """A place of a page, what the raw samples give there, and what stands there."""

    place: str
    expected: str
    found: str


@dataclass(frozen=True)
class Item:
    """One tag or text of a page."""

    kind: str
    content: str
    place: str = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page taken apart; ``values`` are (place, data-value, text) of the figures in the text."""

    generator: str
    items: tuple[Item, ...]
    documents: dict[str, str]
    values: tuple[tuple[str, str, str], ...]

    def document(self, name: str) -> Any:
        """Return one of the page's JSON documents, None where there is no such or it is broken."""
        try:
            return json.loads(self.documents.get(name, "null"))
        except (ValueError, RecursionError):
            return None


def take_apart(html: str) -> Page:
    """Return what a page consists of."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    return Page(
        generator=parser.generator,
        items=tuple(parser.items),
        documents=parser.documents,
        values=tuple(parser.values),
    )


def differences(expected: Page, found: Page) -> Iterator[Difference]:
    """Yield every place in which two renderings by the same program differ."""
    for name in dict.fromkeys(("row-data", *expected.documents, *found.documents)):
        if expected.documents.get(name) != found.documents.get(name):
            yield from _document_differences(name, expected, found)
    ours, theirs = _without_common_ends(expected.items, found.items)
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            for number in range(max(b - a, d - c)):
                one = ours[a + number] if a + number < b else None
                other = theirs[c + number] if c + number < d else None
                yield _item_difference(one, other)


def figure_differences(rows: Sequence[Row], found: Page) -> tuple[list[Difference], list[str]]:
    """Compare the figures in a page of another version with the rows recomputed.

    Returns the differences, and notes on what only one of the versions has.
    """
    theirs = embedded_rows(found.document("row-data"))
    if theirs is None:
        place = "row-data"
        return [Difference(place=place, expected="the rows of the export", found="no rows")], []
    ours = {key_of(vars(row)): vars(row) for row in rows}
    wrong = [d for key in ours.keys() & theirs.keys() for d in _row(key, ours[key], theirs[key])]
    notes = []
    for key in theirs.keys() - ours.keys():
        if key[-1] in UNITS:
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
    return sorted(wrong, key=lambda one: one.place), notes


def embedded_rows(data: Any) -> dict[Key, dict[str, Any]] | None:
    """Return the rows that ``page_data`` put into a page, by what tells them apart."""
    try:
        words, cases = data["words"], data["cases"]
        found = {}
        for case, metric, phase, value, low, high, n, status, reason in data["rows"]:
            row = dict(zip(CASE, (words[place] for place in cases[case][3:12]), strict=True))
            row["patch_size"] = int(row["patch_size"]) if row["patch_size"] else None
            row["batch"] = int(row["batch"])
            row.update(phase=words[phase], metric=words[metric], value=value, n=n)
            row.update(ci_low=low, ci_high=high, status=words[status], reason=words[reason])
            found[key_of(row)] = row
        return found
    except (TypeError, KeyError, IndexError, ValueError):
        return None


def key_of(row: Any) -> Key:
    """Return what tells the rows of all runs apart; the metric is last."""
    return tuple(row[name] for name in (*CASE, "phase", "metric"))


def rounds_to(text: str, value: str) -> bool:
    """Tell whether a text shows the value, rounded, in whatever unit or as a percentage."""
    match = NUMBER.search(text)
    try:
        exact = float(value)
    except ValueError:
        return True  # no figure
    if match is None or not math.isfinite(exact):
        return match is None and not math.isfinite(exact)
    shown = float(match[0])
    half = 0.5000001 * 10.0 ** (int(match[2] or 0) - len(match[1] or ""))
    return any(abs(shown - exact / scale) <= half for scale in SCALES if shown or scale == 1.0)


def _without_common_ends(
    ours: Sequence[Item], theirs: Sequence[Item]
) -> tuple[Sequence[Item], Sequence[Item]]:
    """Leave out what both begin and end with, as a comparison of the rest takes its square."""
    shorter = min(len(ours), len(theirs))
    start = next((i for i in range(shorter) if ours[i] != theirs[i]), shorter)
    left = shorter - start
    end = next((i for i in range(left) if ours[-1 - i] != theirs[-1 - i]), left)
    return ours[start : len(ours) - end], theirs[start : len(theirs) - end]


def _document_differences(name: str, expected: Page, found: Page) -> Iterator[Difference]:
    ours, theirs = expected.document(name), found.document(name)
    if theirs is None or ours is None:
        said = "no JSON" if name in found.documents else "nothing"
        yield Difference(place=name, expected="data" if ours else "nothing", found=said)
        return
    count = 0
    for place, one, other in _leaves(ours, theirs, ""):
        count += 1
        yield Difference(place=_named(name, place, ours), expected=_shown(one), found=_shown(other))
    if not count:
        place = f"{name}, the same data written differently"
        yield Difference(
            place=place,
            expected=_hash(expected.documents[name]),
            found=_hash(found.documents[name]),
        )


def _leaves(one: Any, other: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys((*one, *other)):
            yield from _leaves(one.get(name, _ABSENT), other.get(name, _ABSENT), f"{place}.{name}")
    elif isinstance(one, list) and isinstance(other, list):
        for i in range(max(len(one), len(other))):
            a, b = (side[i] if i < len(side) else _ABSENT for side in (one, other))
            yield from _leaves(a, b, f"{place}[{i}]")
    elif one is not other and (type(one) is not type(other) or one != other):
        yield place.lstrip("."), one, other


_ABSENT = object()


def _named(document: str, place: str, ours: Any) -> str:
    """Return a place in a page's data; of a row of the export with what it is about."""
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


def _row(key: Key, ours: Any, theirs: Any) -> Iterator[Difference]:
    for name in FIGURES:
        if not _alike(ours[name], theirs[name]):
            yield Difference(
                place=f"row-data: {_row_place(key)} {name}",
                expected=_shown(ours[name]),
                found=_shown(theirs[name]),
            )


def _alike(one: Any, other: Any) -> bool:
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (one, other))
    return math.isclose(one, other, rel_tol=TOLERANCE) if numbers else bool(one == other)


def _item_difference(one: Item | None, other: Item | None) -> Difference:
    place = (other or one or Item("", "", "")).place
    ours, theirs = ("nothing" if item is None else item.content for item in (one, other))
    start = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
    start = max(0, start - SHOWN // 2) if max(len(ours), len(theirs)) > SHOWN else 0
    return Difference(
        place=place, expected=ours[start : start + SHOWN], found=theirs[start : start + SHOWN]
    )


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _hash(text: str) -> str:
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


class _Parser(HTMLParser):
    """Collects items, JSON documents and figures; knows where it is."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.generator = ""
        self.items: list[Item] = []
        self.documents: dict[str, str] = {}
        self.values: list[tuple[str, str, str]] = []
        self._open: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "meta" and attributes.get("name") == "generator":
            self.generator = attributes.get("content", "")
        said = " ".join(f'{name}="{value}"' for name, value in attrs)
        self.items.append(Item("tag", f"<{tag} {said}>", self._place(tag)))
        if tag not in VOID:
            self._open.append((tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        self.items.append(Item("end", f"</{tag}>", self._place(tag)))
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, attributes = self._open[-1] if self._open else ("", {})
        text = " ".join(data.split())
        if tag == "script" and attributes.get("type") == "application/json":
            name = attributes.get("id", "")
            self.documents[name] = self.documents.get(name, "") + data
        elif tag in ("script", "style"):
            self.items.append(Item(tag, _hash(data), self._place(f"{tag}'s code")))
        elif text:
            if "data-value" in attributes:
                self.values.append((self._place("text"), attributes["data-value"], text))
            self.items.append(Item("text", text, self._place("text")))

    def handle_comment(self, data: str) -> None:
        self.items.append(Item("comment", data, self._place("comment")))

    def handle_decl(self, decl: str) -> None:
        self.items.append(Item("declaration", decl, self._place("declaration")))

    def _place(self, what: str) -> str:
        inside = next((a["id"] for _, a in reversed(self._open) if a.get("id")), "")
        near = f" of #{inside}" if inside else ""
        within = f" in <{self._open[-1][0]}>" if self._open else ""
        return f"line {self.getpos()[0]}, {what}{within}{near}"
