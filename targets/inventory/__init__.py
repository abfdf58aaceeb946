"""inventory.yaml as frozen dataclasses; every complaint names file, line, key and remedy.

Everything wrong in a file is reported at once. The controller's own machine is always there, as
`local`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from targets.inventory.addresses import parse_address
from targets.inventory.checks import LOCAL, check, gateway_of, hint
from targets.inventory.example import EXAMPLE, SIMULATED
from targets.inventory.schema import InventoryFile, PowerMeter, Settings, TargetEntry
from targets.inventory.yaml_lines import YamlProblem, read_yaml

DEFAULT_PATH = Path("inventory.yaml")


class InventoryProblem(Exception):
    """The inventory, or a selection from it, cannot be used.

    The attributes describe the first thing that is wrong; `rest` holds the others of the file.
    """

    def __init__(
        self,
        path: Path,
        line: int | None,
        key: str,
        message: str,
        remedy: str,
        *,
        rest: tuple[InventoryProblem, ...] = (),
    ) -> None:
        """Keep file, line, key, message and remedy apart."""
        super().__init__(path, line, key, message, remedy)
        self.path = path
        self.line = line
        self.key = key
        self.message = message
        self.remedy = remedy
        self.rest = rest

    def __str__(self) -> str:
        """Write this and the other problems as `file:line: key: message — remedy`, one a line."""
        where = f"{self.path}:{self.line}" if self.line is not None else str(self.path)
        own = ": ".join(part for part in (where, self.key, self.message) if part)
        if self.remedy:
            own = f"{own} — {self.remedy}"
        return "\n".join([own, *(str(problem) for problem in self.rest)])


@dataclass(frozen=True, kw_only=True)
class Power:
    """Where a target's power comes from; `argument` is the program, file or rail, else None."""

    kind: str = "auto"  # auto, off, jtop, pyrapl, pynvml, command, csv, rail
    argument: str | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """One machine, an entry of the inventory with the defaults filled in."""

    name: str
    host: str | None = None  # None for local only
    port: int | None = None
    user: str | None = None
    identity_file: str | None = None
    gateway: str | None = None
    python: str = "python3"
    platform: str = "auto"
    power: Power = Power()
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    sysroot: str = "/"
    workdir: str = "~/.cache/gfbench"
    threads: int | None = None
    min_window_s: float | None = None
    setup: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    import_s: float = 240.0
    compile_s: float = 300.0
    reconnect_s: float = 60.0

    @property
    def local(self) -> bool:
        """Return whether the target is this machine, reached without SSH."""
        return self.host is None


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The machines of one file; `targets` keeps the order of the file."""

    path: Path
    targets: Mapping[str, Target]
    groups: Mapping[str, tuple[str, ...]]


def load_inventory(path: Path) -> Inventory:
    """Read and check an inventory file.

    Raises:
        InventoryProblem: The file cannot be read or has something wrong in it.
    """
    try:
        document = read_yaml(_read_text(path))
    except YamlProblem as problem:
        raise _placed(path, problem) from None
    if document.data is None:
        remedy = "Run `gfbench init` in an empty folder for a commented example."
        raise InventoryProblem(path, None, "", "the file is empty", remedy)
    entries, complaints = check(document)
    if complaints or entries is None:
        first, *rest = [_placed(path, problem) for problem in complaints]
        first.rest = tuple(rest)
        raise first
    targets = {
        name: _target(name, entry, entries.defaults) for name, entry in entries.targets.items()
    }
    groups = {name: tuple(dict.fromkeys(members)) for name, members in entries.groups.items()}
    return Inventory(path=path, targets=targets, groups=groups)


def local_target(inventory: Inventory | None) -> Target:
    """Return this machine, with the inventory's settings for `local` if it has any."""
    if inventory is None:
        return Target(name=LOCAL)
    return inventory.targets.get(LOCAL, Target(name=LOCAL))


def gateway_target(inventory: Inventory, target: Target) -> Target | None:
    """Return the machine to jump through: a target, or one made of user@host:port."""
    if target.gateway is None:
        return None
    if target.gateway in inventory.targets:
        return inventory.targets[target.gateway]
    return target_at(target.gateway)


def target_at(text: str) -> Target:
    """Return the machine at `[user@]host[:port]`, which needs no entry of its own.

    Raises:
        NotAnAddress: It is not an address.
    """
    address = parse_address(text)
    return Target(name=text, host=address.host, user=address.user, port=address.port)


def select(inventory: Inventory | None, selectors: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets meant by names, `@group`, `tag:word` and `all`, each once, in order.

    `all` leaves `local` out; `local` needs no inventory.

    Raises:
        InventoryProblem: A selector means no target.
    """
    chosen: dict[str, Target] = {}
    for selector in selectors:
        for target in _selected(inventory, selector):
            chosen.setdefault(target.name, target)
    return tuple(chosen.values())


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of inventory.yaml, for editors to complete and check by."""
    schema = InventoryFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def example_text() -> str:
    """Return the commented inventory that `gfbench init` writes."""
    return EXAMPLE


def simulated_text(path: str, program: str) -> str:
    """Return an inventory at ``path`` in which ``program`` prints this machine's watts."""
    return SIMULATED.format(path=path, program=json.dumps(program))


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        remedy = "Give the file with -i, or run `gfbench init` to write one."
        raise InventoryProblem(path, None, "", message, remedy) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InventoryProblem(path, line, "", "not UTF-8", "Save the file as UTF-8.") from None


def _placed(path: Path, problem: YamlProblem) -> InventoryProblem:
    return InventoryProblem(path, problem.line, problem.key, problem.message, problem.remedy)


def _target(name: str, entry: TargetEntry, defaults: Settings) -> Target:
    """Fill the defaults in: env and labels are joined, everything else is replaced."""
    values = {key: getattr(defaults, key) for key in defaults.model_fields_set}
    values |= {key: getattr(entry, key) for key in entry.model_fields_set}
    for key in ("env", "labels"):
        joined = {**getattr(defaults, key), **getattr(entry, key)}
        values[key] = {variable: str(value) for variable, value in joined.items()}
    for key in {"tags", "setup", "restore"} & values.keys():
        values[key] = tuple(values[key])
    values["power"] = _power(values.get("power", "auto"))
    values["gateway"] = gateway_of(name, entry, defaults)
    target = Target(name=name, **values)
    if target.host is None:  # local
        return replace(target, port=None, user=None, identity_file=None)
    address = parse_address(target.host)
    return replace(
        target,
        host=address.host,
        user=address.user or target.user,
        port=address.port or target.port,
    )


def _power(entry: str | PowerMeter) -> Power:
    if isinstance(entry, str):
        return Power(kind=entry)
    ((kind, argument),) = entry.model_dump(exclude_none=True).items()
    return Power(kind=kind, argument=argument)


def _selected(inventory: Inventory | None, selector: str) -> tuple[Target, ...]:
    targets = dict(inventory.targets) if inventory else {}
    groups = inventory.groups if inventory else {}
    targets.setdefault(LOCAL, local_target(inventory))
    if selector == "all":
        selected = tuple(target for target in targets.values() if not target.local)
    elif selector.startswith("@"):
        selected = tuple(targets[name] for name in groups.get(selector[1:], ()))
    elif selector.startswith("tag:"):
        selected = tuple(target for target in targets.values() if selector[4:] in target.tags)
    else:
        selected = tuple(target for target in targets.values() if target.name == selector)
    if selected:
        return selected
    tags = dict.fromkeys(tag for target in targets.values() for tag in target.tags)
    choices = [*targets, *(f"@{group}" for group in groups), *(f"tag:{tag}" for tag in tags), "all"]
    path = inventory.path if inventory else DEFAULT_PATH
    remedy = f"Choose from: {', '.join(choices)}."
    if inventory is None:
        remedy += " There is no inventory; `gfbench init` writes one."
    message = f"no target matches {selector!r}{hint(selector, choices)}"
    raise InventoryProblem(path, None, "", message, remedy)
