"""One SSH connection through its gateways, on which every step has a deadline that holds.

paramiko alone may wait for ever: for an answer to open_session, for a read from SFTP, for a peer
that has lost its power. Here a step that is late closes every socket of the route, which makes
whatever still waits return, and raises.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TypeVar

import paramiko

from harness.errors import Unreachable
from harness.transport import deadlines
from harness.transport.ssh.errors import explain
from harness.transport.ssh.hops import Hop, HostKeyCheck, prepare, route
from harness.transport.ssh.host_keys import require_trusted
from targets.inventory import Inventory, Target

T = TypeVar("T")
KEEP_ALIVE_S = 30
PROOF_OF_LIFE_S = 2.0  # for a connection to show that it lives
_CLOSE_S = 2.0
_FAILURES = (paramiko.SSHException, EOFError, OSError)

# paramiko logs what it raises; without a handler Python prints that on stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Link:
    """An open, authenticated connection; once broken it stays so."""

    def __init__(
        self,
        target: Target,
        inventory: Inventory | None,
        *,
        deadline_s: float,
        check: HostKeyCheck | None = None,
    ) -> None:
        """Connect.

        Raises:
            Unreachable: It cannot be done, or not within `deadline_s`.
            UntrustedHost: A host key of it or of a gateway is unknown, changed or revoked.
        """
        self.target = target.name
        self._opened: list[paramiko.Transport] = []
        self._closed = False
        self._step = "reading the SSH settings"
        try:
            self.transport = deadlines.within(
                deadline_s, lambda: self._open(target, inventory, check, deadline_s)
            )
        except deadlines.DeadlineExceeded:
            self.close()
            late = f"timed out after {deadline_s:g} s while {self._step}"
            remedy = "check that the board is on and that no firewall blocks the port"
            raise Unreachable(self.target, late, remedy=remedy) from None
        except BaseException:
            self.close()
            raise

    def within(self, deadline_s: float, step: str, action: Callable[[], T]) -> T:
        """Return what the action returns; past the deadline close the link.

        Raises:
            Unreachable: The deadline has passed, or the connection has broken off.
        """
        try:
            return self.attempt(deadline_s, step, action)
        except deadlines.DeadlineExceeded:
            self.close()
            raise self.broken(step, f"no answer within {deadline_s:g} s") from None

    def attempt(self, deadline_s: float, step: str, action: Callable[[], T]) -> T:
        """Return what the action returns; past the deadline leave it to the caller what to do.

        Raises:
            DeadlineExceeded: The deadline has passed; the action still runs.
            Unreachable: The connection has broken off.
        """
        try:
            return deadlines.within(deadline_s, action)
        except _FAILURES as error:
            self.close()
            raise self.broken(step, str(error) or type(error).__name__) from error

    def answers(self) -> bool:
        """Ask the board's sshd for any answer at all; may block."""
        if self.transport.is_active():
            self.transport.global_request("keepalive@openssh.com", wait=True)
        return self.transport.is_active()

    def broken(self, step: str, why: str) -> Unreachable:
        """Return the error for a connection that broke off in a step."""
        remedy = "check the board's power and network; what runs detached on the board goes on"
        return Unreachable(self.target, f"connection lost while {step}: {why}", remedy=remedy)

    def close(self) -> None:
        """Close every connection of the route, the farthest first."""
        self._closed = True
        with contextlib.suppress(deadlines.DeadlineExceeded):
            deadlines.within(_CLOSE_S, self._close)

    def _open(
        self,
        target: Target,
        inventory: Inventory | None,
        check: HostKeyCheck | None,
        deadline_s: float,
    ) -> paramiko.Transport:
        def trusted(hop: Hop, key: paramiko.PKey) -> None:
            require_trusted(target.name, hop, key)

        hops = route(target, inventory)
        for hop in hops:
            where = hop.address if hop is hops[-1] else f"gateway {hop.name} ({hop.address})"
            self._step = f"connecting to {where}"
            # A little later than our own deadline, which is the one that is reported.
            prepare(hop, check=check or trusted, opened=self._add, timeout_s=deadline_s + 1.0)
            try:
                hop.connection.open()
            except _FAILURES as error:
                said = explain(error, hop)
                message = f"{where}: {said.cause}"
                raise Unreachable(self.target, message, remedy=said.remedy) from error
            hop.connection.transport.set_keepalive(KEEP_ALIVE_S)
        transport: paramiko.Transport = hops[-1].connection.transport
        return transport

    def _add(self, transport: paramiko.Transport) -> None:
        self._opened.append(transport)
        if self._closed:
            raise EOFError("given up")

    def _close(self) -> None:
        for transport in reversed(self._opened):
            with contextlib.suppress(*_FAILURES):
                transport.close()
                transport.sock.close()
