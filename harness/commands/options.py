"""What several subcommands share: options, the choice of targets, stores, and printing."""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from harness.errors import GfbenchError, InventoryError, UsageError
from harness.fleet.run import Finished
from reports.metrics.table import gate_names
from reports.store.files import (
    MissingExtra,
    StoreError,
    StoreFiles,
    StoreRefused,
)
from reports.text.masking import without_password
from targets import inventory as inventories
from targets.inventory import Inventory, InventoryProblem, Target
from workloads.spec.messages import PHASES

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
    """Return the inventory named, or the one in this folder; None where there is no file.

    Raises:
        InventoryError: the file cannot be used.
    """
    if path is None and not inventories.DEFAULT_PATH.exists():
        return None
    try:
        return inventories.load_inventory(path or inventories.DEFAULT_PATH)
    except InventoryProblem as problem:
        raise InventoryError(str(problem)) from None


def select(inventory: Inventory | None, selectors: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets that the selectors name.

    Raises:
        InventoryError: a name is not in the inventory.
    """
    try:
        return inventories.select(inventory, selectors)
    except InventoryProblem as problem:
        raise InventoryError(str(problem)) from None


def choose(
    path: Path | None, selectors: Sequence[str] | None
) -> tuple[Inventory | None, tuple[Target, ...]]:
    """Return the inventory and the targets that ``-t`` names.

    Raises:
        UsageError: none is named.
        InventoryError: the file cannot be used, or a name is not in it.
    """
    if not selectors:
        raise UsageError("no target is given — use -t NAME, or -t local for this machine")
    inventory = read_inventory(path)
    return inventory, select(inventory, selectors)


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


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What became of pushing one run: where it is, or what went wrong and how to go on."""

    url: str = ""
    already: bool = False
    error: GfbenchError | None = None

    @property
    def exit_code(self) -> int:
        """The command's exit code as far as this run goes."""
        return 0 if self.error is None else self.error.exit_code


def check_store(url: str) -> None:
    """Refuse a URL that no push could use, before hours are spent on measuring.

    Raises:
        UsageError: it is not a store's URL.
        MissingExtra: a library is missing.
    """
    from reports.store import tables  # noqa: F401 - whether pyarrow is there

    try:
        StoreFiles(url)
    except StoreRefused as refusal:
        raise UsageError(str(refusal)) from None


def try_push(folder: Path, url: str) -> Attempt:
    """Push a run; a failure leaves the run as it is and names the command that tries again."""
    try:
        from reports.store import store

        pushed = store.push(folder, url)
    except StoreError as problem:
        again = f"gfbench push {shlex.quote(str(folder))} --store {shlex.quote(shown_url(url))}"
        return Attempt(
            error=StoreError(f"{problem} — {folder} is unchanged; to try again: {again}")
        )
    except (StoreRefused, MissingExtra) as error:
        return Attempt(error=error)
    return Attempt(url=pushed.place, already=pushed.already)


def shown_url(url: str) -> str:
    """Return the URL without what might be a secret."""
    return without_password(url)


METRICS = ",".join(gate_names())
MetricOption = Annotated[str, typer.Option(help=f"one or more of {METRICS}")]
PhaseOption = Annotated[str, typer.Option(help=f"one or more of {','.join(PHASES)}")]
MarginOption = Annotated[str, typer.Option(help="smallest change that matters: 3% or 0.03")]
SuiteOption = Annotated[str, typer.Option(help="a suite's name, or the path of its file")]
KernelOption = Annotated[
    list[str] | None,
    typer.Option(help="a kernel's name, or mine=FILE in a repository: as of each revision"),
]
RoundsOption = Annotated[
    int | None,
    typer.Option(min=1, help="pairs [as many as needed: 8, 12, 16 or 20, and 8 to verify]"),
]
WindowOption = Annotated[float | None, typer.Option("--min-window", help="seconds per window")]
SeedOption = Annotated[int | None, typer.Option(help="seed of the order and the data [random]")]
PHASE = "backward,step"  # a step adds the forward, which saves


def kernel_names(kernels: Sequence[str] | None) -> list[str] | None:
    """Return the names in ``--kernel`` values; None where none is given."""
    return [value.partition("=")[0] for value in kernels] if kernels else None


def troubles(finished: Finished) -> list[str]:
    """Return what went wrong on which target, and what a reader has to know of it."""
    lines = []
    for outcome in finished.outcomes:
        if outcome.reason:
            remedy = f" — {outcome.remedy}" if outcome.remedy else ""
            lines.append(f"{outcome.target}: {outcome.status}: {outcome.reason}{remedy}")
        # A bug's traceback, of several lines, is in session.json.
        notes = [remark for remark in outcome.notes if "\n" not in remark]
        lines += [f"{outcome.target}: note: {remark}" for remark in notes]
    return lines


class Policy(str, Enum):
    """What an INCONCLUSIVE amounts to."""

    warn = "warn"
    fail = "fail"
    passes = "pass"


def required(store: str | None) -> str:
    """Return the store that was named; refuse to go on without one."""
    if store is None:
        raise UsageError("no store given — use --store file:///DIR or --store s3://BUCKET/DIR")
    return store
