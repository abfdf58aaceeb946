"""LocalTransport: this machine, by subprocesses in process groups of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import IO, TypeVar

from harness.errors import CommandFailed, MissingFile, Unreachable
from harness.transport import deadlines
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
from targets.inventory import Target

T = TypeVar("T")
_STOP_POLL_S = 0.1
_END_S = 5.0  # for a command to be gone after its output has ended, or after SIGKILL
_CANNOT_RUN = {FileNotFoundError: 127, PermissionError: 126}  # the statuses a shell would give


class LocalTransport:
    """Meets `transport.base.Transport` on this machine; paths and commands start at home."""

    def __init__(self, target: Target) -> None:
        """Keep the target's name for messages."""
        self._target = target.name
        self._home = os.path.expanduser("~")

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        deadline_s: float,
        limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> Completed:
        """Run the command; past the deadline its whole process group is killed."""
        try:
            process = self._start(argv, env)
        except OSError as error:
            status = _CANNOT_RUN.get(type(error), 126)
            text = f"{argv[0]}: {error.strerror}\n"
            return Completed(exit_status=status, stdout=b"", stderr=text.encode())
        try:
            return deadlines.within(deadline_s, lambda: _communicate(process, limit_bytes))
        except deadlines.DeadlineExceeded:
            _kill_group(process)
            raise self._failed(argv, f"has not ended within {deadline_s:g} s") from None
        except TooMuch:
            raise self._failed(argv, f"has written more than {limit_bytes} bytes") from None
        except BaseException:
            _kill_group(process)
            raise

    def put(self, data: bytes, path: str, *, deadline_s: float) -> None:
        """Write the file under a temporary name in its folder, then rename it over."""
        self._on_file("write", path, deadline_s, lambda: _write(data, self._absolute(path)))

    def get(self, path: str, *, deadline_s: float, limit_bytes: int) -> bytes:
        """Return the file's bytes."""
        return self._on_file("read", path, deadline_s, lambda: self._read(path, limit_bytes))

    def get_piece(self, path: str, *, offset: int, size: int, deadline_s: float) -> bytes:
        """Return some of the file's bytes."""

        def read() -> bytes:
            with open(self._absolute(path), "rb") as file:
                file.seek(offset)
                return file.read(size)

        return self._on_file("read", path, deadline_s, read)

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
        try:
            process = self._start(argv, env)
        except OSError as error:
            raise self._failed(argv, f"cannot start: {error.strerror}") from None
        try:
            stderr = deadlines.background(lambda: _drain(process))
            yield from complete_lines(
                self._chunks(process, argv, idle_deadline_s, stop), limit_bytes
            )
            if not (stop is not None and stop.is_set()):
                self._check_end(process, argv, stderr.result(_END_S))
        except TooMuch:
            raise self._failed(argv, f"has written a line over {limit_bytes} bytes") from None
        finally:
            _kill_group(process)

    def close(self) -> None:
        """Do nothing: every command has ended with its call."""

    def __enter__(self) -> LocalTransport:
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

    def _start(self, argv: Sequence[str], env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(argv),
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._home,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )

    def _chunks(
        self,
        process: subprocess.Popen[bytes],
        argv: Sequence[str],
        idle_deadline_s: float,
        stop: threading.Event | None,
    ) -> Iterator[bytes]:
        assert process.stdout is not None
        with process.stdout as stdout, selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            heard_at = time.monotonic()
            while not (stop is not None and stop.is_set()):
                if selector.select(_STOP_POLL_S):
                    chunk = stdout.read(CHUNK_BYTES)
                    if not chunk:
                        return
                    yield chunk
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > idle_deadline_s:
                    silent = f"`{shlex.join(argv)}` has been silent for {idle_deadline_s:g} s"
                    raise Unreachable(self._target, silent)

    def _check_end(
        self, process: subprocess.Popen[bytes], argv: Sequence[str], stderr: bytes
    ) -> None:
        status = process.wait(_END_S)
        if status != 0:
            raise self._failed(argv, f"ended with status {status}: {last_words(stderr)}")

    def _read(self, path: str, limit_bytes: int) -> bytes:
        with open(self._absolute(path), "rb", buffering=0) as file:
            return read_all(lambda size: file.read(size) or b"", limit_bytes)

    def _on_file(self, verb: str, path: str, deadline_s: float, action: Callable[[], T]) -> T:
        try:
            return deadlines.within(deadline_s, action)
        except deadlines.DeadlineExceeded:
            reason = f"not done within {deadline_s:g} s"
        except TooMuch:
            reason = "it is larger than expected"
        except OSError as error:
            if verb == "read" and isinstance(error, FileNotFoundError):
                raise MissingFile(self._target, f"{path} does not exist") from None
            reason = error.strerror or str(error)
        raise CommandFailed(self._target, f"cannot {verb} {path}: {reason}")

    def _absolute(self, path: str) -> str:
        return os.path.join(self._home, os.path.expanduser(path))

    def _failed(self, argv: Sequence[str], what: str) -> CommandFailed:
        return CommandFailed(self._target, f"`{shlex.join(argv)}` {what}")


def _communicate(process: subprocess.Popen[bytes], limit_bytes: int) -> Completed:
    assert process.stdout is not None
    assert process.stderr is not None
    stderr = deadlines.background(partial(_read_or_kill, process, process.stderr, limit_bytes))
    stdout = _read_or_kill(process, process.stdout, limit_bytes)
    errors = stderr.result()
    return Completed(exit_status=process.wait(), stdout=stdout, stderr=errors)


def _read_or_kill(process: subprocess.Popen[bytes], stream: IO[bytes], limit_bytes: int) -> bytes:
    """Read to the end; one stream past its limit ends the command, or the other would wait."""
    try:
        with (
            stream
        ):  # closed by its one reader: a closed descriptor's number is soon another file's
            return read_all(stream.read, limit_bytes)
    except TooMuch:
        _kill_group(process)
        raise


def _drain(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stderr is not None
    with process.stderr as stream:
        return read_tail(stream.read)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the command, and reap it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)


def _write(data: bytes, path: str) -> None:
    temporary = f"{path}.{secrets.token_hex(4)}.part"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
