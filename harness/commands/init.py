"""``gfbench init``: write an inventory to start from."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import UsageError
from harness.power import simulated_meter
from targets import inventory as inventories

app = typer.Typer()


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
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{output} already exists — choose another name with -o") from None
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    print(output)
