"""What can be wrong in an inventory beyond its YAML: types, keys, names that lead nowhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from targets.inventory.addresses import NotAnAddress, parse_address, user_problem
from targets.inventory.schema import InventoryFile, Settings, TargetEntry, expected, known_keys
from targets.inventory.yaml_lines import KeyPath, YamlDocument, YamlProblem, dotted

LOCAL = "local"
_CONNECTION_KEYS = ("host", "port", "user", "identity_file", "gateway")
_NAME_REMEDY = (
    "Use letters, digits, dot, underscore and hyphen, beginning with a letter or digit; "
    "for a variable of env only letters, digits and underscore."
)


def check(document: YamlDocument) -> tuple[InventoryFile | None, list[YamlProblem]]:
    """Return the file's entries, if they fit the schema, and all that is wrong with them."""
    complaints = list(document.problems)
    entries = _validated(document, complaints)
    if entries is not None:
        complaints += _reference_problems(entries, document)
    return entries, sorted(complaints, key=lambda p: (p.line or 0, p.message == "missing"))


def _validated(document: YamlDocument, complaints: list[YamlProblem]) -> InventoryFile | None:
    """Check types and keys; add what is wrong to `complaints`."""
    try:
        return InventoryFile.model_validate(document.data)
    except ValidationError as error:
        seen: set[KeyPath] = set()
        for detail in error.errors(include_url=False):
            path = _key_path(detail["loc"], detail["type"], document)
            if path not in seen:
                seen.add(path)
                kind = "bad name" if detail["loc"][-1:] == ("[key]",) else detail["type"]
                complaints.append(_schema_problem(path, kind, document))
        return None


def _key_path(loc: KeyPath, kind: str, document: YamlDocument) -> KeyPath:
    """Cut pydantic's own additions (branches of a union, "[key]") off a location."""
    if kind == "missing":
        return loc
    depth = 3 if loc[:1] == ("targets",) else 2
    if len(loc) > depth and loc[depth - 1] == "power":
        return loc[:depth]
    while loc and loc not in document.lines:
        loc = loc[:-1]
    return loc


def _schema_problem(path: KeyPath, kind: str, document: YamlDocument) -> YamlProblem:
    line, key = document.line_of(path), dotted(path)
    if kind == "missing":
        return YamlProblem(line, key, "missing", f"Add it: {expected(path)}.")
    if kind == "extra_forbidden":
        keys = known_keys(path)
        message = f"unknown key{hint(str(path[-1]), keys)}"
        return YamlProblem(line, key, message, f"Known keys: {', '.join(keys)}.")
    if kind == "bad name":
        return YamlProblem(line, key, "not a name", _NAME_REMEDY)
    value = _shown(document.data, path)
    return YamlProblem(line, key, f"expected {expected(path)}", f"Found {value}; change it.")


def _shown(data: Any, path: KeyPath) -> str:
    for part in path:
        data = data[part]
    match data:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return f"{str(data).lower()} (a yes/no value; quote it if you mean text)"
        case str():
            return f'the text "{data}"'
    return f"{data} (quote it if you mean text)"


def hint(word: str, choices: Iterable[str]) -> str:
    """Suggest the choice nearest to a mistyped word, "" if none is near."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _reference_problems(entries: InventoryFile, document: YamlDocument) -> list[YamlProblem]:
    """Find names that lead nowhere, machines without a host, and gateways in a circle."""
    problems = _user_problems(("defaults",), entries.defaults)
    for name, entry in entries.targets.items():
        problems += _host_problems(name, entry)
        problems += _user_problems(("targets", name), entry)
    names = [*entries.targets, LOCAL]
    for group, members in entries.groups.items():
        for index, member in enumerate(members):
            if member not in names:
                message = f"{member} is not a target{hint(member, names)}"
                remedy = f"Targets are: {', '.join(dict.fromkeys(names))}."
                problems.append(_Unplaced(("groups", group, index), message, remedy))
    problems += _gateway_problems(entries)
    return [problem.at(document) for problem in problems]


@dataclass(frozen=True)
class _Unplaced:
    path: KeyPath
    message: str
    remedy: str

    def at(self, document: YamlDocument) -> YamlProblem:
        line = document.line_of(self.path)
        return YamlProblem(line, dotted(self.path), self.message, self.remedy)


def _host_problems(name: str, entry: TargetEntry) -> list[_Unplaced]:
    path = ("targets", name)
    if name == "all":
        return [_Unplaced(path, "`all` selects every target", "Choose another name.")]
    if name != LOCAL:
        return _address_problems((*path, "host"), entry)
    message = "`local` is this machine and is reached without SSH"
    given = [key for key in _CONNECTION_KEYS if getattr(entry, key) is not None]
    remedy = "Remove the key, or give the target another name."
    return [_Unplaced((*path, key), message, remedy) for key in given]


def _address_problems(path: KeyPath, entry: TargetEntry) -> list[_Unplaced]:
    """Find what is wrong with a host, which may be written as user@host:port."""
    if not entry.host:
        return [_Unplaced(path, "missing", f"Add {expected(path)}.")]
    try:
        address = parse_address(entry.host)
    except NotAnAddress as problem:
        remedy = f"Write {expected(path)}."
        return [_Unplaced(path, f"{entry.host!r} cannot be a host: {problem}", remedy)]
    problems = []
    for key, in_host, beside in (
        ("user", address.user, entry.user),
        ("port", address.port, entry.port),
    ):
        if in_host is not None and beside not in (None, in_host):
            message = f"{entry.host} names the {key} {in_host}, and `{key}` says {beside}"
            problems.append(_Unplaced(path, message, "Keep one of them."))
    return problems


def _user_problems(path: KeyPath, entry: Settings) -> list[_Unplaced]:
    problem = user_problem(entry.user) if entry.user is not None else ""
    if not problem:
        return []
    message = f"{entry.user!r} cannot be a user: {problem}"
    return [_Unplaced((*path, "user"), message, "Write the user name of an account on the board.")]


def _gateway_problems(entries: InventoryFile) -> list[_Unplaced]:
    gateways = {
        name: gateway_of(name, entry, entries.defaults) for name, entry in entries.targets.items()
    }
    problems = []
    for name, gateway in gateways.items():
        own = "gateway" in entries.targets[name].model_fields_set
        path: KeyPath = ("targets", name, "gateway") if own else ("defaults", "gateway")
        if gateway is None:
            continue
        if gateway in gateways and gateway != LOCAL:
            circle = _circle(name, gateways)
            if circle:
                message = f"the gateways form a circle: {' → '.join(circle)}"
                problems.append(_Unplaced(path, message, "Remove the gateway of one of them."))
        elif why := _address_problem(gateway):
            message = f"{gateway} is neither a target nor user@host:port ({why})"
            remedy = "Name a target with a host, or give an address."
            problems.append(_Unplaced(path, message + hint(gateway, gateways), remedy))
    return list(dict.fromkeys(problems))


def gateway_of(name: str, entry: Settings, defaults: Settings) -> str | None:
    """Return a target's gateway; the default one does not apply to the gateway itself."""
    if name == LOCAL or "gateway" in entry.model_fields_set:
        return entry.gateway
    return defaults.gateway if defaults.gateway != name else None


def _address_problem(gateway: str) -> str:
    """Say why a gateway is not user@host:port, "" if it is; a bare word is a mistyped target."""
    try:
        address = parse_address(gateway)
    except NotAnAddress as problem:
        return str(problem)
    return "" if address.user else "it names no user"


def _circle(name: str, gateways: Mapping[str, str | None]) -> tuple[str, ...]:
    """Follow the gateways from `name`; return the circle if it comes back to `name`."""
    circle = [name]
    step = gateways[name]
    while step is not None and step in gateways and step not in circle:
        circle.append(step)
        step = gateways[step]
    return (*circle, name) if step == name else ()
