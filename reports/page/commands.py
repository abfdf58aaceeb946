"""The commands that measure again: a whole run, or one point of it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from reports.metrics.rows import Row
from reports.results.records import Run
from workloads.spec.methods import BASELINE

# Options of `run` that say what is measured or where; those of a point replace them.
CHOOSING = (
    "-t", "--target", "--workload", "--method", "--kernel", "--patch-size", "--batch", "--device",
    "--dtype", "--seed", "--rounds", "--suite", "-o", "--output",
)  # fmt: skip
FLAGS = ("--dry-run", "--detach", "--energy", "--no-energy", "--paper-mode", "--until-decided")
DROPPED_FLAGS = ("--dry-run", "--detach")


def command_of(run: Run) -> str:
    """Return the command line that repeats the run, with its seed."""
    argv = list(run.header.argv)
    if not argv:
        return ""
    argv[0] = PurePath(argv[0]).name
    if run.header.seed is not None and not any(arg.startswith("--seed") for arg in argv):
        argv += ["--seed", str(run.header.seed)]
    return shlex.join(argv)


def start_of_repeat(run: Run, target: str) -> str:
    """Return how the command begins that measures a case of a target again; empty if unknown."""
    argv = run.header.argv
    if len(argv) < 2 or argv[1] != "run":
        return ""
    options = list(_options(argv[2:]))
    suite = next((value for name, value in options if name == "--suite"), "")
    command = [PurePath(argv[0]).name, "run", "-t", target]
    if suite:
        command += ["--suite", suite]
    if run.header.rounds:
        command += ["--rounds", str(run.header.rounds)]
    if run.header.seed is not None:
        command += ["--seed", str(run.header.seed)]
    for name, value in options:
        if name not in CHOOSING and name not in DROPPED_FLAGS:
            command.append(name)
            if value is not None:
                command.append(value)
    return shlex.join(command)


def end_of_repeat(run: Run, row: Row) -> str:
    """Return the options that choose the row's case; exact is measured beside it by itself."""
    options = ["--workload", row.workload, "--method", row.method]
    if row.patch_size is not None:
        options += ["--patch-size", str(row.patch_size)]
    if row.method != BASELINE:
        options += ["--kernel", _kernel(run, row.kernel)]
    options += ["--batch", str(row.batch), "--device", row.device, "--dtype", row.dtype]
    return shlex.join(options)


def _kernel(run: Run, name: str) -> str:
    """Return the kernel as the command line named it: a file of one's own has its path there."""
    given = (value for option, value in _options(run.header.argv[2:]) if option == "--kernel")
    return next((value for value in given if value and value.startswith(f"{name}=")), name)


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the options with their values; None for a flag."""
    arguments = iter(argv)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not argument.startswith("-"):
            continue
        if equals and argument.startswith("--"):
            yield name, value
        elif argument in FLAGS:
            yield argument, None
        else:
            yield argument, next(arguments, None)
