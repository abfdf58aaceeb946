"""A subcommand is one module of its name and one line in the table of the command line."""

from __future__ import annotations

import pkgutil
from types import ModuleType

import typer
from typer.testing import CliRunner

from harness import commands
from harness.cli import COMMANDS, command_line

NOT_COMMANDS = {"options"}


def test_a_new_subcommand_is_one_module_and_one_line_of_the_table() -> None:
    weigh = ModuleType("harness.commands.weigh")
    app = typer.Typer()

    @app.command(epilog="Example: gfbench weigh nano")
    def weigh_(target: str) -> None:
        """Say how heavy a board is."""
        print(f"{target}: 140 g")

    weigh.__dict__["app"] = app
    program = command_line([*COMMANDS, weigh])
    listed = CliRunner().invoke(program, ["--help"])
    assert listed.exit_code == 0
    assert "weigh-" in listed.output
    assert "Say how heavy a board is." in listed.output
    answer = CliRunner().invoke(program, ["weigh-", "nano"])
    assert (answer.exit_code, answer.output) == (0, "nano: 140 g\n")


def test_every_module_of_a_subcommand_is_in_the_table() -> None:
    modules = {name for _, name, _ in pkgutil.iter_modules(commands.__path__)}
    assert {module.__name__.rpartition(".")[2] for module in COMMANDS} == modules - NOT_COMMANDS


def test_every_subcommand_is_called_as_its_module() -> None:
    for module in COMMANDS:
        listed = CliRunner().invoke(command_line([module, *COMMANDS[:1]]), ["--help"]).output
        assert f"\n  {module.__name__.rpartition('.')[2]} " in listed
