"""The pilot round: it finds out which exact kernels of a network are worth timing further.

In round 0 all of them are timed. In later rounds only the quickest by their step are: a user would
choose none of the others, and slow ones take most of a run's time.
"""

import statistics
from typing import Any, Dict, Optional, Tuple

from workloads.spec.messages import Block, Case
from workloads.spec.methods import BASELINE

_Group = Tuple[Any, ...]


class Pilot:
    """Remembers the steps of round 0 and leaves out what was slow then."""

    def __init__(self, kept: int) -> None:
        """Keep so many exact kernels of each network; 0 keeps all."""
        self._kept = kept
        self._steps_s: Dict[_Group, Dict[str, float]] = {}

    def note(self, block: Block, record: Dict[str, Any]) -> None:
        """Take the step of a block of round 0 from its record."""
        if not self._is_concerned(block) or block.round > 0 or record.get("status") != "ok":
            return
        times_s = record["timing"]["step"]["times_s"]
        steps_s = self._steps_s.setdefault(_group(block.case), {})
        steps_s[block.case.kernel] = statistics.median(times_s)

    def reason_to_leave_out(self, block: Block) -> Optional[str]:
        """Return why a block is not worth measuring; None if it is."""
        if not self._is_concerned(block) or block.round == 0:
            return None
        steps_s = self._steps_s.get(_group(block.case), {})
        quickest = sorted(steps_s, key=lambda name: steps_s[name])[: self._kept]
        if block.case.kernel not in steps_s or block.case.kernel in quickest:
            return None
        others = " and ".join("%.3g ms (%s)" % (1e3 * steps_s[name], name) for name in quickest)
        return "slower in the pilot round: a step of %.3g ms, against %s" % (
            1e3 * steps_s[block.case.kernel],
            others,
        )

    def _is_concerned(self, block: Block) -> bool:
        is_exact = block.case.method == BASELINE and block.case.is_network
        return self._kept > 0 and block.kind == "timing" and is_exact


def _group(case: Case) -> _Group:
    """Return what the cases have in common that are compared with one another."""
    return case.workload, case.device, case.dtype, case.batch, case.revision
