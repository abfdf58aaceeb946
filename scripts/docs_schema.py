"""Write the page of the result schema from the classes that readers check a result with."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from reports.calibration import noise_floor
from reports.metrics.rows import COLUMNS
from reports.metrics.table import exported_metrics
from reports.results import records
from reports.results.fields import CaseField, Span
from reports.results.power import RailMap
from workloads.spec import messages

INTRODUCTION = f"""# Result schema

Written from the code when this site is built, version `{messages.SCHEMA}`. Fields that a file
lacks take their default; unknown fields are ignored; a newer major version is refused. *null* means
not measured, never 0. Units are in the names: `_s` seconds, `_bytes` bytes, `_w` watts, `_j`
joules, `_c` degrees Celsius, `_mhz` megahertz. `t_s`, `window_s` and `starts_s` are of the board's
monotonic clock, `*_at` is wall time (ISO 8601, UTC). Which file is for what is told in
[Results and exports](results.md).
"""
FILES = (  # heading, what else to know of it, the class at its root
    (
        "run.json",
        "It also holds the suite as it was read and the inventory's entries.",
        records.RunHeader,
    ),
    (
        "floors.json",
        "Only in runs that are measured to be judged; null for a machine without a noise floor.",
        noise_floor.KeptFloors,
    ),
    ("targets/TARGET/session.json", "", records.SessionRecord),
    ("targets/TARGET/probe.json", "It also holds every sensor file that was read.", records.Probe),
    (
        "targets/TARGET/journal.jsonl",
        "One JSON object per line. `type` is `block` in these; windows of the idle machine are "
        "lines of type `idle` with `place` and `window_s`.",
        records.BlockRecord,
    ),
    ("targets/TARGET/power.json", "", RailMap),
)
NAMES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
}
CHOICES = {
    "BlockRecord.kind": messages.BLOCK_KINDS,
    "BlockRecord.status": messages.BLOCK_STATUSES,
    "BlockRecord.timing": messages.PHASES,
    "Case.dtype": tuple(messages.DTYPE_BYTES),
    "Network.optimizer": messages.OPTIMIZERS,
}
POWER_CSV = """
## targets/TARGET/power.csv.gz

Gzipped CSV with the header `t_s,sensor,raw`: the instant of the read, the channel's
`id` of power.json, and the number as it was read, in the channel's unit.
"""
CASE = """
## Case

What is measured, everywhere the same object. Its `workload` is called `layer` or `network` in the
files, by what it is.
"""
EXPORT = "\n## Rows of the export\n\nColumns, in order: "


def schema_page() -> str:
    """Return the page in Markdown."""
    parts = [INTRODUCTION]
    shown: set[type] = set()
    for name, about, root in FILES:
        parts.append(f"\n## {name}\n" + (f"\n{about}\n" if about else ""))
        parts += [_section(kind, heading=kind is not root) for kind in _nested(root, shown)]
    parts += [POWER_CSV, CASE]
    kinds = (messages.Case, messages.Layer, messages.Network)
    parts += [_section(kind, heading=True) for kind in kinds]
    parts += [
        EXPORT,
        ", ".join(f"`{column}`" for column in COLUMNS),
        ".\n\n| metric | unit |\n|---|---|\n",
    ]
    parts += [f"| `{metric.name}` | {metric.unit} |\n" for metric in exported_metrics()]
    return "".join(parts)


def _nested(root: type, shown: set[type]) -> Iterator[type]:
    """Yield the class and those of its fields, each once on the whole page."""
    if root in shown:
        return
    shown.add(root)
    yield root
    for hint in get_type_hints(root).values():
        for kind in _classes(hint):
            yield from _nested(kind, shown)


def _classes(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for argument in get_args(hint):
        yield from _classes(argument)


def _section(kind: type, *, heading: bool) -> str:
    document = inspect.cleandoc(kind.__doc__ or "").replace("``", "`")
    about, attributes, described = document.partition("Attributes:")
    about = " ".join(about.split())
    if attributes:
        about += "\n\n" + "\n".join(f"- {line}" for line in _joined(described))
    title = f"\n### {kind.__name__}\n\n" if heading else "\n"
    rows = "".join(f"| `{name}` | {words} | {absent} |\n" for name, words, absent in _fields(kind))
    return f"{title}{about}\n\n| field | holds | if absent |\n|---|---|---|\n{rows}"


def _joined(attributes: str) -> list[str]:
    """Return the lines of an Attributes section, each with the lines that continue it."""
    lines: list[str] = []
    for line in filter(str.strip, attributes.splitlines()):
        continues = lines and line.startswith(" " * 8)
        if continues:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip())
    return lines


def _fields(kind: type) -> Iterator[tuple[str, str, str]]:
    hints = get_type_hints(kind, include_extras=True)
    for name, default in _defaults(kind).items():
        words = _words(hints[name])
        choices = CHOICES.get(f"{kind.__name__}.{name}")
        if choices:
            words += ": " + ", ".join(f"`{choice}`" for choice in choices)
        yield name, words, default


def _defaults(kind: type) -> Mapping[str, str]:
    if is_dataclass(kind):
        return {
            field.name: _default(
                field.default if field.default_factory is MISSING else field.default_factory()
            )
            for field in fields(kind)
        }
    given = getattr(kind, "_field_defaults", {})
    return {name: _default(given.get(name, MISSING)) for name in getattr(kind, "_fields", ())}


def _default(value: object) -> str:
    if value is MISSING:
        return "**required**"
    if value is None:
        return "null"
    if is_dataclass(value) or value in ("", (), {}):
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _words(hint: Any) -> str:
    """Say in words what a field of this type holds."""
    if hint == CaseField or hint in (messages.Case, messages.Layer, messages.Network):
        name = "Case" if hint == CaseField else hint.__name__
        return f"[{name}](#{name.lower()})"
    if hint == Span:
        return "[start, end]"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _words(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_words(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        several = arguments[-1] is Ellipsis
        each = " and ".join(dict.fromkeys(_words(one) for one in arguments if one is not Ellipsis))
        return f"list of {each}" if several else f"list of {len(arguments)}: {each}"
    if origin is dict or origin is Mapping:
        return f"object of {_words(arguments[1])}"
    name = str(getattr(hint, "__name__", hint))
    return f"[{name}](#{name.lower()})" if is_dataclass(hint) else NAMES.get(hint, name)
