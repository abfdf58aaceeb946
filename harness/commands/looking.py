"""Commands that prepare and look: init, list, schema, trust, doctor."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from harness import doctor as doctors
from harness import listing, running, simulated_meter, trust
from harness.commands.common import (
    InventoryOption,
    JsonOption,
    TargetOption,
    choose,
    exit_with,
    print_rows,
    read_inventory,
)
from harness.errors import UsageError
from targets import inventory as inventories
from targets.inventory import Inventory, Target

app = typer.Typer()


class Listed(str, Enum):
    """What ``gfbench list`` can list."""

    targets = "targets"
    suites = "suites"
    workloads = "workloads"
    methods = "methods"
    kernels = "kernels"
    platforms = "platforms"
    sensors = "sensors"


@app.command(epilog="Example: gfbench init -o inventory.yaml")
def init(
    output: Annotated[Path, typer.Option("-o", "--output", help="where to write it")] = Path(
        "inventory.yaml"
    ),
    simulated: Annotated[
        bool, typer.Option("--simulated", help="for this machine with a simulated power meter")
    ] = False,
) -> None:
    """Write a commented inventory.yaml to start from."""
    text = inventories.example_text()
    if simulated:
        program = shlex.join([sys.executable, simulated_meter.__file__])
        text = inventories.simulated_text(str(output), program)
    try:
        with output.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{output} already exists — choose another name with -o") from None
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    print(output)


@app.command("list", epilog="Example: gfbench list workloads")
def list_(
    what: Annotated[Listed, typer.Argument(help="what to list")] = Listed.targets,
    target: TargetOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List targets, suites, workloads, methods, kernels, platforms or sensors."""
    rows = _listed(what, inventory, target)
    if as_json:
        print(json.dumps([dict(row) for row in rows], indent=1))
        return
    print_rows(rows)


@app.command(epilog="Example: gfbench schema > inventory.schema.json")
def schema() -> None:
    """Print the JSON Schema of inventory.yaml, with which an editor completes and checks it."""
    print(json.dumps(inventories.json_schema(), indent=1))


@app.command(name="trust", epilog="Example: gfbench trust -t nano-1")
def trust_(
    target: TargetOption = None,
    inventory: InventoryOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="record without asking; only if you have checked the key")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="also replace a key that has changed")
    ] = False,
) -> None:
    """Show a target's host key and record it in known_hosts once you confirm it."""
    if not target:
        raise UsageError("no target is given — use -t NAME, or -t user@host:port for a gateway")
    found = read_inventory(inventory)
    for chosen in _to_trust(found, target):
        key = trust.fetch_host_key(chosen, found)
        print(f"{chosen.name}: {key.host_entry} {key.key_type} {key.fingerprint} ({key.status})")
        if key.status == "known":
            continue
        if not yes and not typer.confirm(
            "Is this the fingerprint that the machine itself shows?", err=True
        ):
            raise UsageError(f"{chosen.name}: the key was not recorded")
        print(f"recorded in {trust.record(key, replace=replace)}")


@app.command(epilog="Example: gfbench doctor -t nano-1")
def doctor(
    target: TargetOption = None, inventory: InventoryOption = None, as_json: JsonOption = False
) -> None:
    """Say what stands between a target and a credible result, and how to put it right."""
    found, targets = choose(inventory, target or ["local"])
    examined = [doctors.examine(chosen, found) for chosen in targets]
    if as_json:
        print(json.dumps([one.to_json() for one in examined], indent=1))
    else:
        for one in examined:
            print("\n".join(one.lines()))
    exit_with(running.gravest(one.exit_code for one in examined))


def _to_trust(found: Inventory | None, selectors: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets meant, which here may also be a gateway's own address."""
    if all("@" in selector[1:] or ":" in selector[4:] for selector in selectors):
        return tuple(trust.trust_target(selector, found) for selector in selectors)
    return tuple(one for one in inventories.select(found, selectors) if not one.local)


def _listed(what: Listed, path: Path | None, selectors: Sequence[str] | None) -> listing.Rows:
    if what is Listed.targets:
        return listing.targets(read_inventory(path))
    if what is Listed.sensors:
        found, targets = choose(path, selectors or ["local"])
        return listing.sensors(targets, found)
    if what is Listed.kernels and selectors:
        found, targets = choose(path, selectors)
        return listing.kernels(targets, found)
    plain: dict[Listed, Callable[[], listing.Rows]] = {
        Listed.suites: listing.suites,
        Listed.workloads: listing.workloads,
        Listed.methods: listing.methods,
        Listed.kernels: listing.kernels,
        Listed.platforms: listing.platform_ids,
    }
    return plain[what]()
