"""The command line: gathers the commands; turns what goes wrong into the documented exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable
from types import ModuleType
from typing import Annotated, Any, NoReturn

import typer

from harness.commands import (
    bisect,
    calibrate,
    compare,
    doctor,
    export,
    gate,
    init,
    publish,
    pull,
    push,
    query,
    report,
    resume,
    run,
    schema,
    serve,
    show,
    store,
    trust,
    verify,
)
from harness.commands import list as list_
from harness.errors import GfbenchError
from reports.text.masking import MaskedStream, masked

BUG = 70
INTERRUPTED = 130
COMMANDS: tuple[ModuleType, ...] = (  # in the order of --help
    init,
    list_,
    schema,
    trust,
    doctor,
    run,
    resume,
    calibrate,
    gate,
    compare,
    bisect,
    report,
    show,
    verify,
    export,
    push,
    pull,
    query,
    store,
    publish,
    serve,
)


def command_line(commands: Iterable[ModuleType]) -> typer.Typer:
    """Return the program with a subcommand for each module, in their order."""
    app = typer.Typer(
        add_completion=True,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help="Benchmark exact and gradient-filtered backward passes on edge boards.",
    )
    for command in commands:
        app.add_typer(command.app)
    app.callback()(_main_options)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(metadata.version("gfbench"))
        raise typer.Exit


def _main_options(
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Take the options that come before a command."""


app = command_line(COMMANDS)


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    _guard_output()
    try:
        code = app(standalone_mode=False) or 0  # what typer.Exit carries comes back as a value
    except (KeyboardInterrupt, typer.Abort):
        code = _say("interrupted; what was measured is saved", INTERRUPTED)
    except GfbenchError as error:
        code = _say(str(error), error.exit_code)
    except BrokenPipeError:
        code = 0
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the interpreter's own flush
    except SystemExit as ended:  # Typer's answer to a closed pipe
        code = 0 if isinstance(ended.__context__, BrokenPipeError) else int(ended.code or 0)
    except Exception as error:
        code = _usage(error) if hasattr(error, "format_message") else _bug(error)
    _flush()
    raise SystemExit(code)


def _guard_output() -> None:
    """Let no secret out, and let no character that the encoding lacks end a command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            # In UTF-8 that is for names of files that are not text, which come out as they are.
            if stream.errors != "surrogateescape" or stream.encoding.lower() != "utf-8":
                stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, MaskedStream(stream))


def _as_interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _usage(error: Any) -> int:
    """Report what is wrong with the options, with the usage line."""
    context = getattr(error, "ctx", None)
    usage = f"{context.get_usage()}\n" if context else ""
    message = error.format_message()
    if message.startswith("Usage:"):  # no command at all: the help is the answer
        print(message, file=sys.stderr)
        return 2
    return _say(message, 2, before=usage)


def _bug(error: Exception) -> int:
    try:
        handle, path = tempfile.mkstemp(prefix="gfbench-bug-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(masked(f"{sys.argv}\n{sys.version}\n{traceback.format_exc()}"))
    except OSError as problem:
        path = f"lost ({problem.strerror})"
    return _say(f"this is a bug: {type(error).__name__}: {error}; the log is {path}", BUG)


def _say(message: str, code: int, before: str = "") -> int:
    print(f"{before}gfbench: {message}", file=sys.stderr)
    return code


def _flush() -> None:
    try:
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
