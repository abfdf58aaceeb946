"""Blocks that must not count: a refused kernel's, and what no machine can do. Pure.

Refused: a block in which a kernel did not do its work while the clock ran. What it showed in other
blocks does not count either. Impossible: a filtered backward that is faster than this machine's own
floor (each tensor read and written once, and the products), beyond what the floor is sure of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from reports.results.records import BlockRecord
from reports.stats.intervals import median_interval
from workloads.spec.costs import Bandwidth, Rates, floor_s
from workloads.spec.messages import Case
from workloads.spec.methods import BASELINE, METHODS

# By how much the floor may be passed: rates are the best seen in any round, by other loops than a
# kernel's own.
FLOOR_UNCERTAINTY = 0.10


def has_floor(case: Case) -> bool:
    """Return whether there is a floor to compare with: of layers, on the CPU, in float32."""
    if case.is_network:
        return False
    method = METHODS.get(case.method)
    return method is not None and method.usable and (case.device, case.dtype) == ("cpu", "float32")


def discounted(blocks: Sequence[BlockRecord]) -> list[BlockRecord]:
    """Return the blocks; those that must not count have another status than ok, and the reason."""
    refused = {block.case: block.reason for block in reversed(blocks) if block.refused}
    impossible = _impossible(blocks)
    judged = []
    for block in blocks:
        counts = block.status == "ok" and block.kind not in ("sentinel", "roofline")
        if counts and block.case in refused:
            block = replace(block, status="failed", reason=refused[block.case])
        elif counts and block.kind == "timing" and block.case in impossible:
            block = replace(block, status="invalid", reason=impossible[block.case])
        judged.append(block)
    return judged


def _impossible(blocks: Sequence[BlockRecord]) -> dict[Case, str]:
    """Return the cases whose backward is faster than the floor, and by how much."""
    rates = _best_rates(blocks)
    reached: defaultdict[Case, list[float]] = defaultdict(list)
    for block in blocks:
        timing = block.timing.get("backward")
        median_s = timing.median_s if timing else None
        # The baseline may pass the floor where its algorithm saves multiplications (Winograd).
        judged = block.kind == "timing" and block.status == "ok" and block.case.method != BASELINE
        if rates and judged and median_s and has_floor(block.case):
            reached[block.case].append(floor_s(block.case, "backward", rates) / median_s)
    reasons = {}
    for case, shares in reached.items():
        interval = median_interval(shares)
        surely = min(shares) if interval is None or interval[0] is None else interval[0]
        if surely > 1 + FLOOR_UNCERTAINTY:
            reasons[case] = (
                f"its backward took 1/{surely:.4g} of the time that this machine needs to read and "
                "write the tensors once: what was timed cannot have been the work"
            )
    return reasons


def _best_rates(blocks: Sequence[BlockRecord]) -> Rates | None:
    """Return the best that any round showed; None where rates were not measured."""
    measured = [
        block.roofline.rates
        for block in blocks
        if block.status == "ok" and block.roofline and block.roofline.rates
    ]
    if not measured:
        return None
    sizes = _sizes(measured[0])
    alike = [rates for rates in measured if _sizes(rates) == sizes]
    bandwidths = []
    for index, size in enumerate(sizes):
        of_size = [rates.bandwidths[index] for rates in alike]
        read = max(bandwidth.read for bandwidth in of_size)
        write = max(bandwidth.write for bandwidth in of_size)
        copy = max(bandwidth.copy for bandwidth in of_size)
        bandwidths.append(Bandwidth(size, read, write, copy))
    flops_per_s = max(rates.flops_per_s for rates in alike)
    return Rates(measured[0].threads, tuple(bandwidths), flops_per_s)


def _sizes(rates: Rates) -> list[int]:
    return [bandwidth.working_set_bytes for bandwidth in rates.bandwidths]
