"""Which kernels are compared with the plain one of the same method. Pure."""

from __future__ import annotations

from reports.metrics.baseline import EXACT
from workloads.spec.messages import Case

PLAIN = "torch"


def plain_of(case: Case) -> Case:
    """Return the same case by kernel ``torch``."""
    return case._replace(kernel=PLAIN)


def is_compared(case: Case) -> bool:
    """Tell whether the case has another kernel than the plain one."""
    return case.method != EXACT and case.kernel != PLAIN
