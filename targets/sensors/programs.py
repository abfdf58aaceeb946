"""What a board's own program says where it gives no answer, and what mends that.

A program that is there and fails is not one that is absent: its own words name the cause, and
what it would have told is unknown, not good.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_WORDS = 200
PACKAGES = {"vcgencmd": "sudo apt install raspi-utils  (libraspberrypi-bin on Ubuntu)"}
GROUP = 'sudo usermod -aG video "$USER", then log in again'
# What programs say when the device that they ask is closed to the user.
_CLOSED = re.compile(r"vchi|vcio|/dev/|permi(?:ssion|tted)|denied|\broot\b|\bsudo\b", re.IGNORECASE)
_ENDED = re.compile(r"^.*? ended with -?[0-9]{1,3}: ")  # the probe's own words, with the path
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\ufffd]+")


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Why a program gave no answer, and what to do about it."""

    reason: str
    remedy: str


def silence(probe: Mapping[str, Any], command: str) -> Silence | None:
    """Return why a command whose output at the probe means nothing to us gave no answer.

    None where the board may not have the program at all, or was not asked.
    """
    program = command.partition(" ")[0]
    outputs, programs = probe.get("outputs"), probe.get("programs")
    said = outputs.get(command) if isinstance(outputs, Mapping) else None
    if isinstance(said, str):
        words = _UNPRINTABLE.sub(" ", said.lstrip("!")).strip()[:MAX_WORDS] or "nothing"
        return Silence(
            reason=f"`{command}` gave no answer; it says: {words}", remedy=_remedy(command, words)
        )
    absent = isinstance(programs, Mapping) and program in programs and not programs[program]
    if absent and program in PACKAGES:
        return Silence(reason=f"{program} is not installed", remedy=PACKAGES[program])
    return None


def _remedy(command: str, words: str) -> str:
    if not _CLOSED.search(_ENDED.sub("", words)):
        return f"Run `{command}` on the board, and mend what it complains of."
    return f"{GROUP}; if it still fails, see whether `sudo {command}` answers."
