"""What commands share: options, the choice of targets, and printing."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from harness.errors import UsageError
from targets import inventory as inventories
from targets.inventory import Inventory, Target

InventoryOption = Annotated[
    Path | None, typer.Option("-i", "--inventory", help="inventory file [./inventory.yaml]")
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option("-t", "--target", help="a target's name, @group, tag:WORD, all, or local"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output")]
OutputOption = Annotated[Path, typer.Option("-o", "--output", help="result folder")]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", help="a store of results: file:///DIR, s3://BUCKET/DIR or a folder"),
]
RESULTS = Path("results")


def exit_with(code: int) -> None:
    """Leave with a documented exit code, if it is not 0."""
    if code:
        raise typer.Exit(code)


def read_inventory(path: Path | None) -> Inventory | None:
    """Return the inventory named, or the one in this folder; None if there is none."""
    if path is None and not inventories.DEFAULT_PATH.exists():
        return None
    return inventories.load_inventory(path or inventories.DEFAULT_PATH)


def choose(
    path: Path | None, selectors: Sequence[str] | None
) -> tuple[Inventory | None, tuple[Target, ...]]:
    """Return the inventory and the targets that ``-t`` names.

    Raises:
        UsageError: none is named.
        InventoryProblem: a name is not in the inventory.
    """
    if not selectors:
        raise UsageError("no target is given — use -t NAME, or -t local for this machine")
    found = read_inventory(path)
    return found, inventories.select(found, selectors)


def note(message: str) -> None:
    """Print a remark on stderr; stdout carries results."""
    print(message, file=sys.stderr)


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table on a terminal, as tab-separated values elsewhere."""
    if not rows:
        return
    if not sys.stdout.isatty():
        writer = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
        return
    shown = Table(box=None, header_style="bold")
    for name in rows[0]:
        shown.add_column(name)
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    Console().print(shown)
