"""Whether a board throttled during a block, from its state before and after. Pure.

A block that ran at reduced clocks measured something else than the others: it does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from reports.results.records import MachineState

# `vcgencmd get_throttled`: bits 0 to 3 hold now, bits 16 to 19 since the board started.
PI_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_BOOT = 16

_PI = re.compile(r"throttled=0x([0-9a-fA-F]{1,8})")


def throttled(before: MachineState | None, after: MachineState | None) -> str | None:
    """Return the evidence as text, None without any.

    Counters count only if they grew; an alert, a cooling device or a Pi's flag also if it is set
    at the end. A board that shows nothing has not been seen to throttle.
    """
    if before is None or after is None:
        return None
    evidence = [*_counters(before, after), *_pi(before.get_throttled, after.get_throttled)]
    return "throttled during the block: " + ", ".join(evidence) if evidence else None


def _counters(before: MachineState, after: MachineState) -> Iterator[str]:
    for name, value in sorted(after.throttle.items()):
        start = before.throttle.get(name)
        if not isinstance(value, (int, float)) or not isinstance(start, (int, float)):
            continue
        if value > start:
            yield f"{name} went from {start:.0f} to {value:.0f}"
        elif value > 0 and _is_level(name):
            yield f"{name} is {value:.0f}"


def _is_level(name: str) -> bool:
    """Tell an alert or a cooling device at work from a counter that only ever grows."""
    return name.endswith(("alert", "alarm")) or "balanced" in name


def _pi(before: str, after: str) -> Iterator[str]:
    start, end = _PI.search(before), _PI.search(after)
    if start is None or end is None:
        return
    earlier, later = int(start[1], 16), int(end[1], 16)
    for bit, meaning in PI_BITS.items():
        newly = later & ~earlier & (1 << bit + SINCE_BOOT)
        if later >> bit & 1 or newly:
            yield f"{meaning} (get_throttled {later:#x})"
