"""Stores from the command line: their errors with the exit codes, and pushes that may fail."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import GfbenchError, StoreError, StoreRefused, UsageError
from reports.store_files import (
    MissingExtra,
    StoreFiles,
    StoreProblem,
    StoreRefusal,
    without_password,
)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What became of pushing one run: where it is, or what went wrong and how to go on."""

    place: str = ""
    already: bool = False
    error: GfbenchError | None = None

    @property
    def exit_code(self) -> int:
        """The command's exit code as far as this run goes."""
        return 0 if self.error is None else self.error.exit_code


@contextmanager
def store_errors() -> Iterator[None]:
    """Give what goes wrong with a store its exit code.

    Raises:
        StoreError: it cannot be reached, read or written.
        StoreRefused: it does not take or does not have what is asked for.
        UsageError: a library is missing.
    """
    try:
        yield
    except MissingExtra as missing:
        raise UsageError(str(missing)) from None
    except StoreProblem as problem:
        raise StoreError(str(problem)) from None
    except StoreRefusal as refusal:
        raise StoreRefused(str(refusal)) from None


def check_store(url: str) -> None:
    """Refuse a URL that no push could use, before hours are spent on measuring.

    Raises:
        UsageError: no store's URL, or a library is missing.
    """
    try:
        with store_errors():
            from reports import store_summaries  # noqa: F401 - whether pyarrow is there

            StoreFiles(url)
    except StoreRefused as refusal:
        raise UsageError(str(refusal)) from None


def try_push(folder: Path, url: str) -> Attempt:
    """Push a run; a failure leaves the run as it is and names the command that tries again."""
    try:
        with store_errors():
            from reports import store

            pushed = store.push(folder, url)
    except StoreError as error:
        again = f"gfbench push {shlex.quote(str(folder))} --store {shlex.quote(shown(url))}"
        return Attempt(error=StoreError(f"{error} — {folder} is unchanged; to try again: {again}"))
    except StoreRefused as refused:
        return Attempt(error=refused)
    return Attempt(place=pushed.place, already=pushed.already)


def shown(url: str) -> str:
    """Return the URL without what might be a secret."""
    return without_password(url)
