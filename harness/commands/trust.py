"""``gfbench trust``: record a target's host key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from harness.commands.options import InventoryOption, TargetOption, read_inventory, select
from harness.errors import UsageError
from harness.transport.ssh import trust
from targets.inventory import Inventory, Target

app = typer.Typer()


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
    parsed = read_inventory(inventory)
    for chosen in _to_trust(parsed, target):
        key = trust.fetch_host_key(chosen, parsed)
        print(f"{chosen.name}: {key.host_entry} {key.key_type} {key.fingerprint} ({key.status})")
        if key.status == "known":
            continue
        if not yes and not typer.confirm(
            "Is this the fingerprint that the machine itself shows?", err=True
        ):
            raise UsageError(f"{chosen.name}: the key was not recorded")
        print(f"recorded in {trust.record(key, replace=replace)}")


def _to_trust(inventory: Inventory | None, selectors: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets meant, which here may also be a gateway's own address."""
    if all("@" in selector[1:] or ":" in selector[4:] for selector in selectors):
        return tuple(trust.trust_target(selector, inventory) for selector in selectors)
    return tuple(target for target in select(inventory, selectors) if not target.local)
