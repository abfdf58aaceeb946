"""What the harness asks of a transport to a board, and the choice between local and SSH."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from types import TracebackType
from typing import Protocol

from harness.transport.local import LocalTransport
from harness.transport.ssh.fabric import FabricTransport
from harness.transport.streams import LINE_LIMIT_BYTES, OUTPUT_LIMIT_BYTES, Completed
from targets.inventory import Inventory, Target


class Transport(Protocol):
    """Commands and files on one machine; nothing here waits longer than its deadline.

    Commands run in the home folder with no input, their arguments quoted: no `~`, `$` or `*` is
    expanded. Paths are absolute, or begin with `~/`, or are relative to home. Once `Unreachable`
    has been raised the transport is of no more use: open another.
    """

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        deadline_s: float,
        limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> Completed:
        """Run a command to its end and return its status and output, whatever the status.

        The values of `env` never stand on a command line, which other users can see.

        Raises:
            CommandFailed: It has not ended in time, or either stream is above `limit_bytes`.
            Unreachable: The connection is lost.
        """

    def put(self, data: bytes, path: str, *, deadline_s: float) -> None:
        """Write a file as a whole or not at all; its folder must exist.

        Raises:
            CommandFailed: It cannot be written.
            Unreachable: The connection is lost, or too slow.
        """

    def get(self, path: str, *, deadline_s: float, limit_bytes: int) -> bytes:
        """Return the bytes of a file.

        Raises:
            MissingFile: There is no such file.
            CommandFailed: It cannot be read, or is larger than `limit_bytes`.
            Unreachable: The connection is lost, or too slow.
        """

    def get_piece(self, path: str, *, offset: int, size: int, deadline_s: float) -> bytes:
        """Return `size` bytes of a file from `offset` on, or what there is of them.

        Raises:
            MissingFile: There is no such file.
            CommandFailed: It cannot be read.
            Unreachable: The connection is lost, or too slow.
        """

    def follow(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        idle_deadline_s: float,
        stop: threading.Event | None = None,
        limit_bytes: int = LINE_LIMIT_BYTES,
    ) -> Generator[bytes, None, None]:
        """Yield the complete lines of a command's stdout as they come, without the newline.

        It ends when the command ends well, or soon after `stop` is set. The command is ended when
        the generator is closed. Bytes after the last newline are dropped.

        Raises:
            CommandFailed: The command ended with an error, or a line is above `limit_bytes`.
            Unreachable: The connection is lost, or nothing came for `idle_deadline_s`.
        """

    def close(self) -> None:
        """Let go of the machine; every call that still runs ends."""

    def __enter__(self) -> Transport:
        """Return the transport."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""


def open_transport(target: Target, inventory: Inventory | None) -> Transport:
    """Return a connected transport to the target.

    Raises:
        Unreachable: There is no connection.
        UntrustedHost: A host key of it or of a gateway is unknown, changed or revoked.
    """
    if target.local:
        return LocalTransport(target)
    return FabricTransport(target, inventory)
