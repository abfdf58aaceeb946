"""A child process that does not outlive its parent."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl  # looked up here: little may be done between fork and exec


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the parent that forked it dies."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
