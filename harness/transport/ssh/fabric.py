"""FabricTransport: a board over SSH."""

from __future__ import annotations

import contextlib
import io
import math
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

import paramiko

from harness.errors import CommandFailed, MissingFile
from harness.transport import deadlines
from harness.transport.ssh.command_lines import for_any_shell
from harness.transport.ssh.link import PROOF_OF_LIFE_S, Link
from harness.transport.streams import (
    CHUNK_BYTES,
    LINE_LIMIT_BYTES,
    OUTPUT_LIMIT_BYTES,
    Completed,
    TooMuch,
    complete_lines,
    last_words,
    read_all,
    read_tail,
)
from targets.inventory import Inventory, Target

T = TypeVar("T")
_STOP_POLL_S = 0.1
_OPEN_S = 20.0  # to start a command that is then followed
_PREFETCHED = 64  # reads at the same time; enough for a slow line, few enough for a small board

# sshd lets a command live on when its channel closes. `timeout` ends it on the board itself, also
# when the network has gone; where there is no `timeout` (or only
# that of an old busybox) the command runs without a deadline of its own.
_TIMED = """if timeout -k 2 9 true 2>/dev/null; then exec timeout -k 2 "$@"; fi
shift
exec "$@"
"""

# A followed command may live for hours: it ends when its input does, that is with the channel.
_TETHERED = """exec 3<&0
"$@" </dev/null 3<&- &
child=$!
(while read -r _ <&3; do :; done; kill "$child") >/dev/null 2>&1 &
watcher=$!
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""

# The environment comes on standard input, as lines of shell up to one that says where it ends.
_WITH_ENVIRONMENT = """settings=
while IFS= read -r line; do
if [ "$line" = "$1" ]; then break; fi
settings="$settings$line
"
done
shift
eval "$settings"
unset settings line
"""


@dataclass(frozen=True, kw_only=True)
class _Command:
    """A command line for the board, and what it reads before anything else."""

    line: str
    settings: bytes = b""


class FabricTransport:
    """Implements `harness.transport.base.Transport` over SSH; connects when it is made."""

    def __init__(
        self, target: Target, inventory: Inventory | None, *, connect_deadline_s: float = 20.0
    ) -> None:
        """Connect, through the gateways if there are any.

        Raises:
            Unreachable: It cannot be done, or not in time.
            UntrustedHost: A host key of it or of a gateway is unknown, changed or revoked.
        """
        self._target = target.name
        self._link = Link(target, inventory, deadline_s=connect_deadline_s)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        deadline_s: float,
        limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> Completed:
        """Run the command; past the deadline it is ended on the board too."""
        shown = shlex.join(argv)
        board_deadline = str(max(1, math.ceil(deadline_s)) + 1)
        command = _command(_TIMED, [board_deadline, *argv], env)
        channels: list[paramiko.Channel] = []
        try:
            return self._link.attempt(
                deadline_s,
                f"running `{shown}`",
                lambda: self._communicate(command, limit_bytes, channels),
            )
        except TooMuch:
            raise self._failed(f"`{shown}` has written more than {limit_bytes} bytes") from None
        except deadlines.DeadlineExceeded:
            self._give_up(shown, channels)
            raise self._failed(f"`{shown}` has not ended within {deadline_s:g} s") from None

    def put(self, data: bytes, path: str, *, deadline_s: float) -> None:
        """Write the file under a temporary name in its folder, then rename it over."""
        self._link.within(
            deadline_s, f"writing {path}", lambda: self._on_file("write", path, _writer(data))
        )

    def get(self, path: str, *, deadline_s: float, limit_bytes: int) -> bytes:
        """Return the file's bytes."""
        return self._link.within(
            deadline_s, f"reading {path}", lambda: self._on_file("read", path, _reader(limit_bytes))
        )

    def get_piece(self, path: str, *, offset: int, size: int, deadline_s: float) -> bytes:
        """Return some of the file's bytes."""
        read = _piece_reader(offset, size)
        return self._link.within(
            deadline_s, f"reading {path}", lambda: self._on_file("read", path, read)
        )

    def follow(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        idle_deadline_s: float,
        stop: threading.Event | None = None,
        limit_bytes: int = LINE_LIMIT_BYTES,
    ) -> Generator[bytes, None, None]:
        """Yield the command's complete lines as they come; see `Transport.follow`."""
        shown = shlex.join(argv)
        step = f"following `{shown}`"
        command = _command(_TETHERED, argv, env)
        channel = self._link.within(_OPEN_S, step, lambda: self._start(command))
        try:
            stderr = deadlines.background(lambda: read_tail(channel.recv_stderr))
            chunks = self._chunks(channel, step, idle_deadline_s, stop)
            yield from complete_lines(chunks, limit_bytes)
            if not (stop is not None and stop.is_set()):
                self._link.within(_OPEN_S, step, lambda: self._check_end(channel, shown, stderr))
        except TooMuch:
            raise self._failed(f"`{shown}` has written a line over {limit_bytes} bytes") from None
        finally:
            with contextlib.suppress(deadlines.DeadlineExceeded):
                deadlines.within(PROOF_OF_LIFE_S, channel.close)

    def close(self) -> None:
        """Close the connection and those to the gateways."""
        self._link.close()

    def __enter__(self) -> FabricTransport:
        """Return the transport."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _start(self, command: _Command) -> paramiko.Channel:
        channel = self._link.transport.open_session()
        channel.exec_command(command.line)
        channel.sendall(command.settings)
        return channel

    def _communicate(
        self, command: _Command, limit_bytes: int, channels: list[paramiko.Channel]
    ) -> Completed:
        channel = self._start(command)
        channels.append(channel)
        try:
            channel.shutdown_write()
            # Both at once: a command blocks when one of them is not read and its window is full.
            stderr = deadlines.background(
                lambda: _read_or_close(channel, channel.recv_stderr, limit_bytes)
            )
            stdout = _read_or_close(channel, channel.recv, limit_bytes)
            errors = stderr.result()
            status = self._exit_status(channel)
        finally:
            channel.close()
        return Completed(exit_status=status, stdout=stdout, stderr=errors)

    def _exit_status(self, channel: paramiko.Channel) -> int:
        """Return the exit status; negative when the command was ended by a signal."""
        status = channel.recv_exit_status()
        if status < 0 and not self._link.answers():
            raise EOFError("the board closed it")
        return status

    def _give_up(self, shown: str, channels: Sequence[paramiko.Channel]) -> None:
        """Close the command's channel; if even that gets no answer, the board is lost."""

        def close_and_ask() -> bool:
            for channel in channels:
                channel.close()
            return self._link.answers()

        if not self._link.within(PROOF_OF_LIFE_S, f"running `{shown}`", close_and_ask):
            raise self._link.broken(f"running `{shown}`", "the board closed it")

    def _chunks(
        self,
        channel: paramiko.Channel,
        step: str,
        idle_deadline_s: float,
        stop: threading.Event | None,
    ) -> Iterator[bytes]:
        channel.settimeout(min(_STOP_POLL_S, idle_deadline_s))
        heard_at = time.monotonic()
        while not (stop is not None and stop.is_set()):
            try:
                chunk = channel.recv(CHUNK_BYTES)
            except TimeoutError:
                if time.monotonic() - heard_at > idle_deadline_s:
                    self._link.close()
                    silence = f"silent for {idle_deadline_s:g} s"
                    raise self._link.broken(step, silence) from None
                continue
            if not chunk:
                return
            yield chunk
            heard_at = time.monotonic()

    def _check_end(self, channel: paramiko.Channel, shown: str, stderr: Future[bytes]) -> None:
        status = self._exit_status(channel)
        if status != 0:
            said = last_words(stderr.result())
            raise self._failed(f"`{shown}` ended with status {status}: {said}")

    def _on_file(self, verb: str, path: str, act: Callable[[paramiko.SFTPClient, str], T]) -> T:
        """Do something with a file by SFTP, and distinguish a refusal from a lost connection."""
        try:
            with self._sftp() as sftp:
                return act(sftp, path.removeprefix("~/"))  # SFTP starts at home and knows no ~
        except TooMuch:
            reason = "it is larger than expected"
        except OSError as error:
            if not self._link.answers():
                raise
            if verb == "read" and isinstance(error, FileNotFoundError):
                raise MissingFile(self._target, f"{path} does not exist") from None
            reason = error.strerror or str(error)
        except paramiko.SFTPError as error:
            reason = str(error)
        raise self._failed(f"cannot {verb} {path}: {reason}")

    def _sftp(self) -> paramiko.SFTPClient:
        try:
            client = paramiko.SFTPClient.from_transport(self._link.transport)
        except paramiko.SSHException:
            if not self._link.answers():
                raise
            client = None
        except paramiko.SFTPError as error:
            raise self._no_sftp_spoken(error) from None
        if client is None:
            remedy = "enable `Subsystem sftp` on the board (package openssh-sftp-server)"
            raise CommandFailed(self._target, "its SSH server offers no SFTP", remedy=remedy)
        return client

    def _no_sftp_spoken(self, error: paramiko.SFTPError) -> CommandFailed:
        """Find out why the SFTP server's first words are none: mostly the login shell's are."""
        printed = self.run(["true"], deadline_s=_OPEN_S).stdout.decode("utf-8", "replace").strip()
        if printed:
            first = printed.splitlines()[0][:80]
            message = f"the login shell prints {first!r} at its start, which SFTP cannot go through"
            remedy = (
                "let ~/.bashrc (or its like) print in interactive shells only, or set "
                "`Subsystem sftp internal-sftp` in the board's sshd_config"
            )
        else:
            message = f"its SFTP server does not speak SFTP: {error}"
            remedy = "see which program `Subsystem sftp` names in the board's sshd_config"
        return CommandFailed(self._target, message, remedy=remedy)

    def _failed(self, message: str) -> CommandFailed:
        return CommandFailed(self._target, message)


def _command(script: str, argv: Sequence[str], env: Mapping[str, str] | None) -> _Command:
    """Return the command that runs a script of sh with these arguments and this environment."""
    if not env:
        return _Command(line=_command_line(script, argv))
    end = f"end {secrets.token_hex(8)}"
    settings = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    return _Command(
        line=_command_line(_WITH_ENVIRONMENT + script, [end, *argv]),
        settings="".join(f"{line}\n" for line in (*settings, end)).encode(
            "utf-8", "surrogateescape"
        ),
    )


def _command_line(script: str, arguments: Sequence[str]) -> str:
    """Return the command line that runs a script of sh with arguments."""
    return for_any_shell(f"set -- {shlex.join(arguments)}\n{script}")


def _read_or_close(
    channel: paramiko.Channel, read: Callable[[int], bytes], limit_bytes: int
) -> bytes:
    """Read to the end; one stream past its limit closes the channel, or the other would wait."""
    try:
        return read_all(read, limit_bytes)
    except TooMuch:
        channel.close()
        raise


def _writer(data: bytes) -> Callable[[paramiko.SFTPClient, str], None]:
    def write(sftp: paramiko.SFTPClient, path: str) -> None:
        temporary = f"{path}.{secrets.token_hex(4)}.part"
        try:
            sftp.putfo(io.BytesIO(data), temporary, file_size=len(data))
            sftp.posix_rename(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                sftp.remove(temporary)
            raise

    return write


def _reader(limit_bytes: int) -> Callable[[paramiko.SFTPClient, str], bytes]:
    def read(sftp: paramiko.SFTPClient, path: str) -> bytes:
        with sftp.open(path, "rb") as file:
            size = min(file.stat().st_size or 0, limit_bytes + 1)
            if size:
                file.prefetch(size, max_concurrent_requests=_PREFETCHED)
            return read_all(file.read, limit_bytes)

    return read


def _piece_reader(offset: int, size: int) -> Callable[[paramiko.SFTPClient, str], bytes]:
    def read(sftp: paramiko.SFTPClient, path: str) -> bytes:
        with sftp.open(path, "rb") as file:
            end = min(file.stat().st_size or 0, offset + size)
            file.seek(offset)
            if end > offset:
                file.prefetch(end, max_concurrent_requests=_PREFETCHED)
            return file.read(max(0, end - offset))

    return read
