"""How the rows of metrics come about that are medians over rounds, but not always there. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from reports.metrics.metric import RowBuilder, median_over_rounds
from reports.metrics.rows import Row
from reports.metrics.status import Status, with_few_rounds
from reports.results.discounted import has_floor
from reports.text.wording import has_exact_gradients, is_usable


def floor_rows(builder: RowBuilder) -> Iterator[Row]:
    """Yield the share of the floor that was reached, where the machine's rates are known."""
    if builder.target.rates is None or not has_floor(builder.case):
        return
    for phase in builder.metric.phases:
        reached = builder.by_round(phase)
        yield builder.median_row(phase, reached, with_few_rounds(builder.status, len(reached)))


def memory_rows(builder: RowBuilder) -> Iterator[Row]:
    """Yield a memory figure where the target has blocks that measure memory."""
    measures_memory = any(block.kind == "memory" for block in builder.target.blocks)
    if measures_memory and is_usable(builder.case.method):
        yield builder.median_row("", builder.by_round(""), builder.status)


def memory_rows_if_measured(builder: RowBuilder) -> Iterator[Row]:
    """Yield a memory figure that not every machine has."""
    return (row for row in memory_rows(builder) if row.value is not None)


def forward_share_rows(builder: RowBuilder) -> Iterator[Row]:
    """Yield the share of a network's step that is its forward."""
    if builder.case.is_network:
        shares = builder.by_round("")
        yield builder.median_row("", shares, with_few_rounds(builder.status, len(shares)))


def input_fidelity_rows(builder: RowBuilder) -> Iterator[Row]:
    """Yield a figure of the input gradient's fidelity; nothing needs that of a network."""
    if not builder.case.is_network:
        yield from fidelity_rows(builder)


def fidelity_rows(builder: RowBuilder) -> Iterator[Row]:
    """Yield a figure of a layer's fidelity on each spectrum, of a network's once.

    Exact gradients need none.
    """
    case = builder.case
    blocks = builder.target.blocks_of(case, "fidelity")
    if not is_usable(case.method) or (has_exact_gradients(case.method) and not blocks):
        return
    if case.is_network:
        yield builder.median_row("", builder.by_round(""), builder.status)
    else:
        yield from median_over_rounds(builder)


def temperature_rows(builder: RowBuilder) -> Iterator[Row]:
    """Yield the temperature after the blocks."""
    hottest, status = builder.by_round(""), builder.status
    blocks = builder.target.blocks_of(builder.case, "timing")
    if blocks and not hottest and status.has_value:
        status = Status(status="missing", reason="no temperature sensor could be read")
    yield builder.median_row("", hottest, status)
