"""Programs of the board that report its state: found by name, run briefly, ended by their pid."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from typing import Dict, List, Optional, Tuple

# Some boards keep theirs where a plain PATH does not look; TX1 and TX2 once in a user's home.
FOLDERS = ("/usr/bin", "/usr/sbin", "/opt/vc/bin", "/home/nvidia", "/usr/local/bin")
LIMIT_BYTES = 32768


def find(name: str, sysroot: str = "/") -> Optional[str]:
    """Return a program's path, below the sysroot first; None if the board does not have it."""
    root = sysroot.rstrip("/")
    below = [root + folder for folder in FOLDERS] if root else []
    folders = below + os.environ.get("PATH", "").split(os.pathsep) + list(FOLDERS)
    return shutil.which(name, path=os.pathsep.join(folders))


def output(argv: List[str], timeout_s: float, lines: Optional[int] = None) -> str:
    """Return what a program prints until it ends, has printed so many lines, or time is up.

    A program that cannot be run or ends badly gives a text that begins with ``!``; never raises.
    """
    try:
        child = start(argv, stderr=subprocess.STDOUT)
    except OSError as error:
        return "!%s: %s" % (argv[0], error.strerror or error)
    try:
        text, ended = _read(child, time.monotonic() + timeout_s, lines)
    finally:
        end(child)
    if not ended and lines is None:
        return "!%s did not end within %g s" % (argv[0], timeout_s)
    if ended and child.returncode:
        return "!%s ended with %d: %s" % (argv[0], child.returncode, text.strip()[-300:])
    return text


def start(
    argv: List[str],
    stderr: int = subprocess.DEVNULL,
    variables: Optional[Dict[str, str]] = None,
) -> "subprocess.Popen[bytes]":
    """Start a program in a process group of its own, its output in a pipe.

    Its environment is this process's, with ``variables`` beside it.

    Raises:
        OSError: it cannot be run.
    """
    return subprocess.Popen(
        argv,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        preexec_fn=os.setpgrp,
        env=dict(os.environ, **(variables or {})),
    )


def end(child: "subprocess.Popen[bytes]") -> None:
    """End a program of ours and what it has started, by its own pid, and reap it."""
    if child.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _read(
    child: "subprocess.Popen[bytes]", deadline: float, lines: Optional[int]
) -> Tuple[str, bool]:
    """Return the text and whether the program has ended by itself."""
    assert child.stdout is not None
    content = b""
    with child.stdout as pipe:
        while len(content) < LIMIT_BYTES and (lines is None or content.count(b"\n") < lines):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
                return content.decode("utf-8", "replace"), False
            chunk = os.read(pipe.fileno(), 4096)
            if not chunk:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.0, deadline - time.monotonic()))
                return content.decode("utf-8", "replace"), child.returncode is not None
            content += chunk
    return content.decode("utf-8", "replace"), False
