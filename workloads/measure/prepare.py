"""From a case to its work, whatever the workload is."""

from workloads.measure import layer, network
from workloads.measure.work import Work
from workloads.spec.messages import Case


def prepare(case: Case, seed: int) -> Work:
    """Build what the case measures, seeded, and the calls that are timed."""
    return network.prepare(case, seed) if case.is_network else layer.prepare(case, seed)


def tiny(case: Case) -> Case:
    """Return a small case that loads the same libraries."""
    return network.tiny(case) if case.is_network else layer.tiny(case)
