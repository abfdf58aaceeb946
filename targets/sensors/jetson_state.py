"""What a Jetson says of its own state: release, power mode, held clocks."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RELEASE = re.compile(r"#\s*R([0-9]{1,3}) \(release\), REVISION:\s*([0-9]{1,3}(?:\.[0-9]{1,3})*)")
_MODE = re.compile(r"^NV Power Mode:\s*(\S.{0,60}?)\s*$", re.MULTILINE)
_MODE_ID = re.compile(r"^\s*([0-9]{1,3})\s*$", re.MULTILINE)
_CLOCK = re.compile(r"\b(MinFreq|MaxFreq|CurrentFreq)=([0-9]{1,12})\b")
_CLOCK_OF = re.compile(r"^\s*(cpu[0-9]{1,4}|GPU|EMC)\b:?\s", re.MULTILINE)
_GOVERNOR = re.compile(r"\bGovernor=(\S{1,40})")


@dataclass(frozen=True, kw_only=True)
class PowerMode:
    """The mode of nvpmodel; the number is not always shown."""

    name: str
    id: int | None


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A line of `jetson_clocks --show`: CPU in kHz, GPU and EMC in Hz, as printed."""

    minimum: int | None
    maximum: int | None
    current: int | None
    governor: str | None

    @property
    def held(self) -> bool:
        """Return whether the clock cannot move."""
        return self.minimum is not None and self.minimum == self.maximum


def l4t_release(text: str) -> str | None:
    """Read /etc/nv_tegra_release: "36.4.3", None if it is something else."""
    match = _RELEASE.search(text)
    return f"{match[1]}.{match[2]}" if match else None


def power_mode(text: str) -> PowerMode | None:
    """Read `nvpmodel -q`; lines of errors in between are ignored, None without a mode."""
    match = _MODE.search(text)
    if match is None:
        return None
    number = _MODE_ID.search(text, match.end())
    return PowerMode(name=match[1], id=int(number[1]) if number else None)


def clocks(text: str) -> dict[str, Clock]:
    """Read `jetson_clocks --show`: cpu0.., GPU and EMC."""
    clocks: dict[str, Clock] = {}
    for line in text.splitlines():
        name = _CLOCK_OF.match(line)
        values = {key: int(value) for key, value in _CLOCK.findall(line)}
        if name and values:
            governor = _GOVERNOR.search(line)
            clocks[name[1]] = Clock(
                minimum=values.get("MinFreq"),
                maximum=values.get("MaxFreq"),
                current=values.get("CurrentFreq"),
                governor=governor[1] if governor else None,
            )
    return clocks
