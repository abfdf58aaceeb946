"""Evidence of throttling among the probe's files: counters, alarms, active cooling."""

from __future__ import annotations

import re

from targets.sensors.rails import Files, folders, number_of, text_of

_COUNTER = re.compile(r"oc([0-9]{1,2})_event_cnt")
_ALARM = re.compile(r"curr[0-9]{1,2}_(?:crit|max)_alarm|in0_lcrit_alarm")
_ALARM_CHIPS = ("ina3221", "rpi_volt")


def throttle_evidence(files: Files) -> dict[str, int]:
    """Return name -> value of every throttle counter, alarm and active cooling device.

    Counters grow since boot: what counts is the difference over a block. A file that cannot be
    read is left out: it proves nothing.
    """
    evidence: dict[str, int] = {}
    for folder, content in folders(files).items():
        base = folder.rpartition("/")[2]
        chip, kind = text_of(content, "name"), text_of(content, "type") or ""
        if chip == "soctherm_oc":
            evidence.update(_numbers(content, _COUNTER, prefix=""))
        elif chip in _ALARM_CHIPS:
            evidence.update(_numbers(content, _ALARM, prefix=f"{base}/"))
        elif base == "thermal_throttle":
            prefix = folder.split("/")[-2] + "/"
            evidence.update(_numbers(content, re.compile(r"\w+_throttle_count"), prefix=prefix))
        elif kind.endswith("-throttle-alert"):
            state = number_of(content, "cur_state")
            if state is not None:
                evidence[kind] = int(state)
    return evidence


def _numbers(content: dict[str, str], pattern: re.Pattern[str], *, prefix: str) -> dict[str, int]:
    numbers = {name: number_of(content, name) for name in content if pattern.fullmatch(name)}
    return {prefix + name: int(value) for name, value in numbers.items() if value is not None}
