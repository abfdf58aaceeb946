"""The errors that end a command or a target, and the exit code of each.

GfbenchError                  exit  a message says what, on which target, and what to do next
├── UsageError                   2  an option or argument that cannot be
├── InventoryError               2  inventory.yaml: file, line, key, remedy
├── PlanError                    2  a suite, workload, method, kernel or option that cannot be
├── PayloadError                 2  the payload or a user's kernel cannot be packed
├── CrossError                   2  a kernel cannot be compiled here for a board
├── TargetError(target)          4  one target; the others go on
│   ├── Unreachable              4  no connection, or it broke off for good
│   ├── UntrustedHost            4  unknown or changed host key
│   ├── Busy                     4  another run holds the machine
│   └── CommandFailed            4  a command on the board ended with an error or too late
│       └── MissingFile          4  a file asked for is not on the board
└── of reports:
    ├── ResultError              2  a result folder that is absent, broken or too new
    ├── StorageError             4  a file cannot be written (full disk)
    ├── SelectorError            2  a case selector that selects nothing or too much
    ├── GateError                2  a gate that cannot be asked for
    ├── ExportError              2  a run's figures cannot be exported
    ├── QueryError               2  a query that cannot be answered
    ├── MissingExtra             2  a library that only stores and queries need is not installed
    ├── StoreError               4  a store of results cannot be reached, read or written
    └── StoreRefused             1  a store does not take, or does not have, what is asked for

Caught in two places: fleet/parallel.py (one target's outcome) and cli.py (the exit code).
"""

from __future__ import annotations

from collections.abc import Iterable

from reports.errors import GfbenchError

__all__ = [
    "Busy",
    "CommandFailed",
    "GfbenchError",
    "InventoryError",
    "MissingFile",
    "PayloadError",
    "PlanError",
    "TargetError",
    "Unreachable",
    "UntrustedHost",
    "UsageError",
    "gravest",
]


class UsageError(GfbenchError):
    """An option or argument that cannot be."""


class InventoryError(GfbenchError):
    """inventory.yaml cannot be used."""


class PlanError(GfbenchError):
    """The suite or the options ask for something that cannot be."""


class PayloadError(GfbenchError):
    """The payload cannot be packed."""


class TargetError(GfbenchError):
    """One target failed; the others go on."""

    exit_code = 4

    def __init__(self, target: str, message: str, *, remedy: str = "") -> None:
        """Keep the target's name, the cause and the remedy apart for the report."""
        super().__init__(f"{target}: {message}" + (f" — {remedy}" if remedy else ""))
        self.target = target
        self.message = message
        self.remedy = remedy


class Unreachable(TargetError):
    """No connection to the target, or it broke off for good."""


class UntrustedHost(TargetError):
    """The target's host key is unknown or has changed."""


class Busy(TargetError):
    """Another run holds the machine."""


class CommandFailed(TargetError):
    """A command on the board ended with an error or too late."""


class MissingFile(CommandFailed):
    """A file asked for is not on the board."""


# When several exit codes hold, the first of these is the run's.
EXIT_PRECEDENCE = (130, 70, 2, 4, 1, 3, 0)


def gravest(codes: Iterable[int]) -> int:
    """Return the exit code that counts when several hold."""
    present = set(codes) | {0}
    return next(code for code in EXIT_PRECEDENCE if code in present)
