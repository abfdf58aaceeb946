"""Which kernels are compared with the plain one of the same method. Pure."""

from __future__ import annotations

from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE

PLAIN = "torch"


def plain_of(case: Case) -> Case:
    """Return the same case by kernel ``torch``."""
    return case._replace(kernel=PLAIN)


def is_compared(case: Case) -> bool:
    """Tell whether the case has another kernel than the plain one."""
    return case.method != BASELINE and case.kernel != PLAIN
