"""A bad line to a server on loopback: it is slow, it cuts connections, it goes away.

with cutting_proxy(board.port) as line:
    line.port                     # where the client connects instead
    line.cut_after = 300_000      # bytes of each connection towards the client
    line.bytes_per_s = 50_000
    line.gone = True              # nobody answers any more
    line.carried                  # bytes towards the client so far
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK_BYTES = 8192


class Line:
    """The line; its attributes can be changed at any time."""

    def __init__(self, server_port: int) -> None:
        self.cut_after: int | None = None
        self.bytes_per_s: float | None = None
        self.gone = False
        self.carried = 0
        self.cuts = 0
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.gone:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._server_port))
                for target, arguments in (
                    (self._up, (client, server)),
                    (self._down, (server, client)),
                ):
                    threading.Thread(target=target, args=arguments, daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := client.recv(CHUNK_BYTES):
                server.sendall(chunk)
        _hang_up(client, server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while chunk := server.recv(CHUNK_BYTES):
                carried += len(chunk)
                self.carried += len(chunk)
                if self.gone or (self.cut_after is not None and carried > self.cut_after):
                    self.cuts += 1
                    break
                if self.bytes_per_s:
                    time.sleep(len(chunk) / self.bytes_per_s)
                client.sendall(chunk)
        _hang_up(client, server)


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def cutting_proxy(server_port: int) -> Iterator[Line]:
    """Carry connections to a port of this machine."""
    line = Line(server_port)
    try:
        yield line
    finally:
        line.close()
