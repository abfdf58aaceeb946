"""``gfbench schema``: print the JSON Schema of the inventory."""

from __future__ import annotations

import json

import typer

from targets import inventory as inventories

app = typer.Typer()


@app.command(epilog="Example: gfbench schema > inventory.schema.json")
def schema() -> None:
    """Print the JSON Schema of inventory.yaml, with which an editor completes and checks it."""
    print(json.dumps(inventories.json_schema(), indent=1))
