"""Advisory locks between the payload's processes: freed by the kernel when a holder dies.

runner.lock   held by the runner for as long as it lives
quiet.lock    held by the runner while a block is measured; a follower waits for it, so that
              nothing is read or sent in a measured window, without polling
lease         one per machine, in the temporary folder: only one run measures at a time; the run
              that holds it removes the file at its end
"""

import contextlib
import errno
import fcntl
import json
import os
import tempfile
import time
from typing import Any, Dict, Optional

LEASE_NAME = "gfbench.lease"
OPEN_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
TAKEN = (errno.EAGAIN, errno.EACCES)  # by another process


class Lock:
    """An flock on a file of its own; ``close`` (or the death of the process) frees it."""

    def __init__(self, path: str, mode: int = 0o600) -> None:
        """Open the lock file, creating it if absent; never follows a symbolic link."""
        self.path = path
        self._fd = _open_shared(path, mode)

    def acquire(self, timeout_s: float = 0.0, shared: bool = False) -> bool:
        """Take the lock within ``timeout_s``; return False if another process keeps it."""
        operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(self._fd, operation)
                return True
            except OSError as error:
                if error.errno not in TAKEN:
                    raise
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)

    def wait(self) -> None:
        """Sleep until no writer holds the lock; do not keep it."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        self.release()

    def release(self) -> None:
        """Release the lock but keep the file open."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, which frees the lock unless a forked child still holds it."""
        os.close(self._fd)

    def write_note(self, note: Dict[str, Any]) -> None:
        """Write into the file who holds the lock."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(note).encode("ascii"), 0)

    def read_note(self) -> Dict[str, Any]:
        """Return what the holder wrote; empty if it cannot be read."""
        try:
            note = json.loads(os.pread(self._fd, 4096, 0).decode("ascii"))
        except (ValueError, RecursionError):
            return {}
        return note if isinstance(note, dict) else {}


class Lease(Lock):
    """A lock whose file its holder removes, so that nothing of it stays on the machine."""

    def __init__(self, path: str) -> None:
        """Open the file, creating it if absent; every user of the machine may take it."""
        super().__init__(path, 0o666)

    def acquire(self, timeout_s: float = 0.0, shared: bool = False) -> bool:
        """Take the lock; one of a file that has been removed meanwhile would keep nobody out."""
        while super().acquire(timeout_s, shared):
            if self._is_the_files():
                return True
            os.close(self._fd)
            self._fd = _open_shared(self.path, 0o666)
        return False

    def remove(self) -> None:
        """Remove the file while the lock is held; that of another user stays."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _is_the_files(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except FileNotFoundError:
            return False


def lease_path() -> str:
    """Return the path of this machine's lease: one kernel, one lease."""
    return os.path.join(tempfile.gettempdir(), LEASE_NAME)


def is_held(path: str) -> bool:
    """Return whether a process holds the lock at ``path``; False if the file does not exist."""
    try:
        fd = os.open(path, OPEN_FLAGS)
    except FileNotFoundError:
        return False
    try:
        # Shared: two that look do not find each other.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        return True
    finally:
        os.close(fd)


def boot_id() -> Optional[str]:
    """Return the kernel's boot id, the same for every container of a machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return None


def _open_shared(path: str, mode: int) -> int:
    # An existing file is opened without O_CREAT: sticky folders refuse it for another's file.
    try:
        return os.open(path, OPEN_FLAGS)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    fd = os.open(path, OPEN_FLAGS | os.O_CREAT, mode)
    os.fchmod(fd, mode)
    return fd
