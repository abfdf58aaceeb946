"""Limits to what a block may claim, by the clock of the runner, which no kernel can reach."""

import math
from typing import Any, Dict, List, Optional, Tuple

# A process may take so long to end after its last mark, and a share of its life more. A clock that
# was slowed down in it falls behind the runner's by more.
ENDING_S, ENDING_SHARE = 2.0, 0.1
# The processor time that a process reports may be so much less than what the system counted.
CPU_S, CPU_SHARE = 2.0, 0.25
_DURATIONS = ("warmup_s", "times_s")


def impossible(
    record: Dict[str, Any], window_s: Tuple[float, float], cpu_s: Optional[float]
) -> Optional[str]:
    """Return why a block's figures cannot be true; None if they can.

    Args:
        record: the block's own: ``timing`` by phase, ``spans`` (phase -> when the block began and
            ended it), ``ended_s`` and ``cpu_s`` at its last mark.
        window_s: when the runner started the process and saw it end, in the same clock.
        cpu_s: processor time of the process as the system counted it; None where unknown.
    """
    timing = record.get("timing") or {}
    if not timing:
        return None
    begin, end = window_s
    claimed_s = sum(_claimed_s(phase) for phase in timing.values())
    if not claimed_s <= end - begin:  # NaN does not pass
        return "its iterations add up to %.3g s, but the process lived for %.3g s" % (
            claimed_s,
            end - begin,
        )
    spans = record.get("spans") or {}
    for name, phase in timing.items():
        reason = _outside(phase, spans.get(name), window_s)
        if reason:
            return "%s: %s" % (name, reason)
    ended_s = record.get("ended_s")
    missing_s = end - ended_s if isinstance(ended_s, float) else math.inf
    if not 0 <= missing_s <= ENDING_S + ENDING_SHARE * (end - begin):
        return "its clock is %.3g s off the runner's" % missing_s
    own_cpu_s = record.get("cpu_s")
    if cpu_s is None or not isinstance(own_cpu_s, float):
        return None
    if cpu_s > (1 + CPU_SHARE) * own_cpu_s + CPU_S:
        return "it used %.3g s of processor time but reports %.3g s" % (cpu_s, own_cpu_s)
    return None


def _outside(phase: Dict[str, Any], span: Any, window_s: Tuple[float, float]) -> Optional[str]:
    """Return why a phase was not timed within its span, or that not within the runner's window."""
    marks: List[Any] = [window_s[0], *(span or ()), window_s[1]]
    if len(marks) != 4 or not all(a <= b for a, b in zip(marks, marks[1:])):
        return "it was not timed while the process lived"
    claimed_s = _claimed_s(phase)
    if claimed_s > span[1] - span[0]:
        return "it reports iterations of %.3g s in %.3g s" % (claimed_s, span[1] - span[0])
    begin, end = phase["window_s"]
    if not span[0] <= begin <= end <= span[1]:
        return "its window lies outside the span in which it was measured"
    return None


def _claimed_s(phase: Dict[str, Any]) -> float:
    """Return the seconds of all iterations of a phase, warm-up included."""
    total_s = 0.0
    for name in _DURATIONS:
        durations = phase.get(name)
        if isinstance(durations, list):
            total_s += sum(durations)
    return total_s
