"""The kinds of blocks."""

from __future__ import annotations

from workloads.measure.block import KINDS
from workloads.spec.messages import BLOCK_KINDS


def test_every_kind_of_block_that_a_job_may_ask_for_is_measured() -> None:
    assert set(KINDS) == set(BLOCK_KINDS)
