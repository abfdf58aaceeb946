"""Why a program or a library of the board failed, in words, and the setting that helps."""

import os
import re
import signal
from typing import Optional

SIGNAL_WORDS = {
    signal.SIGILL: "illegal instruction",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "arithmetic error",
    signal.SIGABRT: "aborted",
    signal.SIGKILL: "killed",
}
OTHER_PROCESSOR = (
    "a library was built for a newer processor: set OPENBLAS_CORETYPE under `env:` in the "
    "inventory (ARMV8 on a Cortex-A57), or install a torch wheel for this processor"
)
_STATIC_TLS = re.compile(r"(\S+): cannot allocate memory in static TLS block")


def ending(wait_status: int) -> str:
    """Return how a process ended: ``signal 4, illegal instruction``, or ``exit status 1``."""
    if not os.WIFSIGNALED(wait_status):
        return "exit status %d" % os.WEXITSTATUS(wait_status)
    number = os.WTERMSIG(wait_status)
    words = SIGNAL_WORDS.get(number)  # type: ignore[call-overload]  # signals are integers
    return "signal %d, %s" % (number, words) if words else "signal %d" % number


def remedy_of_ending(wait_status: int) -> Optional[str]:
    """Return what helps against the signal that ended a process; None where that is not known."""
    if os.WIFSIGNALED(wait_status) and os.WTERMSIG(wait_status) == signal.SIGILL:
        return OTHER_PROCESSOR
    return None


def remedy_of_error(text: str) -> Optional[str]:
    """Return what helps against an error of the dynamic loader; None where that is not known."""
    match = _STATIC_TLS.search(text)
    if match is None:
        return None
    return "have that library loaded first: `env: {LD_PRELOAD: %s}` in the inventory" % (
        match.group(1)
    )


def with_remedy(text: str, remedy: Optional[str]) -> str:
    """Return an error's text and what helps against it."""
    return "%s; %s" % (text, remedy) if remedy else text


def is_noexec(folder: str) -> bool:
    """Return whether the filesystem of a folder is mounted so that nothing there can be run."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)
    except OSError:
        return False
