"""What a Jetson says of its own power mode."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MODE = re.compile(r"^NV Power Mode:\s*(\S.{0,60}?)\s*$", re.MULTILINE)
_MODE_ID = re.compile(r"^\s*([0-9]{1,3})\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class PowerMode:
    """The mode of nvpmodel; the number is not always shown."""

    name: str
    id: int | None


def power_mode(text: str) -> PowerMode | None:
    """Read `nvpmodel -q`; lines of errors in between are ignored, None without a mode."""
    match = _MODE.search(text)
    if match is None:
        return None
    number = _MODE_ID.search(text, match.end())
    return PowerMode(name=match[1], id=int(number[1]) if number else None)
